"""Too little of something: the service may slow down or refuse; it must lose nothing and be back with the means."""

from __future__ import annotations

import pytest


def whole_afterwards(outcome, slo):
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0


@pytest.mark.drill(family="resource")
def test_no_file_descriptors_leaves_open_connections_alone(drill, file_descriptors, slo):
    outcome = drill.run(file_descriptors(spare=0))

    assert outcome.during.error_rate(of="recall") <= slo.scarce_error_rate
    whole_afterwards(outcome, slo)


@pytest.mark.drill(family="resource", matrix=True)
def test_processor_quota_only_slows(drill, cpu_quota, slo):
    whole_afterwards(drill.run(cpu_quota(quota_percent=25.0)), slo)


@pytest.mark.drill(family="resource", matrix=True)
def test_contention_only_slows(drill, cpu_contention, slo):
    whole_afterwards(drill.run(cpu_contention(burners=3)), slo)


@pytest.mark.drill(family="resource", matrix=True)
def test_refused_memory_harms_nothing_stored(drill, memory_limit, slo):
    whole_afterwards(drill.run(memory_limit(headroom_mb=1.0)), slo)


@pytest.mark.drill(family="resource", matrix=True)
def test_refused_threads_harm_nothing_stored(drill, thread_limit, slo):
    whole_afterwards(drill.run(thread_limit(spare=0)), slo)
