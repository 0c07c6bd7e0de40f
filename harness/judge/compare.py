"""Is the canary worse than the control by more than is allowed? Pure functions; the default methods of STATISTICS.md.

A margin is non-inferiority: PASS where the one-sided 95 % bound keeps it, FAIL where the other bound breaks it, else
INCONCLUSIVE, which says what sample would decide. "Not significant" is never a pass. Evidence that is broken (NaN, one
user, a gap, a clock that stands still) is INCONCLUSIVE, whatever its figures say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from harness.judge.arms import Arm, unfit
from harness.judge.comparison import FLOOR, RELATIVE, Comparison, decide, sample_to_decide, undecided
from harness.judge.intervals import Floats
from harness.judge.shares import share_side
from harness.judge.sides import Contrast, contrast, pooled_estimate
from harness.model import NO_INTERVAL, Estimate, Interval, Verdict

ALPHA = 0.05
FEWEST_USERS = 3  # of each arm: fewer have no spread worth the name


def compare_quantile(
    control: Arm,
    canary: Arm,
    q: float = 0.99,
    margin: float = 0.05,
    floor_ms: float = 0.0,
    *,
    unit: str = "ms",
    alpha: float = ALPHA,
) -> Comparison:
    """Non-inferiority of a quantile (rollout runbook 2.6: P99 increase < 5 %) with an absolute floor.

    The allowed increase is ``margin`` of the control's quantile or ``floor_ms``, whichever is larger (5 -> 10 ms is not
    50 -> 100 ms; the runbook's 2.4 itself allows 5 ms over 10 ms); ``decided_by`` names it. With the margin the log
    ratio is bounded, with the floor the difference.
    """
    metric = f"P{100 * q:g}"
    if why := _why_not(control, canary, constant_is_unfit=True):
        return undecided(metric, why, limit=margin)
    both = contrast(control, canary, "quantile", q)
    if both is None:
        return undecided(metric, "no step of the ramp has enough requests of both arms", limit=margin)
    sides = both.estimates(control, canary, "quantile", q, unit)
    return _with_margin(metric, both, sides, margin, floor_ms, canary.count, alpha, unit)


def compare_mean(
    control: Arm,
    canary: Arm,
    margin: float = 0.05,
    floor: float = 0.0,
    *,
    unit: str = "ms",
    metric: str = "mean",
    alpha: float = ALPHA,
) -> Comparison:
    """The same for a mean, by the users' means (ratio estimator)."""
    if why := _why_not(control, canary, constant_is_unfit=True):
        return undecided(metric, why, limit=margin)
    both = contrast(control, canary, "mean")
    if both is None:
        return undecided(metric, "no step of the ramp has enough requests of both arms", limit=margin)
    sides = both.estimates(control, canary, "mean", 0.5, unit)
    return _with_margin(metric, both, sides, margin, floor, canary.count, alpha, unit)


def governed_by(control_value: float, margin: float, floor: float) -> str:
    """Which of the two limits is the larger one, and so decides."""
    return FLOOR if floor > margin * control_value else RELATIVE


def _with_margin(
    metric: str,
    both: Contrast,
    sides: tuple[Estimate, Estimate],
    margin: float,
    floor: float,
    samples: int,
    alpha: float,
    unit: str,
) -> Comparison:
    control, canary = sides
    decided_by = governed_by(control.value, margin, floor)
    if decided_by == FLOOR:
        value, ends, wide = both.difference, both.difference_bounds(alpha), both.difference_bounds(alpha / 2)
        limit, scale = floor, unit
        needed = sample_to_decide(samples, value, ends, limit)
    else:
        logs, log_ends = both.log_ratio, both.log_ratio_bounds(alpha)
        value, limit, scale = _expm1(logs), margin, "ratio"
        ends, wide = _relative(log_ends), _relative(both.log_ratio_bounds(alpha / 2))
        needed = sample_to_decide(samples, logs, log_ends, math.log1p(margin))
    verdict = decide(ends, "<", limit)
    note = _hold_note(needed, samples) if verdict is Verdict.INCONCLUSIVE else ""
    return Comparison(
        metric,
        control,
        canary,
        Estimate(value, ends, scale, samples),
        wide,
        limit,
        "<",
        verdict,
        decided_by,
        needed if verdict is Verdict.INCONCLUSIVE else None,
        note=note,
    )


def _hold_note(needed: int | None, samples: int, what: str = "canary requests") -> str:
    if needed is None:
        return "the change is too near the limit, or the sample too small, for any figure of what would decide"
    return f"about {max(needed, samples + 1):,} {what} of this spread would decide (there are {samples:,})"


def _relative(logs: Interval) -> Interval:
    return Interval(_expm1(logs.low), _expm1(logs.high))


def _expm1(value: float) -> float:
    return math.inf if value > 700 else math.expm1(value)


def _why_not(control: Arm, canary: Arm, *, constant_is_unfit: bool) -> str:
    if why := unfit(control, canary, constant_is_unfit=constant_is_unfit):
        return why
    for one in (control, canary):
        if (users := one.user_count) < FEWEST_USERS:
            return f"{one.name}: {users} users are too few to know how much users differ"
    return ""


def compare_error_rate(
    control: Arm, canary: Arm, increase: float = 0.005, *, alpha: float = ALPHA, metric: str = "error rate"
) -> Comparison:
    """The difference of two shares against an allowed increase (rollout runbook 2.6: < 0.5 percentage points).

    ``values`` are 1.0 for an error and 0.0 for none; ``increase`` is a share (0.005), the answer is in percentage
    points. Fixed sample; where it is looked at again and again use :class:`harness.judge.error_evidence.ErrorEProcess`.
    """
    limit = 100 * increase
    if why := _why_not(control, canary, constant_is_unfit=False):
        return undecided(metric, why, unit="pp", limit=limit)
    if not _zero_or_one(control) or not _zero_or_one(canary):
        return undecided(metric, "values other than 0 and 1 are no errors", unit="pp", limit=limit)
    both = contrast(control, canary, "share")
    if both is None:
        return undecided(metric, "no step of the ramp has requests of both arms", unit="pp", limit=limit)
    ends, wide = (_times(both.difference_bounds(tail), 100) for tail in (alpha, alpha / 2))
    verdict = decide(ends, "<", limit)
    needed = sample_to_decide(canary.count, 100 * both.difference, ends, limit)
    return Comparison(
        metric,
        pooled_estimate(control, "share", 0.5, "ratio"),
        pooled_estimate(canary, "share", 0.5, "ratio"),
        Estimate(100 * both.difference, ends, "pp", canary.count),
        wide,
        limit,
        "<",
        verdict,
        "absolute limit",
        needed if verdict is Verdict.INCONCLUSIVE else None,
        note=_hold_note(needed, canary.count) if verdict is Verdict.INCONCLUSIVE else "",
    )


def _zero_or_one(one: Arm) -> bool:
    return bool(np.isin(one.values, (0.0, 1.0)).all())


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(interval.low * factor, interval.high * factor)


def compare_share(metric: str, one: Arm, op: str, limit: float, *, alpha: float = ALPHA) -> Comparison:
    """One arm's share against a limit of its own: convergent > 30 %, timeouts < 10 %, completed < 10 %, within SLO.

    ``values`` are 1.0 and 0.0. The control plays no part; clustered by user, and by moment where instants are known.
    """
    if why := unfit(one, constant_is_unfit=False):
        return undecided(metric, why, limit=limit, op=op)
    if not _zero_or_one(one):
        return undecided(metric, "values other than 0 and 1 are no share", limit=limit, op=op)
    if one.user_count < FEWEST_USERS:
        return undecided(metric, f"{one.name}: {one.user_count} users are too few", limit=limit, op=op)
    side = pooled_estimate(one, "share", 0.5, "ratio")
    wide = share_side(one).bounds(alpha / 2)
    verdict = decide(side.interval, op, limit)
    needed = sample_to_decide(one.count, side.value, side.interval, limit)
    nothing = Estimate(math.nan, NO_INTERVAL, "ratio", 0)
    note = _hold_note(needed, one.count, "requests") if verdict is Verdict.INCONCLUSIVE else ""
    held = needed if verdict is Verdict.INCONCLUSIVE else None
    return Comparison(metric, nothing, side, side, wide, limit, op, verdict, "absolute limit", held, note=note)


def compare_throughput(
    control: Sequence[float],
    canary: Sequence[float],
    margin: float = 0.05,
    *,
    alpha: float = ALPHA,
    metric: str = "throughput",
) -> Comparison:
    """Paired log ratios of interleaved runs A B A B: ``control[i]`` ran next to ``canary[i]``; rates in 1/s.

    PASS where the lower bound of the loss keeps ``margin`` (rollout runbook 2.4: decrease < 5 %).
    """
    old, new = (np.asarray(side, dtype=np.float64) for side in (control, canary))
    why = _unfit_pairs(old, new)
    if why:
        return undecided(metric, why, limit=-margin, op=">", needed=3, needed_unit="pairs")
    logs = np.log(new / old)
    n, centre, spread = len(logs), float(logs.mean()), float(logs.std(ddof=1))
    ends, wide = (
        _relative(Interval(centre - half, centre + half))
        for half in (float(special.stdtrit(n - 1, 1 - tail)) * spread / math.sqrt(n) for tail in (alpha, alpha / 2))
    )
    left, right = (_rate_estimate(side) for side in (old, new))
    verdict = decide(ends, ">", -margin)
    log_ends = Interval(math.log1p(ends.low), math.log1p(ends.high))
    needed = sample_to_decide(n, centre, log_ends, math.log1p(-margin))
    held = verdict is Verdict.INCONCLUSIVE
    note = _hold_note(needed, n, "interleaved pairs") if held else ""
    return Comparison(
        metric,
        left,
        right,
        Estimate(math.expm1(centre), ends, "ratio", n),
        wide,
        -margin,
        ">",
        verdict,
        RELATIVE,
        needed if held else None,
        "pairs",
        note,
    )


def _rate_estimate(rates: Floats) -> Estimate:
    middle = math.exp(float(np.log(rates).mean()))
    return Estimate(middle, Interval(float(rates.min()), float(rates.max())), "/s", len(rates))


def _unfit_pairs(old: Floats, new: Floats) -> str:
    if len(old) != len(new):
        return f"{len(old)} runs of the control and {len(new)} of the canary make no pairs"
    if len(old) < 2:
        return f"{len(old)} pairs: how much runs differ is unknown below two"
    both = np.concatenate([old, new])
    if not bool(np.isfinite(both).all()) or bool((both <= 0).any()):
        return "a run whose rate is no positive number"
    if bool((both == both[0]).all()):
        return "all rates are the same: an instrument that stands still"
    return ""
