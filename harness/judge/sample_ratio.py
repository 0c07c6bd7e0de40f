"""Did the cohort get the users it was meant to get? A skewed split spoils every comparison made with it."""

from __future__ import annotations

from harness.judge.comparison import Comparison, undecided
from harness.judge.intervals import binomial_interval
from harness.model import Estimate, Interval, Verdict

ALPHA = 0.001  # a check that is made on every comparison must hardly ever cry wolf


def sample_ratio_check(canary_users: int, control_users: int, rate: float, *, alpha: float = ALPHA) -> Comparison:
    """Whether the share of users in the canary fits the rate asked for: exact binomial, two-sided.

    FAIL where a fair split would be so uneven once in ``1 / alpha`` times; PASS where it would not. Count users, not
    requests. A rate of 0 or 1 has no chance in it: one user on the wrong side is a FAIL.
    """
    metric, total = "sample ratio", canary_users + control_users
    if not 0 <= rate <= 1 or canary_users < 0 or control_users < 0:
        return undecided(metric, f"{canary_users} and {control_users} users at a rate of {rate!r}", limit=rate, op="==")
    if total < 2:
        return undecided(metric, f"{total} users: no ratio to check", limit=rate, op="==")
    share = canary_users / total
    ends, wide = binomial_interval(canary_users, total, alpha / 2), binomial_interval(canary_users, total, 0.025)
    fits = share == rate if rate in (0.0, 1.0) else ends.contains(rate)
    wanted = Estimate(rate, Interval(rate, rate), "ratio", total)
    seen = Estimate(share, ends, "ratio", total)
    uneven = f"a fair split of {total:,} users would be so uneven less than once in {1 / alpha:,.0f} times"
    verdict = Verdict.PASS if fits else Verdict.FAIL
    return Comparison(metric, wanted, seen, seen, wide, rate, "==", verdict, note="" if fits else uneven)
