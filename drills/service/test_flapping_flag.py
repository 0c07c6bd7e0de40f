"""A flag that flaps costs users the blended half of some answers; it must cost nobody an error."""

from __future__ import annotations

import pytest


@pytest.mark.drill(family="service", requires=("features", "blended_recall"))
def test_flapping_flag_costs_no_error(drill, flag_flapping, slo):
    outcome = drill.run(flag_flapping(period_s=0.5))

    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.invalid_confidences_served == 0
    assert outcome.during.failed_health_probes == 0
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.acknowledged_memories.lost == 0
