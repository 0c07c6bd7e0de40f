"""Runbook 0.1, load: phase 0's own flags under the milestone's baseline load, nothing injected."""

from __future__ import annotations

import pytest

PHASE_0 = {"dual_memory_types": True, "blended_recall": False, "fan_effect": False}


@pytest.mark.drill(family="phase0")
def test_the_baseline_load_is_served(drill, no_fault, slo):
    outcome = drill.run(no_fault(), flags=PHASE_0, scenario="m17_baseline")

    assert outcome.whole.error_rate <= slo.error_rate
    assert outcome.whole.uncounted_recall_errors <= slo.uncounted_errors
    assert outcome.whole.broken_metrics == 0
    assert outcome.whole.failed_health_probes == 0
    assert outcome.whole.failed_consolidations == 0
    assert outcome.whole.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0
