"""Runbook drill 1: failing concept formation leaves recall untouched, is counted, and ends when its cause ends."""

from __future__ import annotations

import pytest


@pytest.mark.drill(requires=("chaos.consolidation", "consolidations", "metrics.dual_memory"))
def test_failing_consolidation_leaves_recall_alone(drill, consolidation_failure, fail_rate, slo):
    outcome = drill.run(consolidation_failure(fail_rate=fail_rate))

    assert outcome.baseline.failed_consolidations == 0
    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.broken_metrics == 0
    assert outcome.during.failed_consolidations > 0
    assert outcome.during.consolidation_failures_counted_ratio >= slo.consolidation_counted_ratio
    assert outcome.during.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.during.result_count_ratio >= slo.result_count_ratio
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.failed_health_probes == 0
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.failed_consolidations == 0
    assert outcome.after.missed_success_ratio <= slo.missed_success_ratio
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
