"""Task 015's validator: eight checks, each with its evidence, and what is recommended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.judge.phase_gate import Evidence
from harness.judge.validation import HOLD, PROCEED, ROLL_BACK, Validation, validate
from harness.rollout.plan import load_plan
from tests.rollout.full_size import World

PLAN = load_plan("task015")
CHECKS = (
    *("latency_regression", "memory_usage", "cpu_utilization", "recall_quality", "concept_coherence"),
    *("fan_effect_distribution", "error_rates", "consolidation_success"),
)


def _validated(world: World) -> Validation:
    phase = PLAN.phase("100")
    evidence = world.evidence(PLAN, "100", "shadow")
    return validate(PLAN, phase, PLAN.validation, evidence)


def test_healthy_weeks_proceed() -> None:
    found = _validated(World(requests=15_000))
    assert tuple(a.criterion.key for a in found.answers) == CHECKS
    assert found.recommendation == PROCEED, found.reasons
    assert all(a.readings for a in found.answers)


@pytest.mark.parametrize(
    ("world", "check"),
    [
        (World(at="100", requests=15_000, failing_consolidation=0.3), "consolidation success"),
        (World(at="100", requests=15_000, overlap=0.7), "recall quality"),
        (World(at="100", requests=15_000, canary_slower=2.0), "latency regression"),
    ],
    ids=["consolidation", "quality", "latency"],
)
def test_a_failing_check_rolls_back_and_is_named(world: World, check: str) -> None:
    found = _validated(world)
    assert found.recommendation == ROLL_BACK
    assert any(reason.startswith(check) for reason in found.reasons)


def test_nothing_known_holds() -> None:
    found = validate(PLAN, PLAN.phase("100"), PLAN.validation, Evidence())
    assert found.recommendation == HOLD
    assert len(found.reasons) == len(CHECKS)


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validate", "--json", "--attestations", str(tmp_path / "w")]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["recommendation"] == "hold" and not found["passed"]
    assert main(["validate", "--phase", "60"]) == 3
