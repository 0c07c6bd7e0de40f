"""A soak's intervals as columns and windows: built record by record, by the engine while it runs and by the judge.

Time here is *scaled*: seconds of the full soak, which are real seconds times the run's time scale. Latencies are real.
Histograms are merged into windows, of which only percentiles are kept once they close, so a day takes a few megabytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.histogram import Histogram
from harness.judge.intervals import Floats
from harness.model import Op, json_number, number_from_json

COLUMNS = (
    "from_s", "to_s", "offered", "sent", "completed", "good", "bad", "no_free_slot", "in_flight", "p50_ms", "p99_ms",
    "lag_p99_ms", "rss_mb", "vsz_mb", "cpu_s", "fds", "threads", "disk_mb", "polls", "unhealthy", "breaker_open",
    "freshness_s", "runs", "failures", "harness_rss_mb", "harness_cpu_s", "load_rss_mb", "load_cpu_s",
    "fault", "segment", "process",
)  # fmt: skip
_MB = 1e6


@dataclass
class Window:
    """Requests of one window. Percentiles in ms; ``ops``: per operation (good, bad)."""

    start_s: float
    end_s: float
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    good: int
    bad: int
    ops: dict[str, tuple[int, int]]
    spoiled: bool = False  # a fault, a gap or the warm-up lies in it: no evidence of the steady state


@dataclass
class _Open:
    """The window being filled."""

    index: int
    histogram: Histogram = field(default_factory=Histogram)
    ops: dict[str, list[int]] = field(default_factory=dict)
    spoiled: bool = False
    end_s: float = 0.0


class Windows:
    """Merges intervals into windows of ``width_s`` (scaled) seconds."""

    def __init__(self, width_s: float) -> None:
        self.width_s = width_s
        self.closed: list[Window] = []
        self._open: _Open | None = None

    def add(self, middle_s: float, end_s: float, histogram: Histogram, ops: Ops, *, spoiled: bool) -> bool:
        """Add one interval; tells whether that closed a window."""
        index = int(middle_s // self.width_s)
        closed = self._open is not None and self._open.index != index
        if closed:
            self.close()
        if self._open is None:
            self._open = _Open(index)
        now = self._open
        now.histogram = now.histogram + histogram
        now.spoiled = now.spoiled or spoiled
        now.end_s = end_s
        for name, (good, bad) in ops.items():
            row = now.ops.setdefault(name, [0, 0])
            row[0] += good
            row[1] += bad
        return closed

    def close(self) -> None:
        """Close the open window, however short; idempotent."""
        now = self._open
        if now is None:
            return
        self._open = None
        p50, p95, p99, p999 = (now.histogram.percentile(p) * 1e3 for p in (50, 95, 99, 99.9))
        good, bad = (sum(row[i] for row in now.ops.values()) for i in (0, 1))
        ops = {name: (row[0], row[1]) for name, row in sorted(now.ops.items())}
        start = now.index * self.width_s
        end = min(start + self.width_s, max(now.end_s, start))
        self.closed.append(Window(start, end, now.histogram.count, p50, p95, p99, p999, good, bad, ops, now.spoiled))


Ops = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Gap:
    """A stretch nobody observed, in scaled seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Restart:
    """The target's process is another one from ``at_s`` on; ``ours``: the harness started it anew."""

    at_s: float
    ours: bool
    detail: str


class SoakSeries:
    """Everything the criteria are judged from, except the read-back."""

    def __init__(
        self, *, time_scale: float, window_s: float, warm_up_s: float, duration_s: float, expected: int = 1024
    ) -> None:
        """``expected`` records are made room for at once, so that a soak's own memory does not grow with it."""
        self.time_scale = time_scale
        self.warm_up_s = warm_up_s
        self.duration_s = duration_s
        self.windows = Windows(window_s)
        self.hours = Windows(3600.0)
        # For charts: at most 300, and never narrower than two intervals, or lines would fall apart into points.
        self.bins = Windows(max(duration_s / 300.0, 2.1 * duration_s / max(1, expected), 1e-3))
        self.latency: dict[str, Histogram] = {}
        self.gaps: list[Gap] = []
        self.restarts: list[Restart] = []
        self.faults: list[tuple[float, float, str]] = []
        self.deaths: list[tuple[float, str]] = []
        self.errors: dict[str, int] = {}
        self.lacking: dict[str, str] = {}  # what nobody tells of a target started here, and why
        self._count = 0
        self._columns = {name: np.full(max(16, expected), math.nan) for name in COLUMNS}
        self._process: Any = None
        self._segment = -1
        self._fault_open: tuple[float, str] | None = None

    # reading

    def __len__(self) -> int:
        return self._count

    def column(self, name: str) -> Floats:
        """One column as an array; NaN where nothing was recorded."""
        return self._columns[name][: self._count].copy()

    @property
    def end_s(self) -> float:
        """The end of what was recorded, scaled seconds since the start."""
        return float(self._columns["to_s"][self._count - 1]) if self._count else 0.0

    @property
    def observed_s(self) -> float:
        """Scaled seconds that were observed: without the gaps."""
        return float((self.column("to_s") - self.column("from_s")).sum()) if len(self) else 0.0

    @property
    def steady(self) -> npt.NDArray[np.bool_]:
        """The intervals after the warm-up and outside the faults."""
        keep: npt.NDArray[np.bool_] = (self.column("from_s") >= self.warm_up_s) & (self.column("fault") == 0)
        return keep

    def last(self, name: str) -> float:
        """The last value of a column; NaN before the first record."""
        return float(self._columns[name][self._count - 1]) if self._count else math.nan

    def excluded(self) -> list[tuple[float, float]]:
        """Fault windows and gaps: no evidence of the steady state."""
        return sorted([(start, end) for start, end, _ in self.faults] + [(g.start_s, g.end_s) for g in self.gaps])

    def untold(self, name: str, column: str) -> str:
        """Why nothing at all was recorded of ``name``; empty where something was, or where nobody could say why."""
        return self.lacking.get(name, "") if not np.isfinite(self.column(column)).any() else ""

    # building

    def add(self, record: dict[str, Any]) -> bool:
        """Take one interval record in; tells whether a window closed with it."""
        scale = self.time_scale
        start, end = float(record["from_s"]) * scale, float(record["to_s"]) * scale
        segment = int(record.get("segment", 0))
        self._note_gap(start, end, segment)
        process = self._note_process(record, start, segment)
        by_op = {name: Histogram.from_hdr(text) for name, text in record.get("latency", {}).items()}
        merged = Histogram.merged(by_op.values())
        for name, histogram in by_op.items():
            self.latency[name] = self.latency[name] + histogram if name in self.latency else histogram
        for name, count in record.get("errors", {}).items():
            self.errors[name] = self.errors.get(name, 0) + int(count)
        ops = {name: (int(row[0]), int(row[1])) for name, row in record.get("ops", {}).items()}
        in_fault = bool(record.get("fault")) or self._fault_open is not None
        self._append(record, start, end, merged, ops, in_fault, segment, process)
        spoiled = in_fault or start < self.warm_up_s
        middle = (start + end) / 2
        closed = self.windows.add(middle, end, merged, ops, spoiled=spoiled)
        self.hours.add(middle, end, merged, ops, spoiled=spoiled)
        self.bins.add(middle, end, merged, ops, spoiled=spoiled)
        return closed

    def event(self, event: dict[str, Any]) -> None:
        """Take an event of the timeline in; those that do not concern the series are left alone."""
        at = float(event.get("at_s", 0.0)) * self.time_scale
        match event.get("event"):
            case "fault_begins":
                self._fault_open = (at, str(event.get("text", "a fault")))
            case "fault_ends" if self._fault_open is not None:
                self.faults.append((self._fault_open[0], at, self._fault_open[1]))
                self._fault_open = None
            case "target_died":
                self.deaths.append((at, str(event.get("reason", "the target died"))))
            case _:
                pass

    def finish(self) -> None:
        """Close what is open: nothing more will come."""
        for windows in (self.windows, self.hours, self.bins):
            windows.close()
        if self._fault_open is not None:
            self.faults.append((self._fault_open[0], self.end_s, self._fault_open[1]))
            self._fault_open = None

    def _note_gap(self, start: float, end: float, segment: int) -> None:
        if len(self) and (start - self.end_s > 0.5 * (end - start) or segment != self._segment):
            self.gaps.append(Gap(self.end_s, max(start, self.end_s)))
        self._segment = segment

    def _note_process(self, record: dict[str, Any], start: float, segment: int) -> float:
        """Number the target's processes from 0, by pid and start, or by the start the service tells."""
        target, service = record.get("target") or {}, record.get("service") or {}
        identity = target.get("identity") or service.get("start_time")
        if identity is None:
            return math.nan
        if isinstance(identity, list):
            identity = tuple(identity)
        if self._process is None:
            self._process = (identity, 0, segment)
        elif identity != self._process[0]:
            ours = bool(target.get("identity")) and segment != self._process[2]
            what = "started anew when the soak went on" if ours else "became another process"
            self.restarts.append(Restart(start, ours, what))
            self._process = (identity, self._process[1] + 1, segment)
        else:
            self._process = (identity, self._process[1], segment)
        return float(self._process[1])

    def _append(
        self,
        record: dict[str, Any],
        start: float,
        end: float,
        merged: Histogram,
        ops: Ops,
        in_fault: bool,
        segment: int,
        process: float,
    ) -> None:
        target, service, harness = (record.get(key) or {} for key in ("target", "service", "harness"))
        self.lacking |= {str(name): str(why) for name, why in (target.get("lacking") or {}).items()}
        values = {
            "from_s": start,
            "to_s": end,
            "good": sum(good for good, _ in ops.values()),
            "bad": sum(bad for _, bad in ops.values()),
            "p50_ms": merged.percentile(50) * 1e3,
            "p99_ms": merged.percentile(99) * 1e3,
            "fault": float(in_fault),
            "segment": float(segment),
            "process": process,
        }
        for name in ("offered", "sent", "completed", "no_free_slot", "in_flight", "lag_p99_ms"):
            values[name] = _number(record, name)
        for source, names in (
            (target, ("cpu_s", "fds", "threads")),
            (service, ("polls", "unhealthy", "breaker_open", "runs", "failures")),
            (harness, ("harness_cpu_s", "load_cpu_s")),
        ):
            values |= {name: _number(source, name) for name in names}
        for source, keys in (
            (target, ("rss", "vsz", "disk")),
            (harness, ("harness_rss", "load_rss")),
        ):
            values |= {f"{key}_mb": _number(source, f"{key}_bytes") / _MB for key in keys}
        values["freshness_s"] = _number(service, "freshness_max_s") * self.time_scale
        if self._count == len(self._columns["to_s"]):
            self._columns = {
                name: np.concatenate([kept, np.full_like(kept, math.nan)]) for name, kept in self._columns.items()
            }
        for name in COLUMNS:
            self._columns[name][self._count] = values[name]
        self._count += 1


def _number(source: dict[str, Any], name: str) -> float:
    return number_from_json(source.get(name))


def op_name(op: Op) -> str:
    """How an operation is named in an interval record."""
    return op.name.lower()


def finite(value: float) -> float | str | None:
    """For JSON: NaN is null."""
    return json_number(value)
