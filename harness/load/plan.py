"""What a load process is told: the plan of the whole load, and one process' part of it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.scenario.workload import Workload, workload_from_json

KEY_VARIABLE = "ENGRAM_API_KEY"
PRELOAD_S = 120.0  # what a preload may take, unless more is asked for
_PRELOADING, _PRELOADING_MUCH, _MUCH = 16, 64, 10_000


@dataclass(frozen=True)
class LoadPlan:
    """One load on one target.

    ``folder`` takes the samples, the live files and the processes' logs. ``max_duration_s`` is a hard limit: the
    processes end by themselves after it, whatever else happened. The API key, where the target wants one, comes from
    the environment variable ``ENGRAM_API_KEY`` and stands in no file. A preload that would take longer than
    ``preload_deadline_s``, at the rate the target takes memories at, ends as soon as that shows.
    """

    workload: Workload
    base_url: str
    seed: int
    folder: Path
    max_duration_s: float
    processes: int = 1
    preload_deadline_s: float = PRELOAD_S
    preload_look_s: float = 5.0  # how often is looked whether the preload will end in time
    ready_deadline_s: float = 20.0
    trace: Path | None = None  # a packed trace to send instead of the workload's schedule; nothing is preloaded then
    trace_spaces: tuple[str, ...] = ()
    web: bool = False  # Locust's own page, of the first process; every request then costs a little more

    @property
    def slots_per_process(self) -> int:
        """Slots of each process; together at least what the workload needs."""
        return max(1, math.ceil(self.workload.slots_needed() / self.processes))

    @property
    def preload_concurrency(self) -> int:
        """Stores of the preload in flight, of each process; where there is much to store, more."""
        return _PRELOADING if self.workload.data.memories <= _MUCH else _PRELOADING_MUCH

    def for_process(self, process: int) -> ProcessPlan:
        """The part of process ``process``."""
        return ProcessPlan(
            workload=self.workload,
            base_url=self.base_url,
            seed=self.seed,
            folder=self.folder,
            process=process,
            processes=self.processes,
            slots=self.slots_per_process,
            max_duration_s=self.max_duration_s,
            preload_concurrency=self.preload_concurrency,
            preload_deadline_s=self.preload_deadline_s,
            preload_look_s=self.preload_look_s,
            trace=self.trace,
            trace_spaces=self.trace_spaces,
            web=self.web and process == 0,
        )


@dataclass(frozen=True)
class ProcessPlan:
    """One process' part. ``process`` is its index among ``processes``, over all machines."""

    workload: Workload
    base_url: str
    seed: int
    folder: Path
    process: int
    processes: int
    slots: int
    max_duration_s: float
    preload_concurrency: int = _PRELOADING
    preload_deadline_s: float = PRELOAD_S
    preload_look_s: float = 5.0
    trace: Path | None = None
    trace_spaces: tuple[str, ...] = ()
    web: bool = False
    role: str = "generator"  # names the log and the plan file; "readback" for the process that verifies

    @property
    def samples_path(self) -> Path:
        """Where this process writes its samples."""
        return self.folder / f"requests-{self.process:02d}.bin"

    @property
    def answers_path(self) -> Path:
        """Where it writes which memories the panel's recalls returned."""
        return self.folder / f"answers-{self.process:02d}.bin"

    @property
    def live_path(self) -> Path:
        """Where its counters are mapped while it runs."""
        return self.folder / f"live-{self.process:02d}.map"

    @property
    def log_path(self) -> Path:
        """Where its stderr goes."""
        return self.folder / f"{self.role}-{self.process:02d}.log"

    @property
    def plan_path(self) -> Path:
        """Where it reads this plan."""
        return self.folder / f"{self.role}-{self.process:02d}.json"

    def as_json(self) -> dict[str, Any]:
        """As the process reads it; holds no secret."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        trace = str(self.trace) if self.trace else None
        return {**values, "workload": self.workload.as_json(), "folder": str(self.folder), "trace": trace}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ProcessPlan:
        """The inverse of :meth:`as_json`."""
        trace = Path(values["trace"]) if values.get("trace") else None
        spaces = tuple(values.get("trace_spaces", ()))
        workload = workload_from_json(values["workload"])
        own = {"workload": workload, "folder": Path(values["folder"]), "trace": trace, "trace_spaces": spaces}
        return cls(**{**values, **own})
