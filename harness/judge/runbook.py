"""The rollout runbook's own statistics, reproducible under ``--method runbook``; marked with how often they are wrong.

Sections 2.5 and "A/B Testing Methodology": Welch's t-test per request, p < 0.05 in the wrong direction is a regression,
"not significant" passes, |d| < 0.3; early stopping at p < 0.001 for harm and p < 0.01 for benefit. The rates of false
alarm are STATISTICS.md's and ``docs/ab_calibration.md``'s: what these methods call a regression where nothing changed.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.judge.arms import Arm
from harness.judge.comparison import RUNBOOK, Comparison, undecided
from harness.judge.intervals import Floats
from harness.model import Estimate, Interval, Verdict

SIGNIFICANT = 0.05  # 2.5
SMALL_EFFECT = 0.3  # 2.5: |d| < 0.3 for latency
STOP_FOR_HARM = 0.001  # "Early Stopping Criteria"
ACCELERATE = 0.01
ABORT = 0.01  # 2.7, trigger 5

FALSE_ALARMS = {
    "welch": "79 % of comparisons of 200 skewed users without a change; 34 % with 60 looks, 54 % with 1,440",
    "early stopping": "68 % of comparisons of 200 skewed users without a change",
    "p99 per minute": "26 / 54 / 67 % where minutes correlate at 0.5 / 0.8 / 0.9",
    "error rate": "never fires at 0.5 %: its trigger is 1 % for 10 minutes",
    "figures": "12 % of nights with run-to-run variation 3 %, and 24 % of real +8 % missed",
}


class Advice(enum.StrEnum):
    """What the runbook's early stopping says."""

    STOP = "stop: p < 0.001 for a regression"
    ACCELERATE = "may accelerate: p < 0.01 for an improvement"
    PROCEED = "proceed: the interval lies below zero"
    CONTINUE = "continue"


@dataclass(frozen=True)
class Welch:
    """Welch's t-test of canary against control. ``p`` is two-sided; ``effect`` is Cohen's d, positive where larger."""

    p: float
    effect: float
    difference: float
    interval95: Interval

    @property
    def advice(self) -> Advice:
        """The runbook's early stopping."""
        if self.p < STOP_FOR_HARM and self.difference > 0:
            return Advice.STOP
        if self.interval95.high < 0:
            return Advice.PROCEED
        if self.p < ACCELERATE and self.difference < 0:
            return Advice.ACCELERATE
        return Advice.CONTINUE


@dataclass(frozen=True)
class Moments:
    """How many values, their mean, and their variance (n - 1)."""

    count: int
    mean: float
    variance: float


def moments(values: Floats) -> Moments:
    """Of a sample; NaN where it has none."""
    if len(values) < 2 or not bool(np.isfinite(values).all()):
        return Moments(len(values), math.nan, math.nan)
    return Moments(len(values), float(values.mean()), float(values.var(ddof=1)))


def welch(control: Floats, canary: Floats) -> Welch | None:
    """None where the samples cannot be tested: fewer than two, not finite, or without any spread."""
    return welch_of(moments(control), moments(canary))


def welch_of(control: Moments, canary: Moments) -> Welch | None:
    """The same from the samples' moments (checked against ``scipy.stats.ttest_ind``)."""
    if min(control.count, canary.count) < 2 or not math.isfinite(control.variance + canary.variance):
        return None
    parts = control.variance / control.count, canary.variance / canary.count
    total = sum(parts)
    if total <= 0:
        return None
    freedom = total**2 / (parts[0] ** 2 / (control.count - 1) + parts[1] ** 2 / (canary.count - 1))
    difference, error = canary.mean - control.mean, math.sqrt(total)
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    half = float(special.stdtrit(freedom, 0.975)) * error
    effect = difference / math.sqrt((control.variance + canary.variance) / 2)
    return Welch(p, effect, difference, Interval(difference - half, difference + half))


def compare_means(control: Arm, canary: Arm, *, metric: str = "mean", unit: str = "ms") -> Comparison:
    """The runbook's verdict on two samples: FAIL where p < 0.05 and larger; else PASS, as it says, if |d| < 0.3."""
    found = welch(control.values, canary.values)
    if found is None:
        return undecided(metric, "no two samples that can be tested", unit=unit, limit=0.0, method=RUNBOOK)
    worse = found.p < SIGNIFICANT and found.difference > 0
    verdict = Verdict.FAIL if worse else Verdict.PASS if abs(found.effect) < SMALL_EFFECT else Verdict.INCONCLUSIVE
    old, new = (
        Estimate(float(one.values.mean()), Interval(float(one.values.min()), float(one.values.max())), unit, one.count)
        for one in (control, canary)
    )
    return Comparison(
        metric,
        old,
        new,
        Estimate(found.difference, found.interval95, unit, canary.count),
        found.interval95,
        0.0,
        "<",
        verdict,
        "p-value",
        note=f"p = {found.p:.3g}, Cohen's d = {found.effect:.3f}; {found.advice.value}",
        method=RUNBOOK,
        false_alarms=FALSE_ALARMS["welch"],
    )


def compare_figures(
    metric: str, control: float, canary: float, limit: float, op: str, unit: str, shown: str = "ratio"
) -> Comparison:
    """Two figures as they stand (in ``shown``), change against limit: what the runbook's comparison script does."""
    if not (math.isfinite(control) and math.isfinite(canary)) or (unit == "ratio" and control <= 0):
        return undecided(metric, "a figure is missing", unit=unit, limit=limit, op=op, method=RUNBOOK)
    change = canary / control - 1 if unit == "ratio" else 100 * (canary - control)
    keeps = change < limit if op == "<" else change > limit
    old, new = (Estimate(v, Interval(v, v), shown, 1) for v in (control, canary))
    point = Interval(change, change)
    verdict = Verdict.PASS if keeps else Verdict.FAIL
    return Comparison(
        metric,
        old,
        new,
        Estimate(change, point, unit, 1),
        point,
        limit,
        op,
        verdict,
        "figures as they stand",
        method=RUNBOOK,
        false_alarms=FALSE_ALARMS["figures"],
    )


def p99_per_minute(one: Arm, every_s: float = 60.0) -> Floats:
    """One arm's P99 of every minute: what the runbook's script reads from its CSV files (2.5)."""
    if one.at is None or not len(one.at):
        return np.zeros(0)
    place = ((one.at - one.at[0]) / every_s).astype(np.int64)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    return np.array([np.quantile(part, 0.99) for part in np.split(one.values[order], starts[1:])])
