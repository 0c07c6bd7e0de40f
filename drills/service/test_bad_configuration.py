"""A configuration with a mistake in it: refused with the place of the mistake, and nothing is lost over it."""

from __future__ import annotations

import pytest


@pytest.mark.drill(family="service", matrix=True)
@pytest.mark.parametrize("mistake", ["unknown_key", "out_of_range", "not_toml"])
def test_bad_configuration_is_refused_and_the_good_one_comes_back(drill, bad_configuration, mistake, slo):
    outcome = drill.run(bad_configuration(mistake=mistake))

    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.after.recall_found_ratio >= slo.recall_found_ratio
    assert outcome.acknowledged_memories.lost == 0
    assert outcome.acknowledged_memories.stale == 0
