"""The charts of a soak's page: everything over the hours of the full soak."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.judge.intervals import Floats
from harness.judge.soak_series import SoakSeries, Window
from harness.judge.soak_verdict import SoakJudgement
from harness.model import Verdict
from harness.report.chart import Band, Chart, Line, Marker, Tolerance
from harness.report.soak import SoakRecord

_BINS = 300
_HOUR = 3600.0


def charts_of(record: SoakRecord, judgement: SoakJudgement) -> list[Chart]:
    """The charts, those without a single value left out."""
    drawn = [
        _latency(record),
        _throughput(record),
        _errors(record),
        _memory(record, judgement),
        _cpu(record),
        _freshness(record),
        _files(record),
    ]
    return [chart for chart in drawn if any(np.isfinite(line.y).any() for line in chart.lines)]


def _chart(
    record: SoakRecord,
    title: str,
    y_label: str,
    unit: str,
    lines: list[Line],
    *,
    tolerances: tuple[Tolerance, ...] = (),
    from_zero: bool = True,
) -> Chart:
    series = record.series
    scaled = "" if series.time_scale == 1 else f" (scaled: one is {_HOUR / series.time_scale:.3g} s)"
    return Chart(
        title=title,
        y_label=y_label,
        unit=unit,
        span=(0.0, max(series.end_s, 1e-6) / _HOUR),
        lines=tuple(lines),
        bands=tuple(_bands(series)),
        markers=tuple(_markers(record)),
        tolerances=tolerances,
        height=170.0,
        x_label=f"hours since the start{scaled}",
        x_unit="h",
        from_zero=from_zero,
    )


def _bands(series: SoakSeries) -> list[Band]:
    found = [Band(0.0, series.warm_up_s / _HOUR, "warm-up", "quiet")] if series.warm_up_s else []
    found += [Band(start / _HOUR, end / _HOUR, text, "fault") for start, end, text in series.faults]
    found += [Band(gap.start_s / _HOUR, gap.end_s / _HOUR, "not observed", "gap") for gap in series.gaps]
    return found


def _markers(record: SoakRecord) -> list[Marker]:
    found = [Marker(at / _HOUR, None, why[:60], "abort") for at, why in record.series.deaths[:1]]
    found += [Marker(m.at_s / _HOUR, None, f"abort: {m.trigger.name}", "abort") for m in record.watch.met.values()]
    others = [r for r in record.series.restarts if not r.ours][:1]
    return found + [Marker(r.at_s / _HOUR, None, f"the target {r.detail}", "abort") for r in others]


class _Grid:
    """The hours cut into bins, and columns reduced to them; NaN where a bin holds nothing."""

    def __init__(self, series: SoakSeries) -> None:
        self._series = series
        self._bins = bins = min(_BINS, max(4, len(series) // 2))
        width = max(series.end_s, 1e-6) / bins
        middle = (series.column("from_s") + series.column("to_s")) / 2
        self._index = np.minimum((middle / width).astype(np.int64), bins - 1)
        self.x: Floats = ((np.arange(bins) + 0.5) * width / _HOUR).astype(np.float64)

    def reduce(self, values: Floats, how: Callable[[Floats], float]) -> Floats:
        """``how`` of what lies in each bin."""
        found = np.full(self._bins, math.nan)
        known = np.isfinite(values)
        index, kept = self._index[known], values[known]
        if not len(kept):
            return found
        starts = np.flatnonzero(np.r_[True, index[1:] != index[:-1]])
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(index)], strict=True):
            found[index[start]] = how(kept[start:stop])
        return found

    def per_second(self, column: str) -> Floats:
        """A count as a rate per real second."""
        length = (self._series.column("to_s") - self._series.column("from_s")) / self._series.time_scale
        total = self.reduce(self._series.column(column), np.sum)
        seconds = self.reduce(length, np.sum)
        rate: Floats = np.divide(total, seconds, out=np.full(self._bins, math.nan), where=seconds > 0)
        return rate


def _windows(record: SoakRecord, value: Callable[[Window], float]) -> tuple[Floats, Floats]:
    """Bins of merged histograms, on an even grid, so that the line breaks where there are none."""
    bins = record.series.bins
    last = max((round(w.start_s / bins.width_s) for w in bins.closed), default=0)
    x: Floats = ((np.arange(last + 1) + 0.5) * bins.width_s / _HOUR).astype(np.float64)
    y: Floats = np.full(last + 1, math.nan)
    for window in bins.closed:
        y[round(window.start_s / bins.width_s)] = value(window)
    return x, y


def _latency(record: SoakRecord) -> Chart:
    lines = [
        Line(label, css, *_windows(record, pick))
        for label, css, pick in (
            ("P50", "second", lambda w: w.p50_ms),
            ("P99", "first", lambda w: w.p99_ms),
            ("P99.9", "faint", lambda w: w.p999_ms),
        )
    ]
    return _chart(record, "Latency of all operations, from the intended start", "ms", "ms", lines)


def _throughput(record: SoakRecord) -> Chart:
    grid = _Grid(record.series)
    lines = [
        Line("answered", "first", grid.x, grid.per_second("completed")),
        Line("offered", "offered", grid.x, grid.per_second("offered")),
    ]
    return _chart(record, "Operations per second", "operations/s", "/s", lines, from_zero=False)


def _errors(record: SoakRecord) -> Chart:
    def share(window: Window) -> float:
        judged = window.good + window.bad
        return window.bad / judged if judged else math.nan

    criterion = record.scenario.criterion("error_rate")
    limit = (Tolerance(criterion.bound, f"limit {criterion.bound:.2%}"),) if criterion else ()
    lines = [Line("failed requests", "bad", *_windows(record, share))]
    return _chart(record, "Error rate", "share of requests", "%", lines, tolerances=limit)


def _memory(record: SoakRecord, judgement: SoakJudgement) -> Chart:
    series = record.series
    grid = _Grid(series)
    rss = grid.reduce(series.column("rss_mb"), np.median)
    lines = [Line("RSS", "first", grid.x, rss)]
    found = judgement.result("leak")
    if found is not None and found.estimate.known:
        lines += _trend(series, found.estimate.value, found.estimate.interval.low, found.estimate.interval.high, grid.x)
    return _chart(
        record, "Memory of the target (RSS), with the fitted trend and its interval", "MB", "MB", lines, from_zero=False
    )


def _trend(series: SoakSeries, slope: float, low: float, high: float, x: Floats) -> list[Line]:
    """The trend through the settled part, and the steepest and flattest it may be."""
    end, rss = series.column("to_s") / _HOUR, series.column("rss_mb")
    last_process = series.column("process")[-1]
    keep = (
        series.steady
        & np.isfinite(rss)
        & ((series.column("process") == last_process) | np.isnan(series.column("process")))
    )
    if not keep.any():
        return []
    # Lower envelope's level: the slope is fitted through minima, so the line lies under the noise, not through it.
    level = float(np.median((rss - slope * end)[keep]))
    first = float(end[keep][0])
    inside = x >= first
    middle = (first + float(end[-1])) / 2

    def line(label: str, css: str, rate: float) -> Line:
        anchor = level + slope * middle
        return Line(label, css, x, np.where(inside, anchor + rate * (x - middle), math.nan))

    return [
        line("trend", "bad", slope),
        line("its interval", "faint", low),
        line("", "faint", high),
    ]


def _cpu(record: SoakRecord) -> Chart:
    series = record.series
    cpu = series.column("cpu_s")
    process = np.nan_to_num(series.column("process"))
    used = np.r_[math.nan, np.where(process[1:] == process[:-1], np.diff(cpu), math.nan)] if len(cpu) else cpu
    length = (series.column("to_s") - series.column("from_s")) / series.time_scale
    grid = _Grid(series)
    cores = grid.reduce(np.divide(used, length, out=np.full(len(used), math.nan), where=length > 0), np.mean)
    cpus = max(1, int(record.manifest.get("machine", {}).get("cpus") or 1))
    criterion = record.scenario.criterion("cpu")
    limit = (Tolerance(criterion.bound, f"limit {criterion.bound:.0%} on average"),) if criterion else ()
    lines = [Line(f"CPU, share of {cpus} cores", "first", grid.x, cores / cpus)]
    return _chart(record, "CPU of the target", "share of the machine", "%", lines, tolerances=limit)


def _freshness(record: SoakRecord) -> Chart:
    series = record.series
    grid = _Grid(series)
    criterion = record.scenario.criterion("consolidation_freshness")
    limit = (Tolerance(criterion.bound, f"limit {criterion.bound:g} s"),) if criterion else ()
    lines = [
        Line(
            "age of the last successful consolidation",
            "effect",
            grid.x,
            grid.reduce(series.column("freshness_s"), np.max),
        )
    ]
    return _chart(record, "Consolidation freshness, the oldest seen", "s", "s", lines, tolerances=limit)


def _files(record: SoakRecord) -> Chart:
    grid = _Grid(record.series)
    lines = [
        Line("open files", "first", grid.x, grid.reduce(record.series.column("fds"), np.max)),
        Line("threads", "second", grid.x, grid.reduce(record.series.column("threads"), np.max)),
    ]
    return _chart(record, "Open files and threads of the target", "", "", lines)


def go_word(verdict: Verdict) -> str:
    """GO only for PASS, NO-GO only for FAIL."""
    return {Verdict.PASS: "GO", Verdict.FAIL: "NO-GO"}.get(verdict, "NO DECISION")
