"""Stores, replacements and deletes through a crash, and through a second one: whatever was acknowledged holds."""

from __future__ import annotations

import pytest


def nothing_acknowledged_is_lost(outcome, slo):
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.resurrected == 0
    assert outcome.acknowledged_memories.corrupted == 0
    assert outcome.acknowledged_memories.leaked == 0
    assert outcome.acknowledged_memories.duplicated == 0
    assert outcome.acknowledged_memories.unrecallable == 0


@pytest.mark.drill(family="storage", requires=("restart", "memory.delete"))
def test_a_crash_loses_no_store_and_no_delete(drill, process_crash, slo):
    nothing_acknowledged_is_lost(drill.run(process_crash(), scenario="durability"), slo)


@pytest.mark.drill(family="storage", requires=("restart", "memory.delete"), matrix=True)
def test_a_second_crash_loses_none_either(drill, double_crash, slo):
    nothing_acknowledged_is_lost(drill.run(double_crash(), scenario="durability"), slo)
