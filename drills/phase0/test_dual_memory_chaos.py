"""Runbook 0.1, chaos: while recall is episodic, no fault of the dual half may reach a user; a crash costs no memory."""

from __future__ import annotations

import pytest

PHASE_0 = {"dual_memory_types": True, "blended_recall": False, "fan_effect": False}


@pytest.mark.drill(family="phase0", requires=("chaos.consolidation", "consolidations"))
def test_failing_consolidation_reaches_no_user(drill, consolidation_failure, slo):
    outcome = drill.run(consolidation_failure(fail_rate=0.5), flags=PHASE_0, panel=True)

    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.panel_orders_changed == 0
    assert outcome.whole.panel_memories_damaged == 0
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.acknowledged_memories.lost == 0


@pytest.mark.drill(family="phase0", requires=("restart",), matrix=True)
def test_a_crash_costs_no_memory(drill, process_crash, slo):
    outcome = drill.run(process_crash(), flags=PHASE_0, panel=True)

    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.panel_orders_changed == 0
    assert outcome.after.panel_memories_damaged == 0
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
