"""The performance check: one load on one target for a minute, and its figures; or interleaved pairs of two targets."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.baseline import RESULT, read_figures, write_result
from harness.clock import Clock, SystemClock
from harness.errors import RecordError, UsageError
from harness.faults.ledger import Ledger
from harness.judge.regression import RunFigures
from harness.load.plan import PRELOAD_S, LoadPlan
from harness.load.statistics import LiveStats
from harness.load.supervisor import LoadSupervisor
from harness.load.trace import PackedTrace
from harness.model import Op
from harness.probes.soak import target_reading
from harness.scenario.workload import Workload
from harness.targets.base import Target
from harness.timeline.jsonl import read_json, write_json_atomically

WARM_UP_S = 5.0  # connections, caches, the allocator's first growth; in no figure
PAIRS = "pairs.json"
_TICK_S = 0.5
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")


@dataclass(frozen=True)
class Measurement:
    """What is measured: a load for ``duration_s`` seconds after a warm-up.

    The generator may be late by ``lag_limit_ms`` at P99, or by ``lag_share`` of the measured P99 where that is more.
    Without a warm-up everything counts, to the last answer. A ``trace`` is sent instead of the workload's schedule.
    """

    workload: Workload
    duration_s: float
    seed: int
    lag_limit_ms: float
    lag_share: float = 0.25
    warm_up_s: float = WARM_UP_S
    processes: int = 1
    trace: PackedTrace | None = None
    preload_s: float = PRELOAD_S


def check_task(task: str) -> str:
    """``task`` as part of a file name. Raises :class:`UsageError` where it cannot be one."""
    if not _TASK.fullmatch(task):
        raise UsageError(f"task {task!r} cannot be part of a file name", hint="letters, digits, dot, dash, underscore")
    return task


# Makes a target in a folder; what it starts is written down in the ledger, so that nothing outlives a killed harness.
Maker = Callable[[Path, Ledger], Target]


def measure(
    make: Maker,
    what: Measurement,
    folder: Path,
    facts: dict[str, Any],
    *,
    clock: Clock | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> RunFigures:
    """Make and start a target, put the load on it, write ``folder/result.json`` and answer its figures.

    The target is claimed meanwhile: a fault of somebody else's drill would be measured. Raises :class:`TargetBusy`,
    :class:`TargetError` or :class:`LoadError`; target and load are gone afterwards.
    """
    clock = clock or SystemClock()
    never = threading.Event()
    length = what.warm_up_s + what.duration_s
    with Ledger(folder / "ledger.jsonl", clock=clock) as ledger, make(folder, ledger) as target:
        ledger.claim(target.base_url)
        plan = LoadPlan(
            workload=what.workload,
            base_url=target.base_url,
            seed=what.seed,
            folder=folder / "samples",
            max_duration_s=length + 120.0,
            processes=what.processes,
            preload_deadline_s=what.preload_s,
            trace=what.trace.path if what.trace else None,
            trace_spaces=what.trace.spaces if what.trace else (),
        )
        with LoadSupervisor(plan, clock) as load:
            show("preload")
            if what.trace is None:
                load.preload()
            load.keep_samples(False)  # histograms say all that is asked here
            t0 = load.start()
            clock.wait(never, max(0.0, t0 + what.warm_up_s - clock.now()))
            begun = load.live()
            while (left := t0 + length - clock.now()) > 0:
                load.check_alive()
                show(f"{left:.0f} s left")
                clock.wait(never, min(_TICK_S, left))
            live = load.live().since(begun)
            used = target_reading(target)
            ended = load.stop()
        if not what.warm_up_s:
            live = ended.live
        described = target.describe()
    figures = _figures(str(folder), live, float(used.get("rss_bytes", math.nan)) / 1e6, what)
    facts = {**facts, **_facts(live, what), "memory_source": _source(used), "target": described}
    write_result(folder / RESULT, figures, facts)
    return figures


def _source(used: Mapping[str, Any]) -> str:
    """Whose word the memory is, or why there is none."""
    why = used.get("lacking", {}).get("rss_bytes", "the target's process is not ours to see")
    return str(used.get("source", f"none: {why}"))


def _figures(name: str, live: LiveStats, memory_mb: float, what: Measurement) -> RunFigures:
    latency = live.latency
    errors = sum(live.errors.values())
    return RunFigures(
        name=name,
        p50_ms=latency.percentile(50) * 1e3,
        p95_ms=latency.percentile(95) * 1e3,
        p99_ms=latency.percentile(99) * 1e3,
        ops_per_s=live.rate,
        errors=errors,
        error_rate=live.error_rate,
        operations=errors + live.ok,
        duration_s=live.elapsed_s,
        memory_mb=memory_mb,
        latency=latency,
        open_loop=True,
        doubt=_doubt(live, what),
        lag_ms=live.lag.percentile(99) * 1e3 if live.lag.count else 0.0,
    )


def _doubt(live: LiveStats, what: Measurement) -> str:
    """Why the run's timing is not to be trusted: the generator was late, or nothing ended at all."""
    if live.ok + sum(live.errors.values()) == 0:
        return "no request ended"
    lag_ms = live.lag.percentile(99) * 1e3
    limit_ms = max(what.lag_limit_ms, what.lag_share * live.latency.percentile(99) * 1e3)
    if lag_ms > limit_ms:
        return f"the generator was late (schedule lag P99 {lag_ms:.1f} ms, limit {limit_ms:.1f} ms)"
    return ""


def _facts(live: LiveStats, what: Measurement) -> dict[str, Any]:
    by_op = {
        Op(op).name.lower(): {f"p{p}_ms": histogram.percentile(p) * 1e3 for p in (50, 95, 99)}
        for op, histogram in live.latency_by_op.items()
        if histogram.count
    }
    data = what.workload.data
    return {
        "scenario": what.workload.name,
        "memories": {"num_nodes": data.num_nodes, "memory_spaces": data.memory_spaces},
        "seed": what.seed,
        "offered_per_s": live.offered_rate,
        "per_operation": by_op,
    }


def measure_pairs(
    sides: tuple[Maker, Maker],
    pairs: int,
    what: Measurement,
    folder: Path,
    facts: dict[str, Any],
    *,
    clock: Clock | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> tuple[list[RunFigures], list[RunFigures]]:
    """Run A B A B: ``pairs`` times each side in turn, so that what changes with time changes both.

    Every pair has a seed of its own, the same for both its sides. Writes ``folder/pairs.json`` after every pair, so
    that an interrupted measurement keeps the pairs it has.
    """
    found: tuple[list[RunFigures], list[RunFigures]] = ([], [])
    names: list[list[str]] = []
    for number in range(1, pairs + 1):
        row = []
        for side, (label, make) in enumerate(zip(("before", "after"), sides, strict=True)):
            here = folder / f"{number:02d}-{label}"
            _make_folder(here)
            mine = Measurement(**{**what.__dict__, "seed": what.seed + number - 1})
            told = f"pair {number} of {pairs}, {label}"
            figures = measure(
                make,
                mine,
                here,
                {**facts, "pair": number, "side": label},
                clock=clock,
                show=lambda text, told=told: show(f"{told}: {text}"),  # type: ignore[misc]
            )
            found[side].append(figures)
            row.append(here.name)
        names.append(row)
        write_json_atomically(folder / PAIRS, {"schema": 1, "pairs": names})
    return found


def read_pairs(folder: Path) -> tuple[list[RunFigures], list[RunFigures]]:
    """The pairs below a directory. Raises :class:`RecordError`."""
    path = folder / PAIRS
    value = read_json(path)
    rows = value.get("pairs") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(r, list) and len(r) == 2 for r in rows):
        raise RecordError("names no pairs", where=str(path))
    return tuple([read_figures(folder / str(row[side])) for row in rows] for side in (0, 1))  # type: ignore[return-value]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make the directory: {error.strerror}", where=str(folder)) from error


def result_folder(results_dir: Path, task: str, phase: str, wall: str) -> Path:
    """``<results>/performance/<task>_<phase>_<stamp>``, free and made. Raises :class:`RecordError`."""
    stamp = re.sub(r"[^0-9]", "", wall[:19])
    base = results_dir / "performance" / f"{task}_{phase}_{stamp[:8]}_{stamp[8:]}"
    for number in range(1, 1000):
        folder = base if number == 1 else base.with_name(f"{base.name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RecordError(f"cannot make the directory: {error.strerror}", where=str(folder)) from error
        return folder
    raise RecordError("cannot find a free name", where=str(base))


def latest_of(results_dir: Path, task: str, phases: Sequence[str]) -> list[Path]:
    """The newest result of each phase of a task. Raises :class:`UsageError` where one is missing."""
    found = []
    for phase in phases:
        runs = sorted((results_dir / "performance").glob(f"{task}_{phase}_*/{RESULT}"))
        if not runs:
            raise UsageError(
                f"there is no '{phase}' run of task {task}",
                where=str(results_dir / "performance"),
                hint=f"harness perf {task} {phase}",
            )
        found.append(runs[-1].parent)
    return found
