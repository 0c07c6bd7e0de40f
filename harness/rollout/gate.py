"""A phase's gate from directories: collect, then judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.judge.gate import GateResult
from harness.judge.phase_gate import judge_gate
from harness.rollout.evidence import collect
from harness.rollout.plan import Phase, Plan


def gate(
    plan: Plan,
    phase: Phase,
    places: Sequence[str],
    *,
    incidents: Path | None = None,
    attestations: Path | None = None,
) -> GateResult:
    """Collect the evidence at ``places`` and judge a phase's gate. Raises what :func:`collect` raises."""
    found = collect(plan, phase, places, incidents=incidents, attestations=attestations)
    return judge_gate(plan, phase, found.evidence, rehearsal=found.rehearsal)
