"""What a soak looks at between its requests: the target's resources, what it says of itself, and what we use ourselves.

Looked at by the soak's own thread at its own pace; the worst of an interval is kept, not the last.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from harness.engram.client import EngramClient
from harness.engram.metrics import MetricsSnapshot
from harness.errors import TargetError, TargetNotOwned
from harness.targets.base import Target

Reading = dict[str, Any]


# What a target's criteria need; where nobody tells one of them, the reading says why.
_NEEDED = ("rss_bytes", "cpu_s", "fds")


def target_reading(target: Target, metrics: MetricsSnapshot | None = None) -> Reading:
    """What a target uses, by the best witness there is; ``source`` names the one of its memory.

    ``process``: its process, seen from here. ``engine``: what the engine says of its container, where that process
    cannot be seen. ``service``: what it tells of itself in ``metrics``; the only witness of one that is only attached.
    They measure different things, so one that does not answer for once is not stood in for. ``lacking`` says of a
    target started here what nobody tells, and why. ``identity`` changes with every start.
    """
    told = told_reading(metrics) if metrics is not None else {}
    process = target.process
    if process is not None:
        found = process_reading(process.pid, _data_dir(target))
        if found:
            found |= {"source": "process"} | _only(told, "fds", unless=found)
            found |= _lacking(found, "the process belongs to another user, and the service does not tell")
        return {**found, "identity": [process.pid, process.start_time, process.boot]}
    try:
        used = target.usage()
    except TargetError as error:
        return {"lacking": dict.fromkeys(_NEEDED, error.what)}
    if used is None:
        return {**told, "source": "service"} if told else {}
    source = "engine" if "rss_bytes" in used else "service" if "rss_bytes" in told else ""
    found = {**told, **used} | ({"source": source} if source else {})
    return found | _lacking(found, "the container's process cannot be seen, and neither engine nor service tells")


def _only(told: Reading, name: str, *, unless: Reading) -> Reading:
    return {name: told[name]} if name in told and name not in unless else {}


def _lacking(found: Reading, why: str) -> Reading:
    names = [name for name in _NEEDED if name not in found]
    return {"lacking": dict.fromkeys(names, why)} if names else {}


def _data_dir(target: Target) -> Path | None:
    """Where the target's data lie, where they can be reached."""
    try:
        return target.data_dir
    except TargetNotOwned:
        return None


def process_reading(pid: int, data_dir: Path | None) -> Reading:
    """RSS, VSZ, CPU seconds, descriptors, threads and disk of a process; ``{}`` where it is gone.

    The descriptors of another user's process are not ours to count, and are left out.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory, times = process.memory_info(), process.cpu_times()
            found = {
                "pid": pid,
                "rss_bytes": memory.rss,
                "vsz_bytes": memory.vms,
                "cpu_s": times.user + times.system,
                "threads": process.num_threads(),
            }
            with suppress(psutil.AccessDenied):
                found["fds"] = process.num_fds()
    except psutil.Error:
        return {}
    if data_dir is not None:
        found["disk_bytes"] = size_of(data_dir)
    return found


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; files that go meanwhile count as nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except OSError:
                continue  # compacted away since it was listed
    return total


def told_reading(metrics: MetricsSnapshot) -> Reading:
    """The same as a service tells it of itself, for a target whose process is not ours to see."""
    names = {
        "rss_bytes": "process_resident_memory_bytes",
        "vsz_bytes": "process_virtual_memory_bytes",
        "cpu_s": "process_cpu_seconds_total",
        "fds": "process_open_fds",
    }
    return {key: value for key, name in names.items() if (value := metrics.value(name)) is not None}


@dataclass
class _Tally:
    polls: int = 0
    answered: int = 0
    unhealthy: int = 0
    breaker_polls: int = 0
    breaker_open: int = 0
    freshness_max_s: float = math.nan


class ServiceWatch:
    """Health, breaker, consolidation: asked every poll, handed out once an interval."""

    def __init__(self, client: EngramClient, capabilities: frozenset[str]) -> None:
        self._client = client
        self._has_metrics = "metrics.prometheus" in capabilities
        self._has_runs = "consolidations" in capabilities
        self._tally = _Tally()
        self._counters: Reading = {}
        self.metrics: MetricsSnapshot | None = None
        self.answering = True

    def poll(self) -> None:
        """Ask once. A target that does not answer is unhealthy, and no error of ours."""
        tally = self._tally
        tally.polls += 1
        try:
            healthy = self._client.health()
            tally.answered += 1
            tally.unhealthy += not healthy
            self.answering = True
        except TargetError:
            tally.unhealthy += 1
            self.answering = False
            return
        try:
            if self._has_metrics:
                self._read_metrics(self._client.metrics())
            elif self._has_runs:
                self._read_runs()
        except TargetError:
            tally.unhealthy += 1

    def take(self) -> Reading:
        """What was seen since the last call, and the counters as they stand."""
        tally, self._tally = self._tally, _Tally()
        found = {
            "polls": tally.polls,
            "unhealthy": tally.unhealthy,
            "breaker_open": tally.breaker_open if tally.breaker_polls else math.nan,
            "freshness_max_s": tally.freshness_max_s,
            **self._counters,
        }
        self._counters = {}
        return found

    def _read_metrics(self, metrics: MetricsSnapshot) -> None:
        self.metrics = metrics
        state = metrics.value("engram_spreading_breaker_state")
        if state is not None:
            self._tally.breaker_polls += 1
            self._tally.breaker_open += state != 0
        self._fresh(metrics.value("engram_consolidation_freshness_seconds"))
        names = {
            "runs": "engram_consolidation_runs_total",
            "failures": "engram_consolidation_failures_total",
            "episodes": "engram_episodes_total",
            "bindings": "engram_bindings_total",
            "start_time": "process_start_time_seconds",
        }
        self._counters = {key: value for key, name in names.items() if (value := metrics.value(name)) is not None}

    def _read_runs(self) -> None:
        stats = self._client.consolidations()
        self._fresh(stats.last_success_age_s)
        self._counters = {"runs": stats.total_runs, "failures": stats.failed}

    def _fresh(self, age_s: float | None) -> None:
        if age_s is not None:
            kept = self._tally.freshness_max_s
            self._tally.freshness_max_s = age_s if math.isnan(kept) else max(kept, age_s)


def own_reading(load_pids: Callable[[], Sequence[int]]) -> Reading:
    """What the harness itself uses: this process, and the load processes together."""
    found = _usage([os.getpid()], "harness")
    return found | _usage(load_pids(), "load")


def _usage(pids: Sequence[int], name: str) -> Reading:
    rss, cpu_s = 0, 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            rss += process.memory_info().rss
            times = process.cpu_times()
        except psutil.Error:
            continue
        cpu_s += times.user + times.system
    return {f"{name}_rss_bytes": rss, f"{name}_cpu_s": cpu_s}
