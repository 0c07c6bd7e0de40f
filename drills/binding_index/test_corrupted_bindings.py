"""Runbook drill 3: corrupted bindings are filtered and counted, never served, and a restore brings all of them back."""

from __future__ import annotations

import pytest


@pytest.mark.drill(requires=("chaos.binding_index", "blended_recall", "metrics.dual_memory"))
def test_corrupted_bindings_are_filtered_and_restored(drill, binding_corruption, corruption_rate, slo):
    outcome = drill.run(binding_corruption(corruption_rate=corruption_rate))

    assert outcome.baseline.binding_filter_ratio <= slo.binding_filter_ratio
    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.broken_metrics == 0
    assert outcome.during.invalid_strengths_served == 0
    assert outcome.during.invalid_confidences_served == 0
    assert outcome.during.binding_filter_ratio > 0
    assert outcome.during.binding_violations_counted_ratio >= slo.witness_agreement
    assert outcome.during.result_count_ratio(cohort="canary") >= slo.result_count_ratio
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.failed_health_probes == 0
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.invalid_bindings_ratio == 0
    assert outcome.after.binding_filter_ratio <= slo.binding_filter_ratio
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
