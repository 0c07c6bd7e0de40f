"""``make bench``, section ``reference``: is the embedded Engram fast enough to be a fair subject.

m17_baseline's mix at 1,000 ops/s, the service on one core and the load on another. Flat means: the resident memory once
the data set is stable (the first quarter is left out) rises by less than :data:`MOST_RISE_SHARE`, first against last
tenth, taken as block minima are in the soak.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
from scipy.stats import theilslopes

from harness.clock import SystemClock
from harness.histogram import Histogram
from harness.load import LiveStats, LoadPlan, LoadSummary, LoadSupervisor
from harness.model import RECALL_OPS, Op
from harness.scenario.workload import load_workload
from harness.targets.embedded import EmbeddedTarget

M17 = Path(__file__).parents[2] / "scenarios" / "m17_baseline.toml"
MOST_READY_S = 1.5
MOST_RECALL_P99_MS = 15.0
LEAST_ACHIEVED = 0.99
MOST_RISE_SHARE = 0.01
_WARM_UP_SHARE = 0.25


@dataclass(frozen=True)
class Measured:
    """One run of the reference. ``rss``: (seconds since the load's start, MB), once a second."""

    blended: bool
    ready_s: float
    cores: str
    summary: LoadSummary
    target_cpu: float
    rss: tuple[tuple[float, float], ...]

    @property
    def recall(self) -> Histogram:
        """Corrected latency of recalls by text and by embedding."""
        return Histogram.merged(self.summary.live.latency_by_op[op] for op in RECALL_OPS)

    @property
    def achieved(self) -> float:
        """Share of what was due that was answered as it should be."""
        return self.summary.live.ok / max(1, self.summary.due)

    @property
    def rise(self) -> float:
        """Share by which memory rose, first against last tenth of what is left without the first quarter."""
        settled = [mb for at, mb in self.rss if at >= _WARM_UP_SHARE * self.rss[-1][0]]
        edge = max(3, len(settled) // 10)
        if len(settled) < 2 * edge:
            return math.nan
        return min(settled[-edge:]) / min(settled[:edge]) - 1

    def limits(self) -> list[tuple[str, str, str, bool]]:
        """(what, measured, limit, met) of everything that is promised."""
        recall_ms = self.recall.percentile(99) * 1000
        return [
            ("ready after", f"{self.ready_s:.2f} s", f"<= {MOST_READY_S:g} s", self.ready_s <= MOST_READY_S),
            ("recall p99", f"{recall_ms:.2f} ms", f"< {MOST_RECALL_P99_MS:g} ms", recall_ms < MOST_RECALL_P99_MS),
            ("answered", f"{self.achieved:.2%}", f">= {LEAST_ACHIEVED:.0%}", self.achieved >= LEAST_ACHIEVED),
            ("memory rose by", f"{self.rise:+.2%}", f"< {MOST_RISE_SHARE:.0%}", self.rise < MOST_RISE_SHARE),
        ]


def measure(folder: Path, seconds: float, rate: float, *, blended: bool) -> Measured:
    """Start the reference, put the load on it, watch it."""
    folder.mkdir(parents=True)
    clock = SystemClock()
    config = f"[features]\ndual_memory_types = true\nblended_recall = {str(blended).lower()}\n"
    begun = clock.now()
    with EmbeddedTarget(folder, config_text=config) as target:
        ready_s = clock.now() - begun
        assert target.pid is not None
        process = psutil.Process(target.pid)
        plan = LoadPlan(load_workload(M17).at_rate(rate), target.base_url, 7, folder / "samples", seconds + 120.0)
        with LoadSupervisor(plan) as load:
            load.preload()
            load.keep_samples(False)
            cores = _apart(process, load.pids)
            before = _cpu_s(process)
            load.start()
            rss = _watch(load, process, seconds)
            spent = _cpu_s(process) - before
            return Measured(blended, ready_s, cores, load.stop(), spent / seconds, rss)


def _watch(load: LoadSupervisor, process: psutil.Process, seconds: float) -> tuple[tuple[float, float], ...]:
    pause, seen = threading.Event(), []
    state: LiveStats = load.live()
    while state.elapsed_s < seconds:
        load.check_alive()
        pause.wait(min(1.0, seconds - state.elapsed_s + 0.01))
        state = load.live()
        seen.append((state.elapsed_s, process.memory_info().rss / 1e6))
    return tuple(seen)


def _apart(process: psutil.Process, load: tuple[int, ...]) -> str:
    """Service and load on a core each, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return "one core for both"
    process.cpu_affinity([cores[0]])
    for pid in load:
        psutil.Process(pid).cpu_affinity([cores[1]])
    return "a core each"


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def lines(found: Measured, seconds: float, rate: float) -> list[str]:
    """The section's part about one run, as Markdown."""
    live, told = found.summary.live, found.summary.as_json()
    head = f"#### Blended recall {'on' if found.blended else 'off'}, {rate:g} ops/s, {seconds:g} s, {found.cores}"
    table = ["| | measured | promised | |", "|---|---|---|---|"]
    table += [
        f"| {what} | {value} | {limit} | {'met' if met else '**not met**'} |"
        for what, value, limit, met in found.limits()
    ]
    latency = ["| operation | p50 ms | p99 ms | p99.9 ms |", "|---|---|---|---|"]
    for op in (Op.RECALL, Op.EMBEDDING_SEARCH, Op.STORE):
        row = told["latency_ms"].get(op.name.lower())
        if row:
            latency.append(f"| {op.name.lower()} | {row['p50']:.2f} | {row['p99']:.2f} | {row['p99.9']:.2f} |")
    at = [found.rss[int(share * (len(found.rss) - 1))] for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
    settled = [(t, mb) for t, mb in found.rss if t >= _WARM_UP_SHARE * found.rss[-1][0]]
    slope = theilslopes([mb for _, mb in settled], [t / 3600 for t, _ in settled])
    memory = ["| after s | " + " | ".join(f"{t:.0f}" for t, _ in at) + " |", "|---|" + "---|" * len(at)]
    memory.append("| RSS MB | " + " | ".join(f"{mb:.1f}" for _, mb in at) + " |")
    rest = (
        f"Service {found.target_cpu:.2f} core; schedule lag p99 {live.lag.percentile(99) * 1000:.2f} ms; errors "
        f"{sum(live.errors.values())}; memory {slope[0]:+.1f} MB/h [{slope[2]:+.1f}, {slope[3]:+.1f}] by Theil-Sen."
    )
    return [head, "", *table, "", *latency, "", *memory, "", rest, ""]
