"""The drift verdict on traces whose truth is known; the whole table is ``python -m tests.soak_traces.table``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.regression import linear_model

from harness.judge.drift import METHODS, DriftEstimate, drift_now, drift_verdict
from harness.model import Verdict
from tests.soak_traces.latency import KINDS, LatencyTrace, latency_trace
from tests.soak_traces.rss import HOUR_S


def judged(trace: LatencyTrace, *, method: str = "trend", total: float | None = None) -> DriftEstimate:
    return drift_verdict(
        trace.times_s, trace.p99_ms, trace.counts, excluded=trace.excluded, method=method, total_margin=total
    )


@pytest.mark.parametrize("kind", KINDS)
def test_steady_latency_passes(kind: str) -> None:
    found = judged(latency_trace(kind, 0.05, 0.0, 31))
    assert found.verdict is Verdict.PASS, found
    assert found.decided_at_s is not None and found.decided_at_s < 20 * HOUR_S


@pytest.mark.parametrize("kind", KINDS)
def test_a_drift_of_ten_percent_an_hour_fails(kind: str) -> None:
    found = judged(latency_trace(kind, 0.05, 0.10, 32))
    assert found.verdict is Verdict.FAIL, found
    assert found.change.value == pytest.approx(0.10, abs=0.03)


def test_a_slow_drift_passes_by_the_hour_and_fails_in_all() -> None:
    trace = latency_trace("autocorrelation 0.5", 0.05, 0.02, 33)
    assert judged(trace).verdict is Verdict.PASS
    found = judged(trace, total=0.25)
    assert found.verdict is Verdict.FAIL
    assert found.total.value == pytest.approx(1.02**24 - 1, rel=0.2)


def test_the_runbooks_method_alarms_on_noise_and_the_default_does_not() -> None:
    traces = [latency_trace("autocorrelation 0.9", 0.10, 0.0, seed) for seed in range(8)]
    alarms = {m: sum(judged(trace, method=m).verdict is Verdict.FAIL for trace in traces) for m in METHODS}
    assert alarms["runbook"] >= 6
    assert alarms["trend"] == 0


def test_glsar_is_statsmodels() -> None:
    trace = latency_trace("autocorrelation 0.9", 0.05, 0.01, 34)
    t, y = trace.times_s / HOUR_S, np.log(trace.p99_ms)
    theirs = linear_model.GLSAR(y, np.column_stack([np.ones_like(t), t]), rho=1).iterative_fit(maxiter=20, rtol=1e-10)
    ours = judged(trace, method="glsar")
    assert math.log1p(ours.change.value) == pytest.approx(theirs.params[1], rel=1e-4)
    assert math.log1p(ours.change.interval.high) == pytest.approx(theirs.params[1] + 1.6503 * theirs.bse[1], rel=1e-2)


def test_getting_faster_is_no_drift() -> None:
    assert judged(latency_trace("autocorrelation 0.5", 0.05, -0.05, 35)).verdict is Verdict.PASS


def test_windows_of_few_requests_say_nothing() -> None:
    trace = latency_trace("autocorrelation 0", 0.05, 0.0, 36)
    found = drift_now(trace.times_s, trace.p99_ms, np.full(len(trace.times_s), 20))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "enough requests" in found.note


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hours", [0.0, 0.5, 1.5])
def test_too_short_is_inconclusive(method: str, hours: float) -> None:
    times = np.arange(0.0, hours * HOUR_S, 300.0)
    found = drift_verdict(times, np.full(len(times), 5.0), method=method)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert not found.change.known


def test_values_that_are_none_are_left_out() -> None:
    trace = latency_trace("autocorrelation 0", 0.02, 0.0, 37)
    p99 = trace.p99_ms.copy()
    p99[::7] = math.nan
    p99[1::7] = 0.0
    assert drift_now(trace.times_s, p99, trace.counts).verdict is Verdict.PASS


def test_a_time_scale_makes_it_per_scaled_hour() -> None:
    trace = latency_trace("autocorrelation 0.5", 0.02, 0.10, 38)
    plain = drift_now(trace.times_s, trace.p99_ms, trace.counts)
    scaled = drift_now(trace.times_s / 72, trace.p99_ms, trace.counts, time_scale=72.0)
    assert scaled.change.value == pytest.approx(plain.change.value)
    assert scaled.verdict is Verdict.FAIL


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="no such method"):
        drift_now([0.0], [1.0], method="welch")
