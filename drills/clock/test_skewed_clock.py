"""A wall clock that is wrong, in either direction, changes dates and nothing else."""

from __future__ import annotations

import pytest


def nothing_but_dates(outcome, slo):
    assert outcome.during.invalid_confidences_served == 0
    assert outcome.during.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0


@pytest.mark.drill(family="clock")
def test_clock_a_day_ahead_changes_only_dates(drill, clock_skew, slo):
    nothing_but_dates(drill.run(clock_skew(offset_s=86_400.0)), slo)


@pytest.mark.drill(family="clock", matrix=True)
def test_clock_an_hour_behind_changes_only_dates(drill, clock_skew, slo):
    nothing_but_dates(drill.run(clock_skew(offset_s=-3_600.0)), slo)
