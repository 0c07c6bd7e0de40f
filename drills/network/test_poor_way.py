"""A poor way to the service makes answers late, never wrong; what comes damaged is no fault of what is stored."""

from __future__ import annotations

import pytest


def right_throughout(outcome, slo):
    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.invalid_confidences_served == 0
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.during.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0


@pytest.mark.drill(family="network", matrix=True)
@pytest.mark.parametrize("jitter_ms", [0.0, 20.0])
def test_latency_makes_answers_late_and_nothing_else(drill, network_latency, jitter_ms, slo):
    right_throughout(drill.run(network_latency(latency_ms=40.0, jitter_ms=jitter_ms)), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_narrow_way_makes_answers_late_and_nothing_else(drill, network_bandwidth, slo):
    right_throughout(drill.run(network_bandwidth(bytes_per_s=64_000.0)), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_lost_packets_make_answers_late_and_nothing_else(drill, packet_loss, slo):
    right_throughout(drill.run(packet_loss(loss_share=0.05)), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_stalled_answers_are_late_and_nothing_else(drill, network_stall, slo):
    right_throughout(drill.run(network_stall(loss_share=0.05)), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_half_open_connections_leave_the_open_ones_alone(drill, half_open, slo):
    outcome = drill.run(half_open())

    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0


@pytest.mark.drill(family="network", matrix=True)
def test_slow_closes_are_nobodys_business(drill, slow_close, slo):
    right_throughout(drill.run(slow_close(latency_ms=500.0)), slo)


@pytest.mark.drill(family="network", matrix=True)
def test_corrupted_answers_are_noticed_and_nothing_stored_is_harmed(drill, corrupted_bytes, slo):
    outcome = drill.run(corrupted_bytes(corrupted_share=0.2))

    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.corrupted == 0
