"""Ways to die: in order, twice in a row, by the kernel. Each costs requests; none may cost an acknowledged memory."""

from __future__ import annotations

import pytest


def whole_afterwards(outcome, slo):
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.after.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0
    assert outcome.acknowledged_memories.unrecallable == 0


@pytest.mark.drill(family="process", matrix=True)
def test_double_crash_loses_nothing_acknowledged(drill, double_crash, slo):
    whole_afterwards(drill.run(double_crash()), slo)


@pytest.mark.drill(family="process", matrix=True)
def test_graceful_restart_loses_nothing_acknowledged(drill, graceful_restart, slo):
    whole_afterwards(drill.run(graceful_restart()), slo)


@pytest.mark.drill(family="process", matrix=True)
def test_out_of_memory_kill_loses_nothing_acknowledged(drill, out_of_memory, slo):
    whole_afterwards(drill.run(out_of_memory(headroom_mb=1.0)), slo)
