"""A process that stands still and goes on answers everybody late; it must lose nothing and come back by itself."""

from __future__ import annotations

import pytest


@pytest.mark.drill(family="process")
def test_pause_loses_nothing_and_passes(drill, process_pause, slo):
    outcome = drill.run(process_pause())

    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.after.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0
