"""One soak as it is to be run: the scenario with everything the command line said, frozen in the manifest."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engram.transport import check_base_url
from harness.errors import RecordError, UsageError
from harness.load.plan import PRELOAD_S
from harness.report.soak import LEAST_INTERVAL_S
from harness.scenario.soak import SoakScenario, load_soak, soak_from_json
from harness.scenario.workload import Workload, load_workload, workload_from_json
from harness.soak.schedule import Planned, load_schedule, planned_from_json, schedule
from harness.targets.base import STARTED_HERE
from harness.timeline.soak_record import NO_RECORD, read_manifest

# Below these a window cannot be shortened: an fsync, a scrape and a read-back take the time they take.
LEAST_JUDGE_S = 5.0  # judging takes up to a quarter of a second, in the thread that records
LEAST_READ_BACK_S = 2.0
LEAST_READ_BACK_WINDOW_S = 0.3
FINAL_WINDOW_SHARE = 0.1
MOST_PROCESSES = 64
LEAST_CONSOLIDATION_S = 0.05
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


def parse_duration(text: str) -> float:
    """``24h``, ``20m``, ``90s``, ``1.5h`` or plain seconds, as seconds. Raises :class:`UsageError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _UNITS or float(found[1]) <= 0:
        raise UsageError(f"{text!r} is no duration", hint="24h, 20m, 90s")
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True)
class SoakPlan:
    """What to run. ``duration_s`` is the full soak's; real time is that divided by ``time_scale``."""

    scenario: SoakScenario
    workload: Workload
    duration_s: float
    time_scale: float
    seed: int
    target: str
    claimed: bool = False
    defects: tuple[str, ...] = ()
    processes: int = 1
    faults: tuple[Planned, ...] = ()
    preload_s: float = PRELOAD_S  # what storing every memory before the load may take, in real time

    def real(self, seconds: float, least_s: float = 0.0) -> float:
        """Seconds of the full soak as seconds to wait, no less than ``least_s``."""
        return max(least_s, seconds / self.time_scale)

    @property
    def real_duration_s(self) -> float:
        """How long it takes."""
        return self.duration_s / self.time_scale

    @property
    def interval_s(self) -> float:
        """Real seconds between checkpoints."""
        return self.real(self.scenario.record.interval_s, LEAST_INTERVAL_S)

    @property
    def poll_s(self) -> float:
        """Real seconds between looks at the service."""
        return self.real(self.scenario.record.poll_s, LEAST_INTERVAL_S)

    @property
    def final_window_s(self) -> float:
        """Real seconds at the end of which every write is kept: as many as the scenario says, but a share at most.

        Not scaled: how long it takes until every memory was written once more does not follow the time scale.
        """
        return min(self.scenario.record.final_window_s, FINAL_WINDOW_SHARE * self.real_duration_s)

    @property
    def started_here(self) -> bool:
        """Whether the target is ours to start."""
        return self.target in STARTED_HERE

    def engram_toml(self) -> str:
        """The configuration of a target started here: phase 0 of the rollout, its consolidation at the soak's pace."""
        target = self.scenario.target
        interval_s = self.real(float(target["consolidation_interval_s"]), LEAST_CONSOLIDATION_S)

        def flag(name: str) -> str:
            return "true" if target[name] else "false"

        return (
            f"[features]\ndual_memory_types = true\nblended_recall = {flag('blended_recall')}\n"
            f"fan_effect = {flag('fan_effect')}\nmonitoring = true\n\n"
            f"[consolidation]\ninterval_seconds = {interval_s!r}\n"
        )

    def as_json(self) -> dict[str, Any]:
        """For the manifest; :func:`plan_from_json` is the inverse."""
        return {
            "scenario": self.scenario.as_json(),
            "workload": self.workload.as_json(),
            "duration_s": self.duration_s,
            "time_scale": self.time_scale,
            "seed": self.seed,
            "target": self.target,
            "claimed": self.claimed,
            "defects": list(self.defects),
            "processes": self.processes,
            "faults": [fault.as_json() for fault in self.faults],
            "preload_s": self.preload_s,
        }


def plan_from_json(values: dict[str, Any]) -> SoakPlan:
    """The inverse of :meth:`SoakPlan.as_json`."""
    return SoakPlan(
        **{
            **values,
            "scenario": soak_from_json(values["scenario"]),
            "workload": workload_from_json(values["workload"]),
            "defects": tuple(values["defects"]),
            "faults": tuple(planned_from_json(fault) for fault in values["faults"]),
        }
    )


def recorded_plan(folder: Path) -> SoakPlan:
    """The plan in the manifest of a soak's ``folder``. Raises :class:`RecordError` where it cannot be read."""
    manifest = read_manifest(folder)
    try:
        return plan_from_json(manifest["plan"])
    except NO_RECORD as error:
        raise RecordError(
            f"the manifest's plan cannot be read ({type(error).__name__}: {error})", where=str(folder / "manifest.json")
        ) from error


def make_plan(
    scenario: Path,
    *,
    profile: str = "full",
    duration: str | None = None,
    time_scale: float | None = None,
    seed: int,
    rate_ops_per_s: float | None = None,
    faults: str = "none",
    target: str = "embedded",
    claimed: bool = False,
    defects: tuple[str, ...] = (),
    processes: int = 1,
    nodes: int | None = None,
    preload_s: float = PRELOAD_S,
) -> SoakPlan:
    """Read the scenario and check everything; what is given beats the profile.

    Raises :class:`UsageError` or ``ConfigError``.
    """
    soak = load_soak(scenario)
    if profile not in soak.profiles:
        raise UsageError(
            f"there is no profile {profile!r}", where=str(scenario), hint=f"one of {', '.join(soak.profiles)}"
        )
    chosen = soak.profiles[profile]
    rate_ops_per_s = rate_ops_per_s if rate_ops_per_s is not None else chosen.rate_ops_per_s
    time_scale = time_scale if time_scale is not None else chosen.time_scale
    workload = load_workload(scenario.parent.parent / soak.workload)
    if rate_ops_per_s is not None:
        if not (math.isfinite(rate_ops_per_s) and rate_ops_per_s > 0):
            raise UsageError(f"a rate of {rate_ops_per_s!r} operations per second cannot be offered")
        workload = workload.at_rate(rate_ops_per_s)
    if nodes is not None:
        workload = workload.with_nodes(nodes)
    duration_s = parse_duration(duration) if duration is not None else chosen.duration_h * 3600.0
    if not (math.isfinite(time_scale) and time_scale >= 1.0):
        raise UsageError(f"--time-scale {time_scale!r} must be 1 or more")
    if not 1 <= processes <= MOST_PROCESSES:
        raise UsageError(f"--processes {processes} is not from 1 to {MOST_PROCESSES}")
    _check_target(target, claimed, defects)
    if duration_s / time_scale < 4 * LEAST_INTERVAL_S:
        raise UsageError(f"a soak of {duration_s / time_scale:.2g} s is too short to record", hint="lower --time-scale")
    if faults != "none" and target not in STARTED_HERE and not claimed:
        raise UsageError("faults go only into a target that is claimed", hint="--i-own-this-target")
    planned: tuple[Planned, ...] = ()
    if faults != "none":
        planned = schedule(load_schedule(_faults_file(faults, scenario)), seed, duration_s)
    return SoakPlan(
        soak, workload, duration_s, time_scale, seed, target, claimed, defects, processes, planned, preload_s
    )


def _check_target(target: str, claimed: bool, defects: tuple[str, ...]) -> None:
    """Refuse what contradicts the target; said nothing about, it would be ignored for a day."""
    if target in STARTED_HERE:
        if claimed:
            raise UsageError(f"--i-own-this-target contradicts --target {target}")
        return
    if not target.startswith(("http://", "https://")):
        raise UsageError(f"--target {target!r} is not known", hint="embedded, docker, or http://host:port")
    check_base_url(target)  # before it is recorded: it may hold a key
    if defects:
        raise UsageError("--defect works on a target that is started here only", hint="--target embedded or docker")


def _faults_file(name: str, scenario: Path) -> Path:
    given = Path(name)
    return given if given.suffix == ".toml" else scenario.parent / "faults" / f"{name}.toml"
