"""When a soak injects what: the nemesis' seeded schedule, drawn once and frozen in the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.catalogue import fault_from_json
from harness.faults.nemesis import Plan, load_plan


@dataclass(frozen=True)
class Planned:
    """One injection: from ``at_s`` on for ``hold_s`` seconds of the full soak."""

    at_s: float
    hold_s: float
    fault: Fault

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {"at_s": self.at_s, "hold_s": self.hold_s, "fault": self.fault.to_json()}


def planned_from_json(value: dict[str, Any]) -> Planned:
    """The inverse of :meth:`Planned.as_json`."""
    return Planned(float(value["at_s"]), float(value["hold_s"]), fault_from_json(value["fault"]))


def load_schedule(path: Path) -> Plan:
    """Read a nemesis' plan. Raises ``ConfigError``, or :class:`UsageError` where it wants two faults at once."""
    plan = load_plan(path)
    if plan.max_concurrent != 1:
        raise UsageError(
            "a soak holds one fault at a time", where=str(path), hint="limits.max_concurrent = 1; `drill` composes"
        )
    return plan


def schedule(plan: Plan, seed: int, duration_s: float) -> tuple[Planned, ...]:
    """The injections of a soak; the same seed gives the same ones, and none ends after the soak does."""
    steps = plan.schedule(seed, round(duration_s * 1000))
    return tuple(Planned(step.at_ms / 1000, step.hold_ms / 1000, step.fault) for step in steps)
