"""A soak as data: how long, what is recorded, the criteria it is judged by, and what ends it at once.

All durations are those of the full soak. :attr:`SoakScenario` is never scaled itself: a run's time scale divides real
waiting, and the judge multiplies recorded time by it, so that every window and bound stays what the file says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.scenario.document import Table, read_document

# What may stand beside `bound` and `source` in a criterion: name -> default (numbers), or the choices of a text.
OPTIONS: dict[str, dict[str, float | tuple[str, ...]]] = {
    "no_crash": {},
    "p99_drift": {"method": ("trend", "glsar", "runbook"), "total": 0.0},
    "error_rate": {},
    "memory_growth": {"floor_mb": 20.0},
    "rss_settled": {},
    "leak": {},
    "consolidation_freshness": {},
    "consolidation_success": {},
    "cpu": {},
    "breaker_trips": {},
    "open_files": {},
    "acknowledged_memories": {},
    "offered_rate": {},
    "observed": {},
}
SIGNALS = ("crash", "error_rate", "p99_ms", "rss_growth_mb_per_h")


@dataclass(frozen=True)
class Criterion:
    """One criterion: what is measured must be below (or above) ``bound``, in the quantity's own unit."""

    name: str
    bound: float
    source: str
    options: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class AbortTrigger:
    """Ends the soak at once where ``signal`` is above ``above`` for ``for_h`` hours on end (``crash``: at once)."""

    name: str
    signal: str
    above: float
    for_h: float
    source: str


@dataclass(frozen=True)
class Recording:
    """What is recorded, and how often; seconds and hours of the full soak."""

    interval_s: float
    poll_s: float
    resource_log_s: float
    window_s: float
    warm_up_h: float
    judge_every_s: float
    read_back_every_s: float
    read_back_sample: int
    read_back_window_s: float
    final_window_s: float


@dataclass(frozen=True)
class SoakProfile:
    """How long the soak is, how much faster than life it runs, and at what rate (None: the workload's own)."""

    duration_h: float
    time_scale: float
    rate_ops_per_s: float | None


@dataclass(frozen=True)
class SoakScenario:
    """A soak, read and checked. ``workload`` is a file name beside the scenario's parent directory."""

    name: str
    description: str
    workload: str
    profiles: dict[str, SoakProfile]
    record: Recording
    target: dict[str, float | bool]
    criteria: tuple[Criterion, ...]
    aborts: tuple[AbortTrigger, ...]

    def criterion(self, name: str) -> Criterion | None:
        """The criterion of that name, or None where the file leaves it out."""
        return next((c for c in self.criteria if c.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """For the manifest; :func:`soak_from_json` is the inverse."""
        return dataclasses.asdict(self)


def soak_from_json(values: dict[str, Any]) -> SoakScenario:
    """The inverse of :meth:`SoakScenario.as_json`."""
    return SoakScenario(
        **{
            **values,
            "profiles": {name: SoakProfile(**profile) for name, profile in values["profiles"].items()},
            "record": Recording(**values["record"]),
            "criteria": tuple(Criterion(**c) for c in values["criteria"]),
            "aborts": tuple(AbortTrigger(**a) for a in values["aborts"]),
        }
    )


def load_soak(path: Path) -> SoakScenario:
    """Read a soak scenario. Raises :class:`~harness.errors.ConfigError` naming file, line and key."""
    document = read_document(path)
    target = document.table("target")
    found = SoakScenario(
        name=document.text("name"),
        description=document.text("description", ""),
        workload=document.text("workload"),
        profiles=_profiles(document.table("profiles")),
        record=_recording(document.table("record")),
        target={
            "consolidation_interval_s": target.number("consolidation_interval_s", low=0.05),
            "blended_recall": target.boolean("blended_recall"),
            "fan_effect": target.boolean("fan_effect"),
        },
        criteria=tuple(_criteria(document.table("criteria"), path.name)),
        aborts=tuple(_aborts(document.table("abort", required=False), path.name)),
    )
    target.finish()
    document.finish()
    return found


def _profiles(tables: Table) -> dict[str, SoakProfile]:
    found = {}
    for name in tables:
        table = tables.table(name)
        found[name] = SoakProfile(
            table.number("duration_h", low=1e-3, high=24.0 * 30),
            table.number("time_scale", low=1.0, high=100_000.0),
            table.number("rate_ops_per_s", None, low=1.0, high=100_000.0),
        )
        table.finish()
    tables.finish()
    return found


def _recording(table: Table) -> Recording:
    found = Recording(
        interval_s=table.number("interval_s", low=0.1, high=3600.0),
        poll_s=table.number("poll_s", low=0.1, high=3600.0),
        resource_log_s=table.number("resource_log_s", low=1.0),
        window_s=table.number("window_s", low=1.0),
        warm_up_h=table.number("warm_up_h", low=0.0),
        judge_every_s=table.number("judge_every_s", low=1.0),
        read_back_every_s=table.number("read_back_every_s", low=1.0),
        read_back_sample=table.integer("read_back_sample", low=1, high=100_000),
        read_back_window_s=table.number("read_back_window_s", low=0.1),
        final_window_s=table.number("final_window_s", low=0.1),
    )
    table.finish()
    return found


def _criteria(tables: Table, file: str) -> list[Criterion]:
    found = []
    for name in tables:
        table = tables.table(name)
        if name not in OPTIONS:
            raise tables.fail(name, "no such criterion", f"one of {', '.join(OPTIONS)}")
        options: dict[str, float | str] = {}
        for key, default in OPTIONS[name].items():
            if isinstance(default, tuple):
                options[key] = table.text(key, default[0], choices=default)
            else:
                options[key] = table.number(key, default, low=0.0)
        bound = table.number("bound", low=0.0)
        found.append(Criterion(name, bound, _source(table, file), options))
        table.finish()
    tables.finish()
    return found


def _aborts(tables: Table, file: str) -> list[AbortTrigger]:
    found = []
    for name in tables:
        table = tables.table(name)
        signal = table.text("signal", choices=SIGNALS)
        crash = signal == "crash"
        found.append(
            AbortTrigger(
                name,
                signal,
                above=0.0 if crash else table.number("above", low=0.0),
                for_h=0.0 if crash else table.number("for_h", low=0.0),
                source=_source(table, file),
            )
        )
        table.finish()
    tables.finish()
    return found


def _source(table: Table, file: str) -> str:
    parts = table.where("source").split(":")
    line = f":{parts[1]}" if len(parts) > 1 and parts[1].isdigit() else ""
    return f"{table.text('source')} [{file}{line}]"
