"""The leak verdict on traces whose truth is known; the whole table is ``python -m tests.soak_traces.table``."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.judge.leak import LeakEstimate, leak_now, leak_verdict
from harness.model import Verdict
from tests.soak_traces.rss import HOUR_S, KINDS, RssTrace, rss_trace


def judged(trace: RssTrace, *, scale: float = 1.0) -> LeakEstimate:
    return leak_verdict(
        trace.times_s / scale,
        trace.rss_mb,
        excluded=[(a / scale, b / scale) for a, b in trace.excluded],
        restarts=[r / scale for r in trace.restarts],
        time_scale=scale,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_clean_trace_fails(kind: str) -> None:
    for seed in (51, 52):
        found = judged(rss_trace(kind, 2.0, 0.0, seed))
        assert found.verdict is not Verdict.FAIL, (seed, found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_leak_of_ten_megabytes_an_hour_is_found(kind: str) -> None:
    found = judged(rss_trace(kind, 2.0, 10.0, 53))
    assert found.verdict is Verdict.FAIL, found
    assert found.slope.value == pytest.approx(10.0, abs=2.0)
    assert "99.5 %" in found.note


def test_a_leak_of_one_megabyte_an_hour_is_found_within_a_day() -> None:
    found = judged(rss_trace("autocorrelated 0.97", 2.0, 1.0, 54))
    assert found.verdict is Verdict.FAIL
    assert found.slope.value == pytest.approx(1.0, abs=0.2)


def test_a_clear_leak_fails_within_two_hours() -> None:
    found = judged(rss_trace("flat", 2.0, 50.0, 55, duration_s=2.05 * HOUR_S))
    assert found.verdict is Verdict.FAIL
    assert found.decided_at_s == pytest.approx(2.05 * HOUR_S, abs=200)


def test_a_clean_service_is_known_clean_in_six_hours() -> None:
    found = judged(rss_trace("autocorrelated 0.97", 2.0, 0.0, 56, duration_s=6 * HOUR_S))
    assert found.verdict is Verdict.PASS
    assert found.interval.high < 1.0
    assert found.decided_at_s is not None and found.decided_at_s <= 6 * HOUR_S


def test_the_interval_tightens_with_the_hours() -> None:
    trace = rss_trace("autocorrelated 0.97", 5.0, 0.0, 57)
    widths = []
    for hours in (3, 6, 12, 24):
        seen = trace.times_s <= hours * HOUR_S
        widths.append(leak_now(trace.times_s[seen], trace.rss_mb[seen]).interval.width)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 4


def test_warm_up_is_left_out_and_told() -> None:
    found = judged(rss_trace("warm-up", 1.0, 0.0, 58))
    assert found.verdict is Verdict.PASS
    assert 600 <= found.settled_at_s <= 6 * HOUR_S


def test_a_time_scale_gives_the_same_verdict_per_scaled_hour() -> None:
    trace = rss_trace("sawtooth", 2.0, 5.0, 59)
    plain, scaled = judged(trace), judged(trace, scale=480.0)
    assert scaled.verdict is plain.verdict
    assert scaled.slope.value == pytest.approx(plain.slope.value)
    assert scaled.decided_at_s == pytest.approx((plain.decided_at_s or math.nan) / 480)


def test_without_its_restarts_a_leak_would_hide() -> None:
    trace = rss_trace("restarts", 1.0, 5.0, 60)
    assert judged(trace).verdict is Verdict.FAIL


def test_gaps_and_missing_samples_are_no_matter() -> None:
    trace = rss_trace("flat", 2.0, 10.0, 61)
    rss = trace.rss_mb.copy()
    rss[100:200] = math.nan
    seen = (trace.times_s < 5 * HOUR_S) | (trace.times_s > 9 * HOUR_S)
    assert leak_now(trace.times_s[seen], rss[seen]).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("times", "rss"),
    [([], []), ([0.0], [100.0]), ([0.0, 15.0], [math.nan, math.nan]), (list(range(0, 1800, 15)), [5.0] * 120)],
)
def test_too_little_is_inconclusive_never_a_pass(times: list[float], rss: list[float]) -> None:
    found = leak_verdict(times, rss)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.decided_at_s is None
    assert not found.slope.known
    assert found.note


def test_everything_excluded_is_inconclusive() -> None:
    trace = rss_trace("flat", 1.0, 0.0, 62)
    assert leak_verdict(trace.times_s, trace.rss_mb, excluded=[(-1.0, 1e9)]).verdict is Verdict.INCONCLUSIVE


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        leak_verdict([1.0, 2.0], [1.0])


def test_an_undecided_trace_says_how_long_it_needs() -> None:
    found = judged(rss_trace("autocorrelated 0.97", 10.0, 0.0, 63, duration_s=3 * HOUR_S))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "would decide" in found.note


def test_constant_memory_passes() -> None:
    times = np.arange(0.0, 24 * HOUR_S, 15.0)
    found = leak_verdict(times, np.full(len(times), 512.0))
    assert found.verdict is Verdict.PASS
    assert found.slope.value == 0.0
