"""What `harness replay` sends: the load of a recorded run, or a trace of the public build.

A recorded load is a pure function of its seed and workload (``harness/load/arrivals.py``), and both stand in the plan
every load process leaves beside its samples. So a run is replayed by making its schedule again; the digest in its
``load.json`` proves that it is the same one. Faults, flags and the target's configuration are not replayed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError, RecordError, UsageError
from harness.load.arrivals import CHUNK, Arrivals
from harness.load.plan import ProcessPlan
from harness.load.trace import PackedTrace, pack_trace
from harness.scenario.trace import read_trace
from harness.scenario.workload import Workload
from harness.timeline.jsonl import read_json

_PLAN = "generator-00.json"
_SUMMARY = "load.json"
_PACKED = "trace.bin"
_DIGEST_ARRIVALS = 64 * CHUNK
# Where runs keep their samples: a case or performance check, a soak, the folder itself.
_PLACES = ("samples", ".", "soak/segment-00", "segment-00")


@dataclass(frozen=True)
class Replay:
    """A load to send again. ``recorded`` holds the figures of the run, for those that have ended."""

    source: Path
    workload: Workload
    seed: int
    duration_s: float
    trace: PackedTrace | None = None
    digest: str = ""
    recorded: Path | None = None


def replay_of(source: Path, folder: Path, *, speed: float = 1.0, seconds: float | None = None) -> Replay:
    """What to replay from ``source``, a run's directory or a trace file; a trace is packed into ``folder``.

    ``speed`` divides every waiting time, ``seconds`` ends it early. Raises :class:`UsageError` where the source is
    none, :class:`RecordError` or :class:`ConfigError` where it cannot be read.
    """
    if not 0.01 <= speed <= 100:
        raise UsageError(f"--speed {speed:g} is not from 0.01 to 100")
    if seconds is not None and not 0.1 <= seconds <= 7 * 86400:
        raise UsageError(f"--seconds {seconds:g} is not from 0.1 to {7 * 86400}")
    if source.is_file():
        packed = pack_trace(read_trace(source), folder / _PACKED, str(source), speed=speed)
        return Replay(source, packed.workload, 0, min(packed.workload.duration_s, seconds or float("inf")), packed)
    if not source.is_dir():
        raise UsageError("no such run and no such trace", where=str(source))
    return _recorded(_load_of(source), speed, seconds)


def _load_of(source: Path) -> Path:
    """The folder that holds the load's plan."""
    for place in _PLACES:
        if (source / place / _PLAN).is_file():
            return source / place
    cases = sorted(path.parent.parent for path in source.glob(f"*/samples/{_PLAN}"))
    if len(cases) == 1:
        return cases[0] / "samples"
    if cases:
        names = ", ".join(case.name for case in cases[:4])
        raise UsageError(f"holds {len(cases)} runs", where=str(source), hint=f"name one: {names}")
    raise UsageError("holds no recorded load", where=str(source), hint=f"a run's directory has samples/{_PLAN}")


def _recorded(folder: Path, speed: float, seconds: float | None) -> Replay:
    plan = _plan(folder / _PLAN)
    summary = read_json(folder / _SUMMARY) if (folder / _SUMMARY).is_file() else None
    if summary is None and seconds is None:
        raise RecordError("its load never ended, so its length is not known", where=str(folder), hint="give --seconds")
    workload, digest = plan.workload, ""
    if summary is not None:
        digest = _same_schedule(plan, summary, folder / _SUMMARY)
        length = float(summary["duration_s"]) / speed
        seconds = length if seconds is None else min(seconds, length)
    assert seconds is not None
    if speed != 1.0:
        workload, digest = workload.at_rate(workload.arrival.mean_rate * speed), ""
    recorded = folder / _SUMMARY if summary is not None else None
    return Replay(folder, replace(workload, duration_s=seconds), plan.seed, seconds, None, digest, recorded)


def _plan(path: Path) -> ProcessPlan:
    value = read_json(path)
    try:
        plan = ProcessPlan.from_json(value)
    except (KeyError, TypeError, HarnessError) as error:
        raise RecordError(f"is no plan of a load: {error}", where=str(path)) from error
    if plan.trace is not None:
        raise UsageError("was a trace's replay", where=str(path), hint="replay the trace itself")
    return plan


def _same_schedule(plan: ProcessPlan, summary: object, path: Path) -> str:
    """The digest of the schedule. Raises :class:`RecordError` where this harness would draw another one."""
    try:
        due, said = int(summary["due"]), str(summary["schedule_sha256"])  # type: ignore[index]
        float(summary["duration_s"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"is no summary of a load: {error}", where=str(path)) from error
    found = Arrivals(plan.seed, plan.workload).digest(min(due, _DIGEST_ARRIVALS))
    if found != said:
        raise RecordError(
            "this harness would send another schedule than was recorded",
            where=str(path),
            hint="replay it with the harness that recorded it (manifest.json names it)",
        )
    return found
