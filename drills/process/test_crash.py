"""A crash costs requests while it lasts; it must cost no acknowledged memory, and no flag set over the API."""

from __future__ import annotations

import pytest


@pytest.mark.drill(requires=("restart", "features", "blended_recall"))
def test_crash_loses_nothing_acknowledged(drill, process_crash, slo):
    outcome = drill.run(process_crash())

    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.cohort_deviation <= slo.cohort_deviation
    assert outcome.after.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.after.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.after.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0
    assert outcome.acknowledged_memories.unrecallable == 0
