"""Does P99 drift: relative change per hour with an interval against a margin, over hours of windows.

``method``:

- ``"trend"`` (the default): one slope through log P99, its error from the long-run variance (harness/judge/trend.py).
- ``"glsar"``: the same slope by generalised least squares with first-order autoregressive errors (statsmodels' GLSAR).
- ``"runbook"``: every hour against the one before, and any change above the margin fails. Kept because its readers ask
  for it; it alarms on noise (docs/soak_calibration.md).

FAIL where the drift is certainly above what is tolerated (99.5 %, as it is looked at every hour), PASS where it is
below the margin with 95 %, else INCONCLUSIVE; the bounds are the ends of the interval reported. Rates are per *scaled*
hour: per hour of the times given, multiplied by ``time_scale``. Getting faster is no drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.judge.trend import Trend, fit_trend, is_transient
from harness.model import Estimate, Interval, Verdict, no_estimate

Floats = npt.NDArray[np.float64]

UNIT = "1/h"  # relative change per hour: 0.02 is 2 % an hour
FIRST_LOOK_H = 2.0
FAIL_ALPHA = 0.005
PASS_ALPHA = 0.05
LEAST_COUNT = 200  # of requests in a window: below, its P99 says little
_EARLY_H = 6.0
_ROUNDS = 8
_STEADY = 0.5
_SETTLE_GRID_H = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
_WARM_ALPHA = 0.01


@dataclass(frozen=True)
class DriftEstimate:
    """``change`` per (scaled) hour, its interval's low end a 99.5 % bound and its high end a 95 % bound.

    ``total`` is what that makes from the first to the last window. By the runbook's method ``change`` is the largest
    change from one hour to the next, and has no interval. ``decided_at_s``: seconds after the first window from which
    on the verdict has stayed what it is, looked at once a (scaled) hour; None while undecided.
    """

    change: Estimate
    total: Estimate
    verdict: Verdict
    method: str
    note: str
    decided_at_s: float | None = None


@dataclass(frozen=True)
class _Series:
    t: Floats  # scaled hours since the first window
    y: Floats  # log P99

    def until(self, hour: float) -> _Series:
        kept = self.t <= hour
        return _Series(self.t[kept], self.y[kept])


@dataclass(frozen=True)
class _Limits:
    """As differences of logarithms per hour, and over the whole time."""

    margin: float
    tolerated: float
    total: float | None


def drift_verdict(
    times_s: npt.ArrayLike,
    p99_ms: npt.ArrayLike,
    counts: npt.ArrayLike | None = None,
    *,
    margin_per_h: float = 0.10,
    tolerated_per_h: float | None = None,
    total_margin: float | None = None,
    excluded: Sequence[tuple[float, float]] = (),
    time_scale: float = 1.0,
    method: str = "trend",
    least_count: int = LEAST_COUNT,
) -> DriftEstimate:
    """Judge P99 over time, and tell since when the verdict stands.

    One value per window (of merged histograms; percentiles are never averaged), evenly spaced but for gaps, at the
    window's middle; windows of fewer than ``least_count`` requests, without a value, or in ``excluded`` spans are left
    out. ``tolerated_per_h`` (default: half the margin) is what a drift must certainly exceed to FAIL. With
    ``total_margin`` (0.25 is 25 %) the whole change must meet that bound, too: 2 % an hour is 60 % a day.
    """
    series, limits, look = _question(
        times_s, p99_ms, counts, margin_per_h, tolerated_per_h, total_margin, excluded, time_scale, method, least_count
    )
    final = look(series, limits)
    if final.verdict is Verdict.INCONCLUSIVE:
        return final
    decided = float(series.t[-1])
    for hour in range(math.ceil(decided) - 1, 0, -1):
        if look(series.until(float(hour)), limits).verdict is not final.verdict:
            break
        decided = float(hour)
    return replace(final, decided_at_s=decided * 3600 / time_scale)


def drift_now(
    times_s: npt.ArrayLike,
    p99_ms: npt.ArrayLike,
    counts: npt.ArrayLike | None = None,
    *,
    margin_per_h: float = 0.10,
    tolerated_per_h: float | None = None,
    total_margin: float | None = None,
    excluded: Sequence[tuple[float, float]] = (),
    time_scale: float = 1.0,
    method: str = "trend",
    least_count: int = LEAST_COUNT,
) -> DriftEstimate:
    """As :func:`drift_verdict` from one look, some twenty times cheaper; ``decided_at_s`` is left out."""
    series, limits, look = _question(
        times_s, p99_ms, counts, margin_per_h, tolerated_per_h, total_margin, excluded, time_scale, method, least_count
    )
    return look(series, limits)


def _question(
    times_s: npt.ArrayLike,
    p99_ms: npt.ArrayLike,
    counts: npt.ArrayLike | None,
    margin_per_h: float,
    tolerated_per_h: float | None,
    total_margin: float | None,
    excluded: Sequence[tuple[float, float]],
    time_scale: float,
    method: str,
    least_count: int,
) -> tuple[_Series, _Limits, Callable[[_Series, _Limits], DriftEstimate]]:
    if method not in _METHODS:
        raise ValueError(f"no such method: {method!r}; one of {', '.join(_METHODS)}")
    tolerated = margin_per_h / 2 if tolerated_per_h is None else tolerated_per_h
    total = None if total_margin is None else math.log1p(total_margin)
    series = _series(times_s, p99_ms, counts, excluded, time_scale, least_count)
    return series, _Limits(math.log1p(margin_per_h), math.log1p(tolerated), total), _METHODS[method]


def _series(
    times_s: npt.ArrayLike,
    p99_ms: npt.ArrayLike,
    counts: npt.ArrayLike | None,
    excluded: Sequence[tuple[float, float]],
    time_scale: float,
    least_count: int,
) -> _Series:
    times, p99 = np.asarray(times_s, dtype=np.float64), np.asarray(p99_ms, dtype=np.float64)
    if times.shape != p99.shape or times.ndim != 1:
        raise ValueError("times and P99 must be two lists of one length")
    kept = np.isfinite(p99) & (p99 > 0)
    if counts is not None:
        kept &= np.asarray(counts, dtype=np.float64) >= least_count
    for begin, end in excluded:
        kept &= (times < begin) | (times > end)
    if not kept.any():
        return _Series(np.zeros(0), np.zeros(0))
    return _Series((times[kept] - times[0]) * time_scale / 3600, np.log(p99[kept]))


def _unknown(method: str, why: str) -> DriftEstimate:
    none = no_estimate(UNIT, why)
    return DriftEstimate(none, no_estimate("ratio", why), Verdict.INCONCLUSIVE, method, why)


def _too_short(series: _Series, method: str) -> DriftEstimate | None:
    if not len(series.t):
        return _unknown(method, "no window with enough requests")
    span = float(np.ptp(series.t))
    if span < FIRST_LOOK_H * 0.9:
        return _unknown(method, f"{span:.2f} h recorded; drift is judged from {FIRST_LOOK_H:g} h on")
    return None


def _settled(series: _Series) -> _Series:
    """Without the start, for as long as P99 is still falling from it; at most half of what there is is given up."""
    found = series
    for candidate in _SETTLE_GRID_H:
        if candidate > float(np.ptp(series.t)) / 2:
            break
        old = series.t >= series.t[0] + candidate
        found = _Series(series.t[old], series.y[old])
        group = np.zeros(len(found.t), dtype=np.int64)
        age = found.t - found.t[0]
        shapes = [np.exp(-age / (float(age[-1]) / parts)) for parts in (12, 4)]
        if not any(is_transient(found.t, -found.y, group, shape, _WARM_ALPHA) for shape in shapes):
            break
    return found


def _by_slope(
    fit: Callable[[Floats, Floats], Trend | None], method: str
) -> Callable[[_Series, _Limits], DriftEstimate]:
    def look(series: _Series, limits: _Limits) -> DriftEstimate:
        if (short := _too_short(series, method)) is not None:
            return short
        settled = _settled(series)
        fitted = fit(settled.t, settled.y)
        if fitted is None:
            return _unknown(method, "too few windows for a trend")
        late = settled.t >= (settled.t[0] + settled.t[-1]) / 2
        later = fit(settled.t[late], settled.y[late])
        return _judged(fitted, later, settled, limits, method)

    return look


def _judged(fitted: Trend, later: Trend | None, settled: _Series, limits: _Limits, method: str) -> DriftEstimate:
    span = float(np.ptp(settled.t))
    low, high = fitted.low(FAIL_ALPHA), fitted.high(PASS_ALPHA)
    if span < _EARLY_H:
        # One change of level looks like a trend while there is little else: it must go on in the later half.
        low = min(low, later.low(PASS_ALPHA) if later is not None else 0.0, fitted.slope)
        if later is not None and later.slope < _STEADY * fitted.slope:
            low = min(low, 0.0)
    change = Estimate(
        math.expm1(fitted.slope), Interval(math.expm1(low), math.expm1(high)), UNIT, fitted.points, None, ""
    )
    whole = [math.expm1(min(30.0, rate * span)) for rate in (fitted.slope, low, high)]
    total = Estimate(whole[0], Interval(whole[1], whole[2]), "ratio", fitted.points)
    total_fails = limits.total is not None and low * span > limits.total
    total_passes = limits.total is None or high * span < limits.total
    if low > limits.tolerated or total_fails:
        which = f"{math.expm1(limits.tolerated):.1%} an hour" if low > limits.tolerated else "the whole change allowed"
        return DriftEstimate(change, total, Verdict.FAIL, method, f"rises by more than {which}, with 99.5 % certainty")
    if high < limits.margin and total_passes:
        note = f"rises by less than {math.expm1(limits.margin):.1%} an hour with 95 % certainty"
        return DriftEstimate(change, total, Verdict.PASS, method, note)
    note = f"[{change.interval.low:+.1%}, {change.interval.high:+.1%}] an hour decides nothing yet; more hours would"
    return DriftEstimate(change, total, Verdict.INCONCLUSIVE, method, note)


def _robust(t: Floats, y: Floats) -> Trend | None:
    return fit_trend(t, y, np.zeros(len(t), dtype=np.int64))


def _glsar(t: Floats, y: Floats) -> Trend | None:
    """Generalised least squares with AR(1) errors: whiten, fit, estimate the autocorrelation anew, a few times."""
    if len(t) < 8:
        return None
    design = np.column_stack([np.ones_like(t), t])
    rho = 0.0
    for _ in range(_ROUNDS):
        fitted = np.linalg.lstsq(design[1:] - rho * design[:-1], y[1:] - rho * y[:-1], rcond=None)[0]
        rest = y - design @ fitted
        rest = rest - rest.mean()
        power = float(rest @ rest) / len(rest)
        rho = float(rest[1:] @ rest[:-1]) / (len(rest) - 1) / power if power > 0 else 0.0
    white, level = design[1:] - rho * design[:-1], y[1:] - rho * y[:-1]
    fitted = np.linalg.lstsq(white, level, rcond=None)[0]
    rest = level - white @ fitted
    freedom = len(rest) - 2
    covariance = np.linalg.pinv(white.T @ white) * float(rest @ rest) / freedom
    return Trend(float(fitted[1]), math.sqrt(max(0.0, float(covariance[1, 1]))), freedom, len(t))


def _hour_over_hour(series: _Series, limits: _Limits) -> DriftEstimate:
    """The runbook's: the middle window of every hour against the hour before, either way."""
    if (short := _too_short(series, "runbook")) is not None:
        return short
    hour = np.floor(series.t + 1e-9).astype(np.int64)
    hours, counts = np.unique(hour, return_counts=True)
    hours = hours[counts >= np.median(counts) / 2]
    level = np.array([np.median(series.y[hour == number]) for number in hours])
    pairs = np.diff(level)[np.diff(hours) == 1]
    if not len(pairs):
        return _unknown("runbook", "no two hours in a row were recorded")
    worst = float(np.expm1(pairs[np.argmax(np.abs(pairs))]))
    whole = float(np.expm1(level[-1] - level[0]))
    change = Estimate(worst, Interval(worst, worst), UNIT, len(pairs), None, "the runbook's figure has no interval")
    total = Estimate(whole, Interval(whole, whole), "ratio", len(hours))
    margin = math.expm1(limits.margin)
    verdict = Verdict.FAIL if abs(worst) >= margin else Verdict.PASS
    note = f"the largest change from one hour to the next is {worst:+.1%}, the limit {margin:.0%} either way"
    return DriftEstimate(change, total, verdict, "runbook", note)


_METHODS: dict[str, Callable[[_Series, _Limits], DriftEstimate]] = {
    "trend": _by_slope(_robust, "trend"),
    "glsar": _by_slope(_glsar, "glsar"),
    "runbook": _hour_over_hour,
}
METHODS = tuple(_METHODS)
