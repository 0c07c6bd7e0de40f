"""P99 over a soak's windows, as the drift method or the runbook's pairwise comparison judges it."""

from __future__ import annotations

import itertools
import math

import numpy as np

from harness.judge.soak_series import SoakSeries
from harness.judge.trend import fit_trend
from harness.model import Estimate, Interval, Verdict, no_estimate

UNIT = "ratio/h"
_ALPHA = 0.05
_Drift = tuple[Estimate, Verdict, str, float | None]


def drift_over(series: SoakSeries, bound: float, method: str) -> _Drift:
    """Estimate, verdict, note, and the moment of the decision where it is not the end (scaled seconds)."""
    return _pairwise(series, bound) if method == "runbook" else _slope(series, bound)


def _slope(series: SoakSeries, bound: float) -> _Drift:
    windows = [w for w in series.windows.closed if not w.spoiled and w.count and math.isfinite(w.p99_ms)]
    if len(windows) < 8:
        note = f"{len(windows)} windows recorded; a slope is fitted from 8 on"
        return no_estimate(UNIT, note), Verdict.INCONCLUSIVE, note, None
    t = np.array([(w.start_s + w.end_s) / 7200.0 for w in windows])
    y = np.log([w.p99_ms for w in windows])
    fitted = fit_trend(t, y, np.zeros(len(t), dtype=np.int64))
    if fitted is None:
        return no_estimate(UNIT, "no slope can be fitted"), Verdict.INCONCLUSIVE, "no slope can be fitted", None
    low, high = math.expm1(fitted.low(_ALPHA)), math.expm1(fitted.high(_ALPHA))
    value = Estimate(math.expm1(fitted.slope), Interval(low, high), UNIT, sum(w.count for w in windows))
    verdict = Verdict.PASS if high < bound else Verdict.FAIL if low > bound else Verdict.INCONCLUSIVE
    return value, verdict, f"fitted through {len(windows)} windows", None


def _pairwise(series: SoakSeries, bound: float) -> _Drift:
    """The runbook's form: every hour against the hour before; no interval, as it has none."""
    hours = [w for w in series.hours.closed if not w.spoiled and w.count]
    pairs = [(abs(b.p99_ms / a.p99_ms - 1.0), b) for a, b in itertools.pairwise(hours) if b.start_s - a.start_s < 5400]
    if not pairs:
        note = "fewer than two whole hours recorded"
        return no_estimate(UNIT, note), Verdict.INCONCLUSIVE, note, None
    worst, hour = max(pairs, key=lambda pair: pair[0])
    value = Estimate(worst, Interval(worst, worst), UNIT, sum(w.count for w in hours))
    if worst >= bound:
        return value, Verdict.FAIL, "the runbook's pairwise form", hour.end_s
    return value, Verdict.PASS, f"the runbook's pairwise form, {len(pairs)} pairs", None
