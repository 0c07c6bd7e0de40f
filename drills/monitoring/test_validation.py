"""``harness validate-monitoring`` as a drill: the stack that watches this Engram is what it seems to be, under load.

With the service as a witness: what a client saw of its own recalls against what the service exports of the same window.
"""

from __future__ import annotations

import pytest


@pytest.mark.drill(family="monitoring", requires=("prometheus", "metrics.prometheus", "blended_recall"))
def test_the_stack_is_what_it_seems(drill, no_fault):
    outcome = drill.run(no_fault(), validate_monitoring=True)

    assert outcome.during.monitoring_findings == 0
    assert outcome.after.monitoring_findings == 0
    assert outcome.acknowledged_memories.lost == 0
