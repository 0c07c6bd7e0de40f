"""Finds and reads rollout plans; the values stand in :mod:`harness.scenario.rollout`."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.scenario.rollout import (
    Checklist,
    Criterion,
    DrillStep,
    Issue,
    Item,
    MonitoringTarget,
    Objective,
    Phase,
    Plan,
    Procedure,
    Quantity,
    Rollback,
    Symptom,
    Trigger,
)
from harness.scenario.rollout_file import load_plan_file, load_quantities
from harness.settings import scenarios_folder

DEFAULT_PLAN = "runbook"
_QUANTITIES = "quantities.toml"

__all__ = [
    "DEFAULT_PLAN",
    "Checklist",
    "Criterion",
    "DrillStep",
    "Issue",
    "Item",
    "MonitoringTarget",
    "Objective",
    "Phase",
    "Plan",
    "Procedure",
    "Quantity",
    "Rollback",
    "Symptom",
    "Trigger",
    "load_plan",
    "plan_names",
]


def load_plan(name_or_path: str | Path = DEFAULT_PLAN) -> Plan:
    """A plan by its name in ``scenarios/rollout/`` (``runbook``, ``task015``) or by the path of its file.

    Quantities are those beside the file, else those of ``scenarios/rollout/``. Raises
    :class:`~harness.errors.UsageError` for an unknown name, :class:`~harness.errors.ConfigError` naming file, line and
    key for a plan that cannot be read.
    """
    text = str(name_or_path)
    shared = scenarios_folder() / "rollout"
    if text.endswith(".toml") or "/" in text:
        path = Path(text)
    elif text in plan_names():
        path = shared / f"{text}.toml"
    else:
        raise UsageError(f"there is no plan '{text}'", where=str(shared), hint=f"one of {', '.join(plan_names())}")
    beside = path.parent / _QUANTITIES
    return load_plan_file(path, load_quantities(beside if beside.is_file() else shared / _QUANTITIES))


def plan_names() -> tuple[str, ...]:
    """The plans of ``scenarios/rollout/``, by name."""
    found = sorted((scenarios_folder() / "rollout").glob("*.toml"))
    return tuple(path.stem for path in found if path.name != _QUANTITIES)
