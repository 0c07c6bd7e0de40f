"""Does memory leak: MB per hour with an interval against a margin, after warm-up and between restarts.

The trend is fitted through the minima of short windows, as memory that is used for a moment is no leak. Warm-up is
left out for as long as it shows, at most :data:`SETTLE_BY_H` hours. Rises at once (an allocator taking an arena) count
towards the growth that could be a leak, and not towards the growth that must be one. Rates are per *scaled* hour: per
hour of the times given, multiplied by ``time_scale``.

Verdicts: FAIL where the trend is certainly above what is tolerated (99.5 %, as it is looked at every hour), PASS where
it is below the margin with 95 %, else INCONCLUSIVE. The two bounds are the ends of the interval that is reported.
Before :data:`SETTLE_BY_H` hours, the time the runbook gives memory to settle, a trend fails only where two hours of it
show no sign of flattening out (warm-up does) and it has grown by more than one arena of the allocator (the rising
tooth of a slow garbage collector looks like a leak until it drops); up to twice that time it must not flatten out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.judge.trend import Trend, critical, fit_trend, is_transient, theil_sen
from harness.model import Estimate, Interval, Verdict, no_estimate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Spans = Sequence[tuple[float, float]]

UNIT = "MB/h"
SETTLE_BY_H = 6.0
FIRST_LOOK_H = 1.0
FAIL_ALPHA = 0.005
PASS_ALPHA = 0.05
ARENA_MB = 64.0
_EARLY_SPAN_H = 2.0
_STEADY_EARLY, _STEADY = 0.7, 0.5  # of the whole trend, that its later half must certainly show
_WINDOWS = 72
_LEAST_WINDOW_H = 150.0 / 3600.0
_SAMPLES_A_WINDOW = 5
_FEWEST_WINDOWS = 8  # a slow sawtooth gets windows as long as its teeth, but no fewer of them than this
_SETTLE_GRID_H = (0.0, 1 / 6, 1 / 3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, SETTLE_BY_H)
_WARM_ALPHA = 0.01  # how clearly early values must lie below the later trend to be warm-up
_STEP_SIGMAS = 6.0
_LEAST_STEP_MB = 3.0
_MOST_STEPS = 6


@dataclass(frozen=True)
class LeakEstimate:
    """``slope`` in MB per (scaled) hour: its interval's low end is a 99.5 % bound, its high end a 95 % bound.

    ``settled_at_s``: seconds after the first sample (and after each restart) at which the fit begins, NaN where nothing
    could be fitted. ``decided_at_s``: seconds after the first sample from which on the verdict has stayed what it is,
    looked at once a (scaled) hour; None while undecided.
    """

    slope: Estimate
    verdict: Verdict
    settled_at_s: float
    note: str
    decided_at_s: float | None = None

    @property
    def interval(self) -> Interval:
        """The slope's interval."""
        return self.slope.interval


@dataclass(frozen=True)
class _Trace:
    """Samples in scaled hours from the first, without what is excluded; ``part`` counts restarts."""

    t: Floats
    y: Floats
    part: Ints
    begins: Floats  # of the parts

    def until(self, hour: float) -> _Trace:
        kept = self.t <= hour
        return _Trace(self.t[kept], self.y[kept], self.part[kept], self.begins)


@dataclass(frozen=True)
class _Minima:
    """The lowest sample of each window, at its own time; ``age`` is the time since the part's begin, in hours."""

    t: Floats
    y: Floats
    part: Ints
    age: Floats


@dataclass(frozen=True)
class _Limits:
    margin: float
    tolerated: float


def leak_verdict(
    times_s: npt.ArrayLike,
    rss_mb: npt.ArrayLike,
    *,
    margin_mb_per_h: float = 1.0,
    tolerated_mb_per_h: float | None = None,
    excluded: Spans = (),
    restarts: Sequence[float] = (),
    time_scale: float = 1.0,
) -> LeakEstimate:
    """Judge a trace of resident memory, and tell since when the verdict stands.

    ``times_s`` rise (gaps are no matter); NaN samples are left out. ``excluded`` are spans (fault windows) and
    ``restarts`` instants of the same clock. ``tolerated_mb_per_h`` (default: half the margin) is what a trend must
    certainly exceed to FAIL; one certainly between the two fails as well: it is a leak for certain, if a small one.
    """
    trace = _trace(times_s, rss_mb, excluded, restarts, time_scale)
    limits = _Limits(margin_mb_per_h, margin_mb_per_h / 2 if tolerated_mb_per_h is None else tolerated_mb_per_h)
    final = _confirmed(trace, limits)
    decided: float | None = None
    if final.verdict is not Verdict.INCONCLUSIVE:
        decided = float(trace.t[-1])
        for hour in range(math.ceil(decided) - 1, 0, -1):
            if _confirmed(trace.until(float(hour)), limits).verdict is not final.verdict:
                break
            decided = float(hour)
    return _in_seconds(final, decided, time_scale)


def leak_now(
    times_s: npt.ArrayLike,
    rss_mb: npt.ArrayLike,
    *,
    margin_mb_per_h: float = 1.0,
    tolerated_mb_per_h: float | None = None,
    excluded: Spans = (),
    restarts: Sequence[float] = (),
    time_scale: float = 1.0,
) -> LeakEstimate:
    """As :func:`leak_verdict` from one look, some twenty times cheaper; ``decided_at_s`` is left out."""
    trace = _trace(times_s, rss_mb, excluded, restarts, time_scale)
    limits = _Limits(margin_mb_per_h, margin_mb_per_h / 2 if tolerated_mb_per_h is None else tolerated_mb_per_h)
    return _in_seconds(_confirmed(trace, limits), None, time_scale)


def _in_seconds(found: LeakEstimate, decided_h: float | None, time_scale: float) -> LeakEstimate:
    decided = None if decided_h is None else decided_h * 3600 / time_scale
    return replace(found, settled_at_s=found.settled_at_s * 3600 / time_scale, decided_at_s=decided)


def _trace(
    times_s: npt.ArrayLike, rss_mb: npt.ArrayLike, excluded: Spans, restarts: Sequence[float], time_scale: float
) -> _Trace:
    times, rss = np.asarray(times_s, dtype=np.float64), np.asarray(rss_mb, dtype=np.float64)
    if times.shape != rss.shape or times.ndim != 1:
        raise ValueError("times and memory must be two lists of one length")
    if not len(times):
        return _Trace(times, rss, np.zeros(0, dtype=np.int64), np.zeros(1))
    kept = np.isfinite(rss) & np.isfinite(times)
    for begin, end in excluded:
        kept &= (times < begin) | (times > end)
    origin = float(times[0])
    begins = np.array([origin, *sorted(r for r in restarts if r > origin)])
    part = np.searchsorted(begins, times, side="right") - 1
    hours = time_scale / 3600
    return _Trace((times[kept] - origin) * hours, rss[kept], part[kept].astype(np.int64), (begins - origin) * hours)


def _unknown(why: str) -> LeakEstimate:
    return LeakEstimate(no_estimate(UNIT, why), Verdict.INCONCLUSIVE, math.nan, why)


def _confirmed(trace: _Trace, limits: _Limits) -> LeakEstimate:
    """One look; once memory had its time to settle, a FAIL must have been seen an hour ago as well."""
    found = _look(trace, limits)
    span = float(trace.t[-1]) if len(trace.t) else 0.0
    if found.verdict is not Verdict.FAIL or span < SETTLE_BY_H:
        return found
    if _look(trace.until(span - 1.0), limits, ripe_h=span).verdict is Verdict.FAIL:
        return found
    return replace(found, verdict=Verdict.INCONCLUSIVE, note="looks like a leak; the next hour must confirm it")


def _look(trace: _Trace, limits: _Limits, ripe_h: float = 0.0) -> LeakEstimate:
    """One verdict from all of ``trace``; ``settled_at_s`` is in scaled hours still.

    ``ripe_h``: how old the trace really is, where it is a part of an older one.
    """
    if not len(trace.t):
        return _unknown("no sample of resident memory")
    span = float(trace.t[-1])
    if span < FIRST_LOOK_H * 0.99:
        return _unknown(f"{span:.2f} h recorded; a trend is fitted from {FIRST_LOOK_H:g} h on")
    settled, points = _settled(trace)
    fitted = None if points is None else fit_trend(points.t, points.y, points.part)
    if points is None or fitted is None:
        return _unknown("no stretch between restarts is long enough for a trend")
    later = _later(points)
    low, at_once = _certain(fitted, points, later)
    slope = Estimate(fitted.slope, Interval(low, fitted.high(PASS_ALPHA)), UNIT, len(trace.t), None, at_once)
    if low > limits.tolerated and _ripe(fitted, later, points, max(span, ripe_h)):
        note = f"grows by more than {limits.tolerated:g} {UNIT} with 99.5 % certainty"
        return LeakEstimate(slope, Verdict.FAIL, settled, note)
    if slope.interval.high < limits.margin:
        note = f"grows by less than {limits.margin:g} {UNIT} with 95 % certainty"
        return LeakEstimate(slope, Verdict.PASS, settled, note)
    note = "; ".join(filter(None, [at_once, _needed(fitted, limits, span - settled)]))
    return LeakEstimate(slope, Verdict.INCONCLUSIVE, settled, note)


def _settled(trace: _Trace) -> tuple[float, _Minima | None]:
    """From which age on no warm-up shows, and the minima from there; at most half of what there is is given up."""
    longest = max(float(np.ptp(trace.t[trace.part == part])) for part in np.unique(trace.part))
    width = _width(trace)
    settled, points = 0.0, None
    for candidate in _SETTLE_GRID_H:
        if candidate > longest / 2:
            break
        found = _minima(trace, candidate, width)
        if found is None:
            break
        settled, points = candidate, found
        span = float(found.age.max()) - candidate
        shapes = [np.exp(-(found.age - candidate) / (span / parts)) for parts in (12, 4)]
        if not any(is_transient(found.t, found.y, found.part, shape, _WARM_ALPHA) for shape in shapes):
            break
    return settled, points


def _width(trace: _Trace) -> float:
    """The windows' length in hours: short, but as long as the teeth of a garbage collector, where there are any."""
    span = float(trace.t[-1] - trace.t[0])
    spacing = float(np.median(np.diff(trace.t))) if len(trace.t) > 1 else span
    width = max(span / _WINDOWS, _LEAST_WINDOW_H, _SAMPLES_A_WINDOW * spacing)
    change = np.diff(trace.y)
    limit = max(_LEAST_STEP_MB, _STEP_SIGMAS * _scale(change))
    drops = trace.t[1:][(change - np.median(change) < -limit) & (np.diff(trace.part) == 0)] if len(change) else change
    teeth = np.diff(drops)
    teeth = teeth[teeth > 3 * spacing]
    if len(teeth) >= 2:
        width = max(width, min(1.2 * float(np.quantile(teeth, 0.9)), span / _FEWEST_WINDOWS))
    return width


def _scale(values: Floats) -> float:
    """The standard deviation, by the median deviation from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def _minima(trace: _Trace, skip_h: float, width_h: float) -> _Minima | None:
    """The windows' minima of what is older than ``skip_h``; parts of too few windows are left out."""
    age = trace.t - trace.begins[trace.part]
    old = age >= skip_h
    t, y, part, age = trace.t[old], trace.y[old], trace.part[old], age[old]
    window = ((age - skip_h) / width_h).astype(np.int64)
    if not len(t):
        return None
    key = part * (int(window.max()) + 1) + window
    order = np.lexsort((y, key))
    _, first, counts = np.unique(key[order], return_index=True, return_counts=True)
    lowest = order[first[counts >= 0.4 * np.median(counts)]]
    numbers, windows = np.unique(part[lowest], return_counts=True)
    lowest = lowest[np.isin(part[lowest], numbers[windows >= 6])]
    return _Minima(t[lowest], y[lowest], part[lowest], age[lowest]) if len(lowest) >= 8 else None


def _later(points: _Minima) -> Trend | None:
    """The trend of the later half alone."""
    late = points.t >= (points.t[0] + points.t[-1]) / 2
    return fit_trend(points.t[late], points.y[late], points.part[late])


def _ripe(fitted: Trend, later: Trend | None, points: _Minima, span_h: float) -> bool:
    """Whether a rising trend may be called a leak yet: not while it may still be flattening out."""
    if span_h >= 2 * SETTLE_BY_H:
        return True
    early = span_h < SETTLE_BY_H
    if later is None:
        # Long teeth leave too few minima for bounds on half of them: then the halves' slopes must agree as they are.
        late = points.t >= (points.t[0] + points.t[-1]) / 2
        slope = theil_sen(points.t[late], points.y[late], points.part[late])
        return not early and slope > _STEADY_EARLY * fitted.slope
    if later.low(PASS_ALPHA) <= (_STEADY_EARLY if early else _STEADY) * fitted.slope:
        return False
    length = float(np.ptp(points.t))
    return not early or (length >= _EARLY_SPAN_H * 0.97 and fitted.slope * length > ARENA_MB)


def _certain(fitted: Trend, points: _Minima, later: Trend | None) -> tuple[float, str]:
    """What the trend exceeds for certain, and a word on rises at once.

    It must show without the rises at once, where they are few, and in the later half alone (95 % suffices there, since
    this only guards against what flattens out).
    """
    low, note = fitted.low(FAIL_ALPHA), ""
    rises = _rises(points)
    if 0 < len(rises) <= _MOST_STEPS:
        apart = np.searchsorted(rises, np.arange(len(points.t)), side="right")
        smooth = fit_trend(points.t, points.y, points.part * (len(rises) + 1) + apart)
        low = min(low, smooth.low(FAIL_ALPHA) if smooth is not None else 0.0)
        note = f"memory rose at once {len(rises)} times after it had settled"
    if later is not None:
        low = min(low, later.low(PASS_ALPHA))
    return min(low, fitted.slope), note


def _rises(points: _Minima) -> Ints:
    """The indices at which memory rose at once, far beyond its usual changes."""
    change = np.diff(points.y)
    usual = float(np.median(change))
    limit = max(_LEAST_STEP_MB, _STEP_SIGMAS * _scale(change))
    return np.flatnonzero((change - usual > limit) & (np.diff(points.part) == 0)) + 1


def _needed(fitted: Trend, limits: _Limits, span_h: float) -> str:
    """How many hours of the same spread would decide: a slope's error falls with the 1.5th power of the time."""
    to_pass, to_fail = limits.margin - fitted.slope, fitted.slope - limits.tolerated
    factors = [
        (critical(alpha, fitted.freedom) * fitted.error / distance) ** (2 / 3)
        for alpha, distance in ((PASS_ALPHA, to_pass), (FAIL_ALPHA, to_fail))
        if distance > 0
    ]
    hours = min(factors) * span_h if factors else math.inf
    return f"about {max(hours, span_h):.1f} h of this spread would decide"
