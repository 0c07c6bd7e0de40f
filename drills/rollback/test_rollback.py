"""The runbook's rollbacks, each against the trouble it is for, which stays in force: the rollback has to cure it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.drill(family="rollback", requires=("chaos.latency", "blended_recall"))


def whole_afterwards(outcome, slo):
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0


def test_staging_exercise(drill, recall_latency, roll_back, slo):
    """30 ms injected -> the automated trigger -> flags off -> recovered, each step timed."""
    outcome = drill.run(recall_latency(latency_ms=30), then=roll_back.immediate(), once="auto_latency")

    assert outcome.step_time_s(step="trigger") <= slo.trigger_s
    assert outcome.step_time_s(step="rollback") <= slo.rollback_immediate_s
    assert outcome.step_time_s(step="seen") <= slo.rollback_immediate_s
    assert outcome.recovery_time_s(signal="slowed_recalls") <= slo.rollback_latency_s
    assert outcome.recovery_time_s(signal="recall_latency_over_slo") <= slo.rollback_latency_s
    assert outcome.recovery_time_s(signal="memory_over_baseline") <= slo.rollback_memory_s
    assert outcome.recovery_time_s <= slo.rollback_stable_s
    assert outcome.after.memory_growth_ratio <= slo.memory_growth
    assert outcome.after.blended_ratio <= slo.blended_ratio
    assert outcome.after.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.during.error_rate <= slo.error_rate
    whole_afterwards(outcome, slo)


def test_partial_rollback_shrinks_the_cohort(drill, recall_latency, roll_back, slo):
    outcome = drill.run(recall_latency(latency_ms=30), then=roll_back.partial(0.25))

    assert outcome.step_time_s(step="seen") <= slo.rollback_partial_s
    assert outcome.after.split_deviation <= slo.cohort_deviation
    assert outcome.recovery_time_s(signal="still_canary") <= slo.rollback_latency_s
    assert outcome.recovery_time_s(signal="slowed_recalls") <= slo.rollback_latency_s
    assert outcome.recovery_time_s <= slo.rollback_stable_s
    whole_afterwards(outcome, slo)


@pytest.mark.drill(family="rollback", requires=("chaos.latency", "restart"))
def test_full_rollback_brings_the_previous_milestone(drill, recall_latency, roll_back, slo):
    outcome = drill.run(recall_latency(latency_ms=30), then=roll_back.full())

    assert outcome.step_time_s(step="seen") <= slo.rollback_full_s
    assert outcome.recovery_time_s(signal="slowed_recalls") <= slo.rollback_latency_s
    assert outcome.recovery_time_s <= slo.rollback_stable_s
    assert outcome.after.blended_ratio <= slo.blended_ratio
    whole_afterwards(outcome, slo)


@pytest.mark.drill(family="rollback", requires=("chaos.binding_index", "admin.bindings", "admin.restore"))
def test_data_rollback_loses_nothing_acknowledged(drill, binding_corruption, roll_back, slo):
    """Nothing is written meanwhile: what is acknowledged after a backup is not in it, and that is no defect."""
    outcome = drill.run(binding_corruption(corruption_rate=0.2), scenario="recall_only", then=roll_back.data())

    assert outcome.step_time_s(step="seen") <= slo.rollback_data_s
    assert outcome.recovery_time_s(signal="filtered_bindings") <= slo.rollback_latency_s
    assert outcome.recovery_time_s <= slo.rollback_stable_s
    assert outcome.after.invalid_bindings_ratio == 0
    assert outcome.after.blended_ratio <= slo.blended_ratio
    assert outcome.acknowledged_memories.unrecallable == 0
    whole_afterwards(outcome, slo)
