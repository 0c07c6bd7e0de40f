"""A partition costs requests while it lasts; what was acknowledged on either side of it is kept."""

from __future__ import annotations

import pytest


def whole_afterwards(outcome, slo):
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
    assert outcome.acknowledged_memories.corrupted == 0


@pytest.mark.drill(family="network")
def test_partition_loses_nothing_acknowledged(drill, black_hole, slo):
    whole_afterwards(drill.run(black_hole()), slo)


@pytest.mark.drill(family="network", matrix=True)
@pytest.mark.parametrize("toward", ["client", "server"])
def test_one_way_partition_loses_nothing_acknowledged(drill, one_way_partition, toward, slo):
    whole_afterwards(drill.run(one_way_partition(toward=toward)), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_refused_connections_lose_nothing_acknowledged(drill, connection_refusal, slo):
    whole_afterwards(drill.run(connection_refusal()), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_reset_connections_lose_nothing_acknowledged(drill, connection_reset, slo):
    whole_afterwards(drill.run(connection_reset(reset_share=0.2)), slo)
