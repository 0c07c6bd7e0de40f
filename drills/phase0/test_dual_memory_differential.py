"""Runbook 0.1, differential: what dual memory answers is within 5 % of what single memory answers to the same cues."""

from __future__ import annotations

import pytest

SINGLE_MEMORY = {"dual_memory_types": False, "blended_recall": False, "fan_effect": False}


@pytest.mark.drill(family="phase0")
def test_dual_memory_answers_as_single_memory_does(drill, dual_memory_on, slo):
    outcome = drill.run(dual_memory_on(), flags=SINGLE_MEMORY, panel=True)

    assert outcome.during.panel_deviation <= slo.engine_deviation
    assert outcome.after.panel_deviation <= slo.engine_deviation
    assert outcome.during.result_count_ratio >= slo.result_count_ratio
    assert outcome.during.error_rate <= slo.error_rate
