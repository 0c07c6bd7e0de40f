"""Recovery time: its interval holds the truth, is narrow where events are many, and open where nothing came back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.judge.recovery import Recovery, SignalEvents, recovery_of
from harness.judge.summary import CaseSummary
from harness.model import Interval
from tests.cases import build

HEAL = Interval(24.0, 24.002)


def simulated(rng: np.random.Generator, delay: float, rate: float, bad: float, quiet: float) -> Recovery:
    """A signal at ``rate`` events/s that is affected with ``bad`` from 12 s until ``delay`` after the heal."""
    begun = np.sort(rng.uniform(0.0, 54.0, int(54 * rate)))
    service = rng.exponential(0.003, len(begun)) + 0.008
    served = begun + rng.uniform(0.0, 1.0, len(begun)) * service
    on = (served > 12.0) & (served < HEAL.low + delay)
    signal = SignalEvents("x", begun, begun + service, rng.random(len(begun)) < np.where(on, bad, quiet), 0.05)
    return recovery_of(signal, baseline=(0.0, 12.0), fault=(12.0, 24.0), heal=HEAL, end=54.0)


@pytest.mark.parametrize(
    ("rate", "bad", "quiet", "widest"),
    [(255.0, 1.0, 0.0, 0.1), (110.0, 0.97, 0.002, 0.1), (200.0, 0.6, 0.001, 0.1), (40.0, 0.3, 0.01, 1.0)],
)
def test_the_interval_holds_the_delay(rate: float, bad: float, quiet: float, widest: float) -> None:
    """250 random delays of 0.1-20 s; at 100 affected events/s and more the median width is at most 100 ms."""
    rng = np.random.default_rng(1)
    delays = rng.uniform(0.1, 20.0, 250)
    found = [simulated(rng, float(delay), rate, bad, quiet) for delay in delays]
    inside = sum(r.seconds.contains(float(d)) for r, d in zip(found, delays, strict=True))
    assert inside >= 0.95 * len(delays)
    assert all(r.state == "recovered" for r in found)
    assert float(np.median([r.seconds.width for r in found])) <= widest


@pytest.mark.parametrize("kind", ["semantic_latency", "binding_corruption", "consolidation_failure"])
def test_the_interval_holds_the_delay_of_a_whole_case(kind: str) -> None:
    rng = np.random.default_rng(4)
    inside, trials = 0, 25
    for seed in range(trials):
        delay = float(rng.uniform(0.1, 12.0))
        built = build(kind=kind, seed=seed, recovery_delay_s=delay, cohort_rate=0.5)
        found = CaseSummary(built.record).recoveries[0]
        inside += found.seconds.contains(built.recovered_at - built.healed_at)
    assert inside >= trials - 1


@pytest.mark.parametrize("kind", ["semantic_latency", "binding_corruption", "consolidation_failure"])
def test_an_effect_that_stays_is_censored(kind: str) -> None:
    found = CaseSummary(build(kind=kind, never_recovers=True).record).recoveries[0]
    assert found.state == "censored"
    assert found.seconds.high == math.inf


def test_a_restore_of_half_is_no_recovery() -> None:
    states = [
        CaseSummary(build(kind=kind, seed=seed, residue_share=0.5).record).recoveries[0].state
        for kind in ("semantic_latency", "binding_corruption", "consolidation_failure")
        for seed in range(12)
    ]
    assert set(states) == {"censored"}


def test_a_relapse_moves_the_recovery_behind_it() -> None:
    rng = np.random.default_rng(9)
    begun = np.arange(0.0, 60.0, 0.005)
    on = ((begun > 12) & (begun < 25)) | ((begun > 30) & (begun < 33))
    signal = SignalEvents("x", begun, begun + 0.004, on & (rng.random(len(begun)) < 0.9), 0.05)
    found = recovery_of(signal, baseline=(0.0, 12.0), fault=(12.0, 24.0), heal=HEAL, end=60.0)
    assert found.state == "recovered"
    assert found.seconds.contains(33.0 - 24.0)


def test_a_single_stall_after_the_recovery_is_no_relapse() -> None:
    rng = np.random.default_rng(9)
    begun = np.arange(0.0, 60.0, 0.005)
    on = ((begun > 12) & (begun < 25)) | ((begun > 40) & (begun < 40.2))
    signal = SignalEvents("x", begun, begun + 0.004, on & (rng.random(len(begun)) < 0.9), 0.05)
    found = recovery_of(signal, baseline=(0.0, 12.0), fault=(12.0, 24.0), heal=HEAL, end=60.0)
    assert found.seconds.contains(1.0)


def test_a_signal_the_fault_did_not_move_never_left() -> None:
    found = {r.name: r for r in CaseSummary(build(kind="semantic_latency").record).recoveries}
    assert found["errors"].state == "never_left"
    assert found["errors"].seconds == Interval(0.0, 0.0)


def test_too_few_events_are_unknown_and_not_zero() -> None:
    none = SignalEvents("x", np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.bool_), 0.05)
    found = recovery_of(none, baseline=(0.0, 12.0), fault=(12.0, 24.0), heal=HEAL, end=60.0)
    assert found.state == "unknown"
    assert not found.seconds.known


def test_the_worst_signal_decides_and_one_unknown_makes_it_unknown() -> None:
    late = CaseSummary(build(recovery_delay_s=3.0, error_share=0.05).record)
    worst = max(r.seconds.high for r in late.recoveries)
    assert late.recovery_estimate().interval.high == worst
    silent = CaseSummary(build(kind="consolidation_failure", missing_streams=("consolidation",)).record)
    assert not silent.recovery_estimate().known


def test_a_control_case_has_nothing_to_recover_from() -> None:
    summary = CaseSummary(build(kind="no_fault").record)
    assert summary.recoveries == []
    assert not summary.recovery_estimate().known
