"""Runbook 0.1, migration: single memories become dual ones, nothing is lost, every answer keeps its order.

And back again: the fault's heal is the flag as it was.
"""

from __future__ import annotations

import pytest

SINGLE_MEMORY = {"dual_memory_types": False, "blended_recall": False, "fan_effect": False}


@pytest.mark.drill(family="phase0")
def test_turning_dual_memory_on_loses_nothing_and_keeps_every_order(drill, dual_memory_on, slo):
    outcome = drill.run(dual_memory_on(), flags=SINGLE_MEMORY, panel=True)

    assert outcome.whole.panel_memories_damaged == 0
    assert outcome.during.panel_orders_changed == 0
    assert outcome.after.panel_orders_changed == 0
    assert outcome.whole.failed_moments == 0
    assert outcome.whole.error_rate <= slo.error_rate
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0
    assert outcome.acknowledged_memories.misplaced == 0
    assert outcome.acknowledged_memories.unrecallable == 0
