"""A disk that fails costs writes; reads go on, and no write may be acknowledged that is not kept."""

from __future__ import annotations

import pytest


def reads_go_on(outcome, slo):
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.invalid_confidences_served == 0
    kept(outcome, slo)


def kept(outcome, slo):
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0


@pytest.mark.drill(family="storage")
def test_full_disk_refuses_writes_and_serves_reads(drill, disk_full, slo):
    outcome = drill.run(disk_full())

    assert outcome.during.error_rate(of="recall") <= slo.error_rate
    reads_go_on(outcome, slo)


@pytest.mark.drill(family="storage", matrix=True)
def test_read_only_disk_refuses_writes_and_serves_reads(drill, read_only_disk, slo):
    reads_go_on(drill.run(read_only_disk()), slo)


@pytest.mark.drill(family="storage", matrix=True)
def test_failing_sync_is_never_acknowledged(drill, sync_errors, slo):
    reads_go_on(drill.run(sync_errors()), slo)


@pytest.mark.drill(family="storage", matrix=True)
def test_slow_disk_slows_writes_only(drill, slow_disk, slo):
    outcome = drill.run(slow_disk(latency_ms=50.0))

    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    reads_go_on(outcome, slo)


@pytest.mark.drill(family="storage", matrix=True)
def test_deleted_log_loses_nothing(drill, deleted_log, slo):
    outcome = drill.run(deleted_log())

    assert outcome.during.error_rate <= slo.error_rate
    reads_go_on(outcome, slo)


@pytest.mark.drill(family="storage")
def test_power_cut_loses_nothing_acknowledged(drill, lost_unsynced, slo):
    kept(drill.run(lost_unsynced()), slo)


@pytest.mark.drill(family="storage", matrix=True)
@pytest.mark.parametrize("damage", ["flipped", "zeroed", "garbage", "truncated"])
@pytest.mark.parametrize("where", ["middle", "tail"])
def test_damaged_log_is_refused_or_passed_over_rightly(drill, log_damage, damage, where, slo):
    kept(drill.run(log_damage(damage=damage, where=where)), slo)
