"""Runbook 0.1, feature flags: each of the 16 combinations is taken, shown, obeyed, and costs no user an error."""

from __future__ import annotations

import pytest

PHASE_0 = {"dual_memory_types": True, "blended_recall": False, "fan_effect": False, "cohort_sampling_rate": 1.0}


@pytest.mark.drill(family="phase0")
def test_every_combination_of_flags_serves(drill, flag_walk, slo):
    outcome = drill.run(flag_walk(), flags=PHASE_0, panel=True)

    assert outcome.whole.error_rate <= slo.error_rate
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.invalid_confidences_served == 0
    assert outcome.during.invalid_strengths_served == 0
    assert outcome.during.failed_health_probes == 0
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.whole.panel_memories_damaged == 0
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
