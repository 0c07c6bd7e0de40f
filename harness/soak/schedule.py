"""When a soak injects what: a seeded schedule, drawn once and frozen in the manifest."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.catalogue import fault_from_json
from harness.scenario.document import read_document

_LEAST_SHARE = 0.25  # of the mean pause: so that two faults never run into each other


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


@dataclass(frozen=True)
class Schedule:
    """What to draw from: faults, the mean pause between them, how long each is held, when the first may begin."""

    faults: tuple[Fault, ...]
    mean_pause_s: float
    hold_s: float
    first_after_s: float


def load_schedule(path: Path) -> Schedule:
    """Read a fault schedule. Raises ``ConfigError`` naming file, line and key."""
    document = read_document(path)
    faults: list[Fault] = []
    tables = document.table("faults")
    for name in tables:
        table = tables.table(name)
        values = {key: table.raw(key) for key in table}
        try:
            faults.append(fault_from_json(values))
        except UsageError as error:
            raise tables.fail(name, error.what, error.hint) from error
        table.finish()
    tables.finish()
    if not faults:
        raise document.fail("faults", "names no fault")
    found = Schedule(
        tuple(faults),
        document.number("mean_pause_h", low=1e-3) * 3600.0,
        document.number("hold_s", low=1.0),
        document.number("first_after_h", low=0.0) * 3600.0,
    )
    document.finish()
    return found


def schedule(plan: Schedule, seed: int, duration_s: float) -> tuple[Planned, ...]:
    """Draw the injections of a soak; the same seed gives the same ones. None ends after the soak does."""
    draw = random.Random(f"soak-faults-{seed}")
    found: list[Planned] = []
    at = plan.first_after_s
    while True:
        pause = plan.mean_pause_s * max(_LEAST_SHARE, min(3.0, draw.expovariate(1.0)))
        at += pause
        if at + plan.hold_s + _LEAST_SHARE * plan.mean_pause_s > duration_s:
            return tuple(found)
        found.append(Planned(at, plan.hold_s, draw.choice(plan.faults)))
        at += plan.hold_s
