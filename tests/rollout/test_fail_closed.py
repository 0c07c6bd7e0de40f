"""Fail closed: evidence that is broken promotes nothing. ``make fail-closed`` asks every gate a thousand times."""

from __future__ import annotations

import random

import pytest

from harness.judge.gate import Decision
from tests.rollout.breaking import BREAKS, Gate
from tests.rollout.fail_closed import GATES, promotions
from tests.rollout.full_size import World

SMALL = World(requests=3_000, runs=3)
# Gates that a small sample lets pass; the others need seconds for each set.
QUICK = (*(Gate(plan, "shadow", SMALL) for plan in ("runbook", "task015")), Gate("task015", "canary", SMALL))


@pytest.mark.parametrize("gate", QUICK, ids=lambda gate: f"{gate.plan_name}-{gate.phase_name}")
def test_broken_evidence_promotes_nothing(gate: Gate) -> None:
    assert gate.judge(gate.healthy).decision is Decision.GO  # or nothing below means anything
    judged, wrong = promotions(gate, 60, 20251120)
    assert wrong == []
    assert len(judged) >= 10


def test_every_way_is_found_at_some_gate() -> None:
    draw = random.Random(1)
    assert [name for name, broken in BREAKS if not any(broken(gate, draw) for gate in QUICK)] == []


def test_every_gate_of_every_plan_is_broken_by_the_command() -> None:
    names = [(gate.plan_name, gate.phase_name) for gate in GATES]
    assert len(names) == len(set(names)) == 15
