"""Two faults at once, and faults as they come: what each alone may not cost a user, both together may not either."""

from __future__ import annotations

import pytest

NEEDS = ("chaos.semantic_pathway", "chaos.consolidation", "chaos.binding_index", "blended_recall", "admin.bindings")


@pytest.mark.drill(family="composed", requires=NEEDS)
def test_slow_pathway_while_consolidation_fails(drill, parallel, semantic_latency, consolidation_failure, slo):
    outcome = drill.run(parallel(semantic_latency(latency_ms=50), consolidation_failure(fail_rate=1.0)))

    assert outcome.during.semantic_timeout_ratio >= slo.fallback_ratio
    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.latency_ms(p=99) <= slo.recall_p99_ms
    assert outcome.after.semantic_lost_ratio <= slo.semantic_timeout_ratio
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.acknowledged_memories.lost == 0


@pytest.mark.drill(family="composed", requires=NEEDS, matrix=True)
def test_nemesis_on_dual_memory(drill, nemesis, slo):
    outcome = drill.run(nemesis("dual_memory"))

    assert outcome.during.error_rate <= slo.error_rate
    assert outcome.during.invalid_strengths_served == 0
    assert outcome.after.error_rate <= slo.error_rate
    assert outcome.recovery_time_s <= slo.drill_recovery_s
    assert outcome.acknowledged_memories.lost == 0
