"""The rehearsal: the whole plan walked on a live target in minutes, gate by gate, by the gate's own code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from harness.judge.gate import Answer, Decision, GateResult
from harness.rollout.gate import gate
from harness.rollout.phase_run import Rehearsed, run_drills, run_phase, run_soak
from harness.rollout.plan import Phase
from harness.rollout.regressions import Injected
from harness.timeline.jsonl import write_json_atomically

FILE = "rehearsal.json"


@dataclass(frozen=True)
class Step:
    """One phase as it was walked: when (s since the start), how it decided, and whether a HOLD was walked past."""

    phase: Phase
    parts: tuple[tuple[str, float, float], ...]  # what was done: name, from, to
    result: GateResult
    overridden: bool
    trouble: str = ""

    @property
    def decision(self) -> Decision:
        """What the gate said."""
        return self.result.decision

    def as_json(self) -> dict[str, Any]:
        """For ``rehearsal.json``."""
        return {
            "phase": self.phase.name,
            "decision": self.decision.value,
            "overridden": self.overridden,
            "trouble": self.trouble,
            "parts": [{"name": n, "from_s": round(a, 2), "to_s": round(b, 2)} for n, a, b in self.parts],
            "gate": self.result.as_json(),
        }


@dataclass
class Walk:
    """A rehearsal: its steps so far, and how it ended."""

    how: Rehearsed
    injected: Injected | None
    override_hold: bool
    steps: list[Step] = field(default_factory=list)
    stopped_at: str = ""
    took_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 walked and nothing failed, 1 a NO-GO stopped it, 4 a HOLD did."""
        if any(step.decision is Decision.NO_GO for step in self.steps):
            return EXIT_FAILED
        return EXIT_UNDECIDED if self.stopped_at else EXIT_OK

    @property
    def naming(self) -> list[Answer]:
        """The criteria that stopped it: those that failed, else those that hold."""
        if not self.stopped_at:
            return []
        last = self.steps[-1].result
        return last.of(Decision.NO_GO) or last.of(Decision.HOLD)

    def as_json(self) -> dict[str, Any]:
        """For ``rehearsal.json``; the instants are this walk's own."""
        return {
            "schema": 1,
            "plan": self.how.plan.name,
            "time_scale": self.how.time_scale,
            "seed": self.how.seed,
            "target": self.how.target,
            "injected": self.injected_text,
            "override_hold": self.override_hold,
            "stopped_at": self.stopped_at,
            "exit_code": self.exit_code,
            "took_s": round(self.took_s, 1),
            "steps": [step.as_json() for step in self.steps],
        }

    @property
    def injected_text(self) -> str:
        """``5:latency-30``, or nothing."""
        return f"{self.injected.phase.name}:{self.injected.regression.kind}" if self.injected else ""


def rehearse(
    how: Rehearsed,
    session: Path,
    *,
    injected: Injected | None = None,
    override_hold: bool = False,
    only: tuple[str, ...] = (),
    show: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> Walk:
    """Walk the plan, recording below ``session``.

    A NO-GO stops the walk; so does a HOLD, but where ``override_hold`` walks past it. A HOLD in the phase with an
    injected regression is never walked past: the sample could not tell, and a rehearsal must not look as if it had.
    ``only`` walks these phases alone. ``rehearsal.json`` is written after every step.
    """
    clock = clock or SystemClock()
    begun = clock.now()
    walk = Walk(how, injected, override_hold)
    for phase in how.plan.phases:
        if only and phase.name not in only:
            continue
        defects = injected.regression.defects if injected is not None and injected.phase is phase else ()
        step = _step(how, phase, session, defects, begun, clock, show, override=override_hold)
        walk.steps.append(step)
        here = injected is not None and injected.phase is phase
        stop = step.decision is Decision.NO_GO or (step.decision is Decision.HOLD and (here or not override_hold))
        if stop:
            walk.stopped_at = phase.name
        walk.took_s = clock.now() - begun
        write_json_atomically(session / FILE, walk.as_json())
        show(f"phase {phase.name}: {step.decision.value}" + (", walked past" if step.overridden and not stop else ""))
        if stop:
            break
    return walk


def _step(
    how: Rehearsed,
    phase: Phase,
    session: Path,
    defects: tuple[str, ...],
    begun: float,
    clock: Clock,
    show: Callable[[str], None],
    *,
    override: bool,
) -> Step:
    folder = session / f"phase-{phase.name}"
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[str, float, float]] = []

    def timed(name: str, act: Callable[[], Any]) -> Any:
        start = clock.now() - begun
        try:
            return act()
        finally:
            parts.append((name, start, clock.now() - begun))

    if phase is how.plan.phases[0]:
        show(f"phase {phase.name}: soak")
        timed("soak", lambda: run_soak(how, folder, defects))
    show(f"phase {phase.name}: load, {phase.cohort_rate * 100:g} % in the cohort")
    trouble = timed("load", lambda: run_phase(how, phase, folder, defects, clock=clock))
    if phase.drills and not trouble:
        timed("drills", lambda: run_drills(how, phase, folder, defects, show))
    result = timed("gate", lambda: _gate(how, phase, session))
    write_json_atomically(folder / "gate.json", result.as_json())
    return Step(phase, tuple(parts), result, override and result.decision is Decision.HOLD, str(trouble))


def _gate(how: Rehearsed, phase: Phase, session: Path) -> GateResult:
    """The phase's gate, on what the walk recorded so far."""
    places = []
    for other in how.plan.phases:
        folder = session / f"phase-{other.name}"
        if folder.is_dir():
            places.append(f"{other.name}={folder}")
    return gate(how.plan, phase, places)
