"""Task 015's validator: eight checks, each with its evidence, and a recommendation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.judge.gate import Answer, Decision
from harness.judge.phase_gate import Evidence, answer_criteria
from harness.model import Verdict
from harness.scenario.rollout import Criterion, Phase, Plan

PROCEED, HOLD, ROLL_BACK = "proceed", "hold", "roll back"


@dataclass(frozen=True)
class Validation:
    """The checks, answered, and what follows from them."""

    plan: str
    phase: str
    answers: tuple[Answer, ...]

    @property
    def recommendation(self) -> str:
        """Roll back where a check failed, proceed where all passed, else hold."""
        decisions = {answer.decision for answer in self.answers}
        if Decision.NO_GO in decisions:
            return ROLL_BACK
        return PROCEED if decisions == {Decision.GO} else HOLD

    @property
    def reasons(self) -> list[str]:
        """Why not proceed, or why."""
        wanted = {ROLL_BACK: Decision.NO_GO, HOLD: Decision.HOLD}.get(self.recommendation)
        if wanted is None:
            return [f"all {len(self.answers)} checks passed"]
        return [f"{a.criterion.text}: {a.reason or a.measured_text}" for a in self.answers if a.decision is wanted]

    def as_json(self) -> dict[str, Any]:
        """Plain data, deterministic."""
        return {
            "schema": 1,
            "plan": self.plan,
            "phase": self.phase,
            "passed": all(a.verdict is Verdict.PASS for a in self.answers),
            "recommendation": self.recommendation,
            "reasons": self.reasons,
            "checks": [a.as_json() for a in self.answers],
        }


def validate(plan: Plan, phase: Phase, checks: Sequence[Criterion], evidence: Evidence) -> Validation:
    """Answer the checks for a phase."""
    return Validation(plan.name, phase.name, tuple(answer_criteria(plan, phase, checks, evidence)))
