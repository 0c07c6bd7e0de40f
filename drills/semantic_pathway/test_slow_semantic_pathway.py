"""Runbook drill 2: a slow semantic pathway may cost recall its semantic half; it must cost no user an error."""

from __future__ import annotations

import pytest


@pytest.mark.drill(requires=("chaos.semantic_pathway", "blended_recall", "metrics.dual_memory"))
def test_slow_semantic_pathway_falls_back_to_episodic(drill, semantic_latency, latency_ms, slo):
    outcome = drill.run(semantic_latency(latency_ms=latency_ms))

    assert outcome.baseline.semantic_timeout_ratio <= slo.semantic_timeout_ratio
    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.semantic_timeout_ratio >= slo.fallback_ratio
    assert outcome.during.result_count_ratio(cohort="canary") >= slo.result_count_ratio
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.invalid_confidences_served == 0
    assert outcome.during.failed_health_probes == 0
    assert outcome.during.broken_metrics == 0
    assert outcome.during.semantic_timeouts_counted_ratio >= slo.witness_agreement
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.during.reported_slowdown_ratio >= slo.witness_latency_agreement
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.semantic_timeout_ratio <= slo.semantic_timeout_ratio
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
