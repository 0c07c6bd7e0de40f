"""Comparisons of two arms: against known answers, against other libraries, and on both sides of every limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.judge import runbook
from harness.judge.arms import Arm, arm, spread_of_mean
from harness.judge.compare import (
    compare_error_rate,
    compare_mean,
    compare_quantile,
    compare_share,
    compare_throughput,
)
from harness.judge.comparison import FLOOR, RELATIVE, Comparison, decide
from harness.judge.error_evidence import ErrorEProcess, first_errors
from harness.judge.power import (
    clean_requests,
    pairs_for_margin,
    requests_for_mean,
    requests_for_quantile,
    requests_for_share,
    tail_weight,
    tail_weight_log_normal,
)
from harness.judge.quality import compare_confidence, compare_overlap, compare_robustness
from harness.judge.sample_ratio import sample_ratio_check
from harness.judge.sequential import SequentialMean, SequentialQuantile, critical_value, holm
from harness.judge.sides import quantile_side
from harness.model import Interval, Verdict


def lognormal(name: str, n: int, users: int, slower: float = 1.0, *, seed: int, spread: float = 0.0) -> Arm:
    rng = np.random.default_rng(seed)
    who = rng.integers(0, users, n)
    logs = rng.normal(0, spread, users)[who] + 0.5 * rng.standard_normal(n)
    return arm(name, who, 10 * slower * np.exp(logs), np.sort(rng.uniform(0, 600, n)))


def both(slower: float, n: int = 40_000, users: int = 4000) -> tuple[Arm, Arm]:
    return lognormal("control", n, users, seed=1), lognormal("canary", n, users, slower, seed=2)


@pytest.mark.parametrize(
    ("slower", "verdict"), [(1.0, Verdict.PASS), (1.05, Verdict.INCONCLUSIVE), (1.15, Verdict.FAIL)]
)
def test_a_p99_passes_fails_and_holds_on_the_margin(slower: float, verdict: Verdict) -> None:
    found = compare_quantile(*both(slower))
    assert (found.verdict, found.decided_by) == (verdict, RELATIVE)
    assert found.change.interval.contains(slower - 1)
    assert found.interval95.width > found.change.interval.width
    assert (found.needed is not None) == (verdict is Verdict.INCONCLUSIVE)


def test_the_larger_of_margin_and_floor_decides_and_is_named() -> None:
    slower = both(1.15)
    found = compare_quantile(*slower, 0.99, 0.05, 10.0)
    assert (found.verdict, found.decided_by, found.change.unit, found.limit) == (Verdict.PASS, FLOOR, "ms", 10.0)
    assert compare_quantile(*slower, 0.99, 0.05, 1.0).decided_by == RELATIVE
    assert compare_quantile(*both(2.0), 0.99, 0.05, 10.0).verdict is Verdict.FAIL


def test_a_quantiles_bounds_are_those_of_scipy_where_requests_are_independent() -> None:
    values = np.random.default_rng(3).lognormal(0, 0.5, 3000)
    side = quantile_side(Arm("x", np.arange(3000), values), 0.99)
    exact = stats.quantile_test(values, p=0.99).confidence_interval(0.90)
    ends = side.bounds(0.05)
    assert math.log(ends.low) == pytest.approx(math.log(exact.low), abs=0.03)
    assert math.log(ends.high) == pytest.approx(math.log(exact.high), abs=0.03)


def test_users_count_and_not_their_requests() -> None:
    rng = np.random.default_rng(4)
    few = np.repeat(rng.normal(10, 1, 20), 500)
    apart = spread_of_mean(few, np.arange(10_000))
    by_user = spread_of_mean(few, np.repeat(np.arange(20), 500))
    assert by_user.variance > 100 * apart.variance
    assert by_user.freedom == pytest.approx(19)


def test_bad_moments_widen_what_requests_alone_would_say() -> None:
    rng = np.random.default_rng(5)
    at = np.sort(rng.uniform(0, 3600, 6000))
    wave = np.sin(at / 400)
    alone = spread_of_mean(wave + rng.normal(0, 1, 6000), np.arange(6000))
    timed = spread_of_mean(wave + rng.normal(0, 1, 6000), np.arange(6000), at)
    assert timed.variance > 5 * alone.variance


def test_a_ramp_is_compared_step_by_step() -> None:
    """Latency rises and so does the canary's share: pooled it looks slower, step by step it is not."""
    rng = np.random.default_rng(6)
    n = 40_000
    at = np.sort(rng.uniform(0, 600, n))
    stage = (at > 300).astype(np.int64)
    users = rng.integers(0, 4000, n)
    canary = rng.random(4000)[users] < np.where(stage, 0.5, 0.1)
    values = 10 * np.exp(0.8 * stage + 0.3 * rng.standard_normal(n))
    arms = [Arm(c, users[k], values[k], at[k], stage[k]) for c, k in (("control", ~canary), ("canary", canary))]
    pooled = [Arm(a.name, a.users, a.values) for a in arms]
    assert compare_mean(*pooled).verdict is Verdict.FAIL
    assert compare_mean(*arms).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("rate", "verdict"), [(0.001, Verdict.PASS), (0.006, Verdict.INCONCLUSIVE), (0.02, Verdict.FAIL)]
)
def test_error_rates_keep_or_break_an_allowed_increase(rate: float, verdict: Verdict) -> None:
    rng = np.random.default_rng(7)
    arms = [arm(c, np.arange(8000) % 2000, rng.random(8000) < p) for c, p in (("control", 0.001), ("canary", rate))]
    found = compare_error_rate(*arms, 0.005)
    assert (found.verdict, found.change.unit) == (verdict, "pp")


def test_throughput_is_the_paired_t_test_on_log_ratios() -> None:
    control, canary = [100.0, 104.0, 98.0, 101.0, 99.0], [99.0, 102.0, 97.5, 100.0, 99.5]
    found = compare_throughput(control, canary)
    known = stats.ttest_rel(np.log(canary), np.log(control)).confidence_interval(0.90)
    assert math.log1p(found.change.interval.low) == pytest.approx(known.low)
    assert math.log1p(found.change.interval.high) == pytest.approx(known.high)
    assert found.verdict is Verdict.PASS
    assert compare_throughput(control, [0.9 * rate for rate in canary]).verdict is Verdict.FAIL
    assert compare_throughput(control[:2], [80.0, 120.0]).verdict is Verdict.INCONCLUSIVE


def test_shares_overlap_and_robustness_on_both_sides_of_their_limits() -> None:
    rng = np.random.default_rng(8)
    late = arm("canary", np.arange(2000) % 100, rng.random(2000) < 0.05)
    assert compare_share("late", late, "<", 0.10).verdict is Verdict.PASS
    assert compare_share("late", late, "<", 0.02).verdict is Verdict.FAIL
    assert compare_share("late", late, "<", float(late.values.mean()) + 0.001).verdict is Verdict.INCONCLUSIVE
    near, far = np.clip(rng.normal(0.95, 0.05, 200), 0, 1), np.clip(rng.normal(0.7, 0.1, 200), 0, 1)
    assert compare_overlap(near).verdict is Verdict.PASS
    assert compare_overlap(far).verdict is Verdict.FAIL
    assert compare_overlap(np.ones(60)).verdict is Verdict.PASS
    assert compare_overlap(np.ones(15)).verdict is Verdict.INCONCLUSIVE
    control = rng.poisson(4, 300)
    assert compare_robustness(control, control + rng.poisson(2, 300)).verdict is Verdict.PASS
    same = compare_robustness(control, rng.permutation(control))
    assert same.verdict is Verdict.FAIL
    assert same.change.interval.contains(0.0)


def test_the_confidence_of_answers_on_both_sides_of_its_margin() -> None:
    rng = np.random.default_rng(9)
    control = rng.uniform(0.4, 0.95, 300)

    def said(factor: float) -> Comparison:
        return compare_confidence(control, np.clip(control * factor * rng.normal(1.0, 0.03, 300), 0, 1))

    assert [said(f).verdict for f in (1.0, 0.9)] == [Verdict.PASS, Verdict.FAIL]
    on_the_margin = said(0.95)
    assert on_the_margin.verdict is Verdict.INCONCLUSIVE
    assert on_the_margin.change.value == pytest.approx(0.05, abs=0.01) and on_the_margin.needed is not None
    assert said(1.04).change.interval.high < 0 and said(0.9).op == "<"
    few = compare_confidence(control[:12], np.clip(control[:12] * rng.normal(0.97, 0.1, 12), 0, 1))
    assert few.verdict is Verdict.INCONCLUSIVE and few.needed is not None and few.needed > 12
    # The same to the last digit: no spread to resample, so it takes the sample that would have shown one that differs.
    assert compare_confidence(control, control).verdict is Verdict.PASS
    assert compare_confidence(control[:30], control[:30]).verdict is Verdict.INCONCLUSIVE
    assert compare_confidence(control, control * 0.8).verdict is Verdict.FAIL
    assert compare_confidence(np.full(300, 0.9), np.full(300, 0.9)).verdict is Verdict.INCONCLUSIVE
    assert compare_confidence(np.full(300, 0.9), np.full(300, 0.6)).verdict is Verdict.FAIL


def test_a_decrease_at_the_margin_is_decided_wrongly_in_five_of_a_hundred() -> None:
    rng = np.random.default_rng(10)
    found = []
    for _ in range(60):
        control = rng.uniform(0.4, 0.95, 80)
        found.append(compare_confidence(control, np.clip(control * 0.95 * rng.normal(1.0, 0.1, 80), 0, 1)).verdict)
    assert found.count(Verdict.PASS) <= 8 and found.count(Verdict.FAIL) <= 8  # 99 % of a true 5 % each


def test_the_split_of_users_is_checked() -> None:
    assert sample_ratio_check(52, 948, 0.05).verdict is Verdict.PASS
    assert sample_ratio_check(110, 890, 0.05).verdict is Verdict.FAIL
    assert sample_ratio_check(1, 999, 0.0).verdict is Verdict.FAIL
    assert sample_ratio_check(0, 0, 0.05).verdict is Verdict.INCONCLUSIVE


def test_the_sequence_fails_once_and_for_all() -> None:
    control, slow = both(1.5, 20_000)
    watched = SequentialQuantile()
    assert watched.look(control.where(control.at < 5), slow.where(slow.at < 5)).verdict is Verdict.INCONCLUSIVE  # type: ignore[operator]
    assert watched.look(control, slow).verdict is Verdict.FAIL
    assert watched.look(control, control).verdict is Verdict.FAIL
    assert SequentialMean().look(*both(1.0, 20_000)).verdict is Verdict.PASS


def test_the_critical_value_is_that_of_the_mixture() -> None:
    """Half-width se sqrt(N) sqrt(2 (N r^2 + 1) / (N^2 r^2) ln(sqrt(N r^2 + 1) / alpha)), with V = N r^2."""
    for n, rho in ((50, 0.3), (2000, 0.05)):
        known = math.sqrt(n) * math.sqrt(
            2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / 0.05)
        )
        assert critical_value(n, rho) == pytest.approx(known)
    assert critical_value(0.0, 0.1) == math.inf
    assert min(critical_value(float(v), 1.0) for v in np.logspace(-2, 6, 50)) > 2.9


def test_the_evidence_of_errors_rises_with_harm_only() -> None:
    rng = np.random.default_rng(9)
    harm, fair = ErrorEProcess(), ErrorEProcess()
    for _ in range(30):
        harm.update(int(rng.poisson(4)), int(rng.poisson(20)), 0.05)
        fair.update(int(rng.poisson(1)), int(rng.poisson(20)), 0.05)
    assert harm.answer().verdict is Verdict.FAIL
    assert harm.p_value < 1e-6
    assert fair.p_value > 0.05
    assert fair.answer().verdict is not Verdict.FAIL
    for _ in range(200):
        fair.update(int(rng.poisson(1)), int(rng.poisson(20)), 0.05)
    assert fair.answer().verdict is Verdict.PASS


def test_a_user_who_fails_again_and_again_is_one_error() -> None:
    at = np.arange(0.0, 600.0)
    control = arm("control", np.arange(600) % 100, np.zeros(600), at)
    canary = arm("canary", np.arange(600) % 100 + 1000, (np.arange(600) % 100 == 7).astype(float), at)
    errors = first_errors(control, canary, 60.0)
    assert sum(e.canary for e in errors) == 1
    assert all(0.45 < e.share < 0.55 for e in errors)
    unpaired = ErrorEProcess()
    for _ in range(10):
        unpaired.update(6, 0, 0.5)
    assert unpaired.answer().verdict is Verdict.FAIL  # what counting each of the user's errors would have said


def test_several_metrics_share_one_alpha() -> None:
    assert holm({"a": 0.01, "b": 0.02, "c": 0.5}) == {"a": True, "b": True, "c": False}
    assert holm({"a": 0.02, "b": 0.04, "c": math.nan}) == {"a": False, "b": False, "c": False}
    assert holm({}) == {}


def test_power_is_that_of_the_formulas() -> None:
    weight = tail_weight_log_normal(0.99, 0.5)
    sample = np.random.default_rng(10).lognormal(0, 0.5, 400_000)
    assert tail_weight(sample, 0.99) == pytest.approx(weight, rel=0.1)
    # Simulated: identical arms, margin 5 %, sigma 0.5, 5 % canary: PASS in 90 % of cases with 15,000 requests.
    planned = requests_for_quantile(0.99, 0.05, weight, power=0.90, control_per_canary=19)
    assert planned == pytest.approx(15_000, rel=0.2)
    assert requests_for_quantile(0.99, 0.05, weight, true_change=0.05) is None
    assert requests_for_mean(0.3) == pytest.approx(175, abs=2)
    assert requests_for_share(0.001, 0.003) == pytest.approx(6168, abs=5)
    assert requests_for_share(0.1, 0.1) is None
    assert clean_requests(0.001) == 2995
    assert pairs_for_margin(0.03, 0.05) < pairs_for_margin(0.06, 0.05)


def test_the_runbooks_welch_is_scipys() -> None:
    rng = np.random.default_rng(11)
    old, new = rng.normal(10, 1, 50), rng.normal(10.4, 2, 80)
    found, known = runbook.welch(old, new), stats.ttest_ind(new, old, equal_var=False)
    assert found is not None
    assert found.p == pytest.approx(known.pvalue)
    ends = known.confidence_interval(0.95)
    assert (found.interval95.low, found.interval95.high) == pytest.approx((ends.low, ends.high))
    slow = runbook.compare_means(arm("a", np.arange(50), old), arm("b", np.arange(80), new + 3))
    assert slow.verdict is Verdict.FAIL
    assert "79 %" in slow.false_alarms
    assert runbook.Advice.STOP.value in slow.note


@pytest.mark.parametrize(
    ("interval", "op", "verdict"),
    [
        (Interval(0.0, 0.1), "<", Verdict.INCONCLUSIVE),
        (Interval(0.0, 0.04), "<", Verdict.PASS),
        (Interval(0.06, 0.1), "<", Verdict.FAIL),
        (Interval(0.06, math.inf), ">", Verdict.PASS),
        (Interval(-math.inf, 0.04), ">", Verdict.FAIL),
        (Interval(math.nan, 0.04), "<", Verdict.INCONCLUSIVE),
        (Interval(0.1, 0.0), "<", Verdict.INCONCLUSIVE),
    ],
)
def test_an_interval_decides(interval: Interval, op: str, verdict: Verdict) -> None:
    assert decide(interval, op, 0.05) is verdict
    assert decide(interval, op, math.nan) is Verdict.INCONCLUSIVE


def test_a_comparison_is_plain_data() -> None:
    found: Comparison = compare_quantile(*both(1.05, 4000))
    assert found.as_json()["verdict"] == found.verdict.value
    assert found.as_json() == compare_quantile(*both(1.05, 4000)).as_json()
