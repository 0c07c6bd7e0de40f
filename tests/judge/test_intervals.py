"""Intervals: against scipy where it has the same one, and by simulated coverage where it has not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.judge.intervals import binomial_interval, exactly, mean, quantile, share
from harness.judge.shares import clustered_share


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 100), (1, 100), (37, 100), (100, 100), (3, 2994)])
def test_a_binomial_interval_is_clopper_pearson(hits: int, trials: int) -> None:
    expected = stats.binomtest(hits, trials).proportion_ci(confidence_level=0.90, method="exact")
    found = binomial_interval(hits, trials)
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_zero_errors_need_2995_requests_for_a_bound_of_a_thousandth() -> None:
    assert binomial_interval(0, 2995).high <= 0.001
    assert binomial_interval(0, 2994).high > 0.001


def test_no_trials_are_no_interval() -> None:
    assert not binomial_interval(0, 0).known
    assert not share(0, 0, "things").known
    assert not clustered_share(np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int64), "things").known
    assert not quantile(np.zeros(0), 0.99, np.zeros(0, dtype=np.int64), "ms").known
    assert not mean(np.zeros(0), "ms").known
    assert not exactly(0, 0, "answers", "recalls").known


@pytest.mark.parametrize(("n", "q"), [(500, 0.5), (3000, 0.9), (5000, 0.99)])
def test_a_quantile_of_independent_data_agrees_with_scipys_quantile_test(n: int, q: float) -> None:
    values = np.random.default_rng(n).lognormal(0.0, 0.5, n)
    found = quantile(values, q, np.arange(n, dtype=np.int64), "ms")
    exact = stats.quantile_test(values, q=0, p=q).confidence_interval(confidence_level=0.90)
    order = np.sort(values)
    # Both ends are order statistics: they may differ by the rounding of one rank or two, not more.
    for ours, theirs in ((found.interval.low, exact.low), (found.interval.high, exact.high)):
        assert abs(int(np.searchsorted(order, ours)) - int(np.searchsorted(order, theirs))) <= 2


@pytest.mark.parametrize(("n", "q", "correlation"), [(300, 0.5, 0.0), (3000, 0.99, 0.0), (3000, 0.99, 0.2)])
def test_each_end_of_a_quantiles_interval_covers_19_times_in_20(n: int, q: float, correlation: float) -> None:
    rng = np.random.default_rng(7)
    truth, trials = float(stats.norm.ppf(q)), 600
    clusters = np.repeat(np.arange(n // 25), 25)
    low = high = 0
    for _ in range(trials):
        shared = np.repeat(rng.normal(size=n // 25), 25)
        values = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.normal(size=n)
        interval = quantile(values, q, clusters, "ms").interval
        low += interval.low <= truth
        high += interval.high >= truth
    assert low / trials >= 0.93
    assert high / trials >= 0.93


def test_a_quantile_beyond_the_sample_has_no_upper_bound() -> None:
    found = quantile(np.arange(50.0), 0.99, np.arange(50, dtype=np.int64), "ms")
    assert found.interval.high == math.inf
    assert found.needed is not None
    assert found.needed > 50


def test_clustering_widens_and_never_narrows() -> None:
    rng = np.random.default_rng(3)
    hit = np.repeat(rng.random(60) < 0.1, 50)
    apart = clustered_share(hit, np.arange(3000, dtype=np.int64), "x").interval
    together = clustered_share(hit, np.repeat(np.arange(60), 50), "x").interval
    assert together.width > 3 * apart.width
    assert apart.width >= binomial_interval(int(hit.sum()), 3000).width - 1e-12


@pytest.mark.parametrize(("bad_moments", "within"), [(1.0, 0.001), (1.0, 0.01), (0.1, 0.1), (0.3, 0.5)])
def test_each_end_of_a_shares_interval_covers_though_errors_come_in_bursts(bad_moments: float, within: float) -> None:
    rng = np.random.default_rng(11)
    truth, trials, low, high = bad_moments * within, 800, 0, 0
    clusters = np.repeat(np.arange(48), 75)
    for _ in range(trials):
        bad = rng.random(48) < bad_moments
        hit = (rng.random((48, 75)) < within) & bad[:, None]
        interval = clustered_share(hit.ravel(), clusters, "requests").interval
        low += interval.low <= truth
        high += interval.high >= truth
    assert low / trials >= 0.93
    assert high / trials >= 0.93


def test_a_mean_covers() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(500):
        found = mean(rng.exponential(1.0, 400), "ms")
        inside += found.interval.contains(1.0)
    assert 0.85 <= inside / 500 <= 0.95  # 90 % two-sided


def test_one_cluster_is_no_interval_for_a_mean() -> None:
    assert not mean(np.ones(10), "ms", np.zeros(10, dtype=np.int64)).known


def test_a_share_contains_its_own_value() -> None:
    for effect in (1.0, 7.3, 400.0):
        found = share(3, 3000, "x", effect)
        assert found.interval.contains(found.value)
