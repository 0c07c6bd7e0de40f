"""Drill profiles: durations, rates, doses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.scenario.document import Table, read_document

CORE_FAMILY = "dual_memory"
FAMILIES = (
    CORE_FAMILY,
    "service",
    "process",
    "network",
    "resource",
    "storage",
    "clock",
    "dependencies",
    "composed",
    "rollback",
    "phase0",
    "monitoring",
)
DOSES = ("semantic_latency_ms", "consolidation_fail_rate", "binding_corruption_rate")


@dataclass(frozen=True)
class Profile:
    """One profile; durations in seconds, already divided by its time scale."""

    name: str
    time_scale: float
    baseline_s: float
    fault_s: float
    after_s: float
    rate_ops_per_s: float
    consolidation_interval_s: float
    cohort_rates: tuple[float, ...]
    doses: dict[str, tuple[float, ...]]
    restart: bool
    families: tuple[str, ...]
    matrix: bool
    min_achieved_share: float
    max_schedule_lag_p99_ms: float
    max_host_lag_p99_ms: float
    max_starved_p99_ms: float

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        values = dict(self.__dict__)
        values["doses"] = {name: list(doses) for name, doses in self.doses.items()}
        values["cohort_rates"] = list(self.cohort_rates)
        values["families"] = list(self.families)
        return values


def profile_names(path: Path) -> list[str]:
    """The profiles a file offers."""
    return list(read_document(path).table("profiles"))


def load_profile(path: Path, name: str) -> Profile:
    """Read one profile; the others are read too, so that a mistake in any of them is found now.

    Raises :class:`~harness.errors.ConfigError`, or :class:`~harness.errors.UsageError` for an unknown name.
    """
    document = read_document(path)
    durations, limits = document.table("durations_s"), document.table("limits")
    every = {
        key: _profile(key, document.table("profiles").table(key), durations, limits) for key in profile_names(path)
    }
    for table in (durations, limits, document):
        table.finish()
    if name not in every:
        raise UsageError(f"there is no profile {name!r}", where=str(path), hint=f"one of {', '.join(every)}")
    return every[name]


def _profile(name: str, table: Table, durations: Table, limits: Table) -> Profile:
    scale = table.number("time_scale", low=1.0, high=1000.0)
    found = Profile(
        name=name,
        time_scale=scale,
        baseline_s=durations.number("baseline", low=1.0) / scale,
        fault_s=durations.number("fault", low=1.0) / scale,
        after_s=durations.number("after", low=1.0) / scale,
        rate_ops_per_s=table.number("rate_ops_per_s", low=1.0, high=100_000.0),
        consolidation_interval_s=table.number("consolidation_interval_s", low=0.05, high=3600.0),
        cohort_rates=table.numbers("cohort_rates", low=0.0, high=1.0),
        doses={dose: table.numbers(dose, low=0.0) for dose in DOSES},
        restart=table.boolean("restart"),
        families=_texts(table, "families", (CORE_FAMILY,)),
        matrix=table.boolean("matrix", False),
        min_achieved_share=limits.number("min_achieved_share", low=0.5, high=1.0),
        max_schedule_lag_p99_ms=limits.number("max_schedule_lag_p99_ms", low=0.1),
        max_host_lag_p99_ms=limits.number("max_host_lag_p99_ms", low=0.1),
        max_starved_p99_ms=limits.number("max_starved_p99_ms", low=0.1),
    )
    table.finish()
    return found


def _texts(table: Table, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = table.raw(key, list(default))
    if not isinstance(value, list) or not value or not all(item in FAMILIES for item in value):
        raise table.fail(key, f"must be a list of families, not {value!r}", hint=f"of {', '.join(FAMILIES)}")
    return tuple(value)
