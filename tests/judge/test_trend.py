"""Slopes through autocorrelated values: right without noise, and honest with it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.judge.trend import fit_trend, is_transient, theil_sen
from tests.soak_traces.rss import noise

POINTS = 72
T = np.linspace(0.0, 24.0, POINTS)
ONE = np.zeros(POINTS, dtype=np.int64)


def test_a_line_without_noise_is_found_exactly() -> None:
    fitted = fit_trend(T, 100 + 3 * T, ONE)
    assert fitted is not None
    assert fitted.slope == pytest.approx(3.0)
    assert fitted.error == pytest.approx(0.0, abs=1e-9)


def test_groups_share_a_slope_and_not_a_level() -> None:
    group = (np.arange(POINTS) >= 30).astype(np.int64)
    fitted = fit_trend(T, 2 * T - 500 * group, group)
    assert fitted is not None
    assert fitted.slope == pytest.approx(2.0)


def test_outliers_move_it_little() -> None:
    y = 1.0 * T
    y[10:14] += 1000
    assert theil_sen(T, y, ONE) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("points", [0, 1, 7])
def test_too_few_points_are_no_trend(points: int) -> None:
    assert fit_trend(T[:points], T[:points], ONE[:points]) is None


def test_one_instant_is_no_trend() -> None:
    assert fit_trend(np.zeros(20), np.arange(20.0), np.zeros(20, dtype=np.int64)) is None


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_bounds_miss_about_as_often_as_they_say(phi: float) -> None:
    """One-sided 95 % bounds on a slope of zero, 400 traces: 20 misses are due, and 2.5 % to 8.5 % are allowed."""
    rng = np.random.default_rng(11)
    fits = [fit_trend(T, noise(rng, POINTS, phi, 1.0), ONE) for _ in range(400)]
    above = np.mean([fit is not None and fit.low(0.05) > 0 for fit in fits])
    below = np.mean([fit is not None and fit.high(0.05) < 0 for fit in fits])
    assert 0.0 < above < 0.085
    assert 0.0 < below < 0.085


def test_a_warm_up_is_seen_and_a_line_is_none() -> None:
    rng = np.random.default_rng(12)
    chatter = noise(rng, POINTS, 0.3, 1.0)
    shape = np.exp(-T / 2)
    assert is_transient(T, 100 * (1 - shape) + chatter, ONE, shape, 0.01)
    assert not is_transient(T, 5 * T + chatter, ONE, shape, 0.01)
