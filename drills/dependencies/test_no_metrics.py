"""Without metrics nobody sees the service; users must not notice, and the drill still judges by what clients saw."""

from __future__ import annotations

import pytest


@pytest.mark.drill(family="dependencies", requires=("metrics.prometheus",))
def test_unreadable_metrics_cost_users_nothing(drill, metrics_outage, slo):
    unnoticed(drill.run(metrics_outage()), slo)


@pytest.mark.drill(family="dependencies", requires=("metrics.prometheus",), matrix=True)
def test_slow_metrics_cost_users_nothing(drill, metrics_outage, slo):
    unnoticed(drill.run(metrics_outage(latency_ms=2_000.0)), slo)


def unnoticed(outcome, slo):
    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.failed_health_probes == 0
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.acknowledged_memories.lost == 0
