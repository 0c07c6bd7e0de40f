"""The control case: with no fault at all every tolerance holds, so a failing drill speaks of its fault.

It is also where a service that is broken without any help is caught: errors, lost writes, leaks, ignored flags.
"""

from __future__ import annotations

import pytest


@pytest.mark.drill(requires=("memory", "features", "blended_recall", "consolidations"))
def test_nothing_injected_nothing_degraded(drill, no_fault, slo):
    outcome = drill.run(no_fault())

    assert outcome.baseline.cohort_deviation <= slo.cohort_deviation
    assert outcome.whole.uncounted_recall_errors <= slo.uncounted_errors
    assert outcome.whole.error_rate <= slo.error_rate
    assert outcome.whole.broken_metrics == 0
    assert outcome.whole.invalid_confidences_served == 0
    assert outcome.whole.invalid_strengths_served == 0
    assert outcome.whole.failed_health_probes == 0
    assert outcome.whole.failed_consolidations == 0
    assert outcome.whole.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.whole.binding_filter_ratio <= slo.binding_filter_ratio
    assert outcome.whole.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.whole.recalls_counted_ratio >= slo.witness_agreement
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.whole.rss_growth_mb_per_h <= slo.rss_growth_mb_per_h
    assert outcome.whole.open_files_growth <= slo.open_files_growth
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.misplaced == 0
    assert outcome.acknowledged_memories.corrupted == 0
    assert outcome.acknowledged_memories.unrecallable == 0
