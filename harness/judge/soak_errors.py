"""The error rate of a soak: over all of it, and throughout it, by operation and by hour.

A rate that creeps shows in its last hours long before it shows in the whole, and one operation's errors drown in the
others'. So every hour of every operation is looked at, each at a level that keeps false alarms of all together at 5 %.
"""

from __future__ import annotations

import math

import numpy as np

from harness.judge.intervals import ALPHA, Floats, binomial_interval, share
from harness.judge.soak_series import Window
from harness.judge.soak_verdict import CriterionResult, Question, clock_text
from harness.model import Estimate, Verdict

_FEWEST_BLOCKS = 4


def error_rate(q: Question) -> CriterionResult:
    """Errors by judged requests, faults left out."""
    series = q.series
    calm = series.column("fault") == 0
    good, bad = series.column("good")[calm], series.column("bad")[calm]
    value = _clustered(good, bad)
    if not value.known:
        return q.answer(Verdict.INCONCLUSIVE, value, value.note)
    hours = [w for w in series.hours.closed if not _in_fault(w, series.faults)]
    worst = _worst_hour(hours, q.criterion.bound)
    what = ", ".join(f"{name} {count:,}" for name, count in sorted(series.errors.items())) or "none"
    if worst is not None:
        return q.answer(Verdict.FAIL, value, f"{worst[1]} (errors: {what})", decided_at_s=worst[0])
    result = q.against(value, "requests")
    if result.verdict is Verdict.PASS and not q.over:
        return q.answer(Verdict.INCONCLUSIVE, value, f"holds so far (errors: {what})")
    return q.answer(result.verdict, value, f"errors: {what}", decided_at_s=result.decided_at_s)


def _clustered(good: Floats, bad: Floats) -> Estimate:
    """The share, with the design effect of errors that come in bursts."""
    trials, hits = int(np.nansum(good + bad)), int(np.nansum(bad))
    p = hits / trials if trials else math.nan
    effect, blocks = 1.0, len(good)
    if blocks >= _FEWEST_BLOCKS and 0 < p < 1:
        rest = np.nan_to_num(bad) - p * np.nan_to_num(good + bad)
        effect = max(1.0, blocks / (blocks - 1) * float(np.square(rest).sum()) / (p * (1 - p) * trials))
    return share(hits, trials, "judged requests", effect)


def _worst_hour(hours: list[Window], bound: float) -> tuple[float, str] | None:
    """The first hour in which an operation's rate is certainly above the bound, and in words."""
    tests = max(1, sum(len(hour.ops) for hour in hours))
    for hour in hours:
        for name, (good, bad) in hour.ops.items():
            if not bad or binomial_interval(bad, good + bad, ALPHA / tests).low <= bound:
                continue
            rate = bad / (good + bad)
            when = f"{clock_text(hour.start_s)} to {clock_text(hour.end_s)}"
            return hour.end_s, f"{rate:.3%} of {name.replace('_', ' ')} failed from {when}"
    return None


def _in_fault(window: Window, faults: list[tuple[float, float, str]]) -> bool:
    return any(start < window.end_s and end > window.start_s for start, end, _ in faults)
