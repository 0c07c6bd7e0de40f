"""A gate's decision from readings: GO, NO-GO or HOLD. Pure: the same readings give the same answer.

A criterion may have several witnesses. One that was given and is broken (NaN, gaps, an early end) holds the gate
whatever the others say; so do witnesses that disagree, but for the most trusted one, whose FAIL is a NO-GO. No witness
at all is HOLD: no data is never a pass.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.judge.comparison import estimate_json
from harness.model import Estimate, Verdict, json_number, no_estimate
from harness.scenario.rollout import Criterion


class Decision(enum.StrEnum):
    """What a gate says."""

    GO = "GO"
    NO_GO = "NO-GO"
    HOLD = "HOLD"


_OF_VERDICT = {Verdict.PASS: Decision.GO, Verdict.FAIL: Decision.NO_GO}


@dataclass(frozen=True)
class Reading:
    """What one witness says of one criterion.

    ``estimate`` is what is held against the bound (the change, for a relative criterion). ``broken``: the evidence is
    there and cannot be believed. ``needed`` says in words what sample would decide. ``decided_by`` names the margin
    that decided where there are two (``relative``, ``absolute floor``).
    """

    witness: str
    estimate: Estimate
    verdict: Verdict
    note: str = ""
    broken: bool = False
    needed: str = ""
    decided_by: str = ""
    shown: str = ""  # the figures behind a change, for people: "13.4 against 9.6 ms"

    def as_json(self) -> dict[str, Any]:
        """Plain data, deterministic."""
        return {
            "witness": self.witness,
            "measured": estimate_json(self.estimate),
            "verdict": self.verdict.value,
            "note": self.note,
            "broken": self.broken,
            "needed": self.needed,
            "decided_by": self.decided_by,
            "shown": self.shown,
        }


def absent(witness: str, why: str, unit: str = "") -> Reading:
    """No such evidence was given."""
    return Reading(witness, no_estimate(unit, why), Verdict.INCONCLUSIVE, why)


def broken(witness: str, why: str, unit: str = "") -> Reading:
    """Evidence was given and cannot be believed."""
    return Reading(witness, no_estimate(unit, why), Verdict.INCONCLUSIVE, why, broken=True)


@dataclass(frozen=True)
class Answer:
    """One criterion (or trigger, or item), answered. ``kind``: criterion, trigger, checklist or duration."""

    criterion: Criterion
    kind: str
    readings: tuple[Reading, ...]
    verdict: Verdict
    reason: str
    action: str = ""

    @property
    def decision(self) -> Decision:
        """What this alone would decide."""
        return _OF_VERDICT.get(self.verdict, Decision.HOLD)

    @property
    def measured_text(self) -> str:
        """``+39.6 % (13.4 against 9.6 ms)``: the figure the row is decided by."""
        reading = self.reading
        if reading is None or not reading.estimate.known:
            return "–"
        if self.kind == "checklist" or self.criterion.quantity.name == "attested":
            return "yes" if reading.estimate.value else "no"
        found = figure(reading.estimate.value, reading.estimate.unit)
        return f"{found} ({reading.shown})" if reading.shown else found

    @property
    def interval_text(self) -> str:
        """``[12.9 ms, 13.8 ms] of 6,041, run``: its one-sided 95 % bounds, the sample, the witness."""
        reading = self.reading
        if reading is None or not reading.estimate.known or self.kind == "checklist":
            return ""
        estimate = reading.estimate
        decided = f", {reading.decided_by}" if reading.decided_by else ""
        if estimate.interval.low == estimate.interval.high:
            return f"exact, {reading.witness}{decided}"
        low, high = (figure(v, estimate.unit) for v in (estimate.interval.low, estimate.interval.high))
        return f"[{low}, {high}] of {estimate.samples:,}, {reading.witness}{decided}"

    @property
    def reading(self) -> Reading | None:
        """The reading the answer is shown by: the one that decided, else the first with a figure, else the first."""
        decisive = [r for r in self.readings if r.verdict is self.verdict and r.estimate.known]
        known = [r for r in self.readings if r.estimate.known]
        return next(iter([*decisive, *known, *self.readings]), None)

    def as_json(self) -> dict[str, Any]:
        """Plain data, deterministic."""
        criterion = self.criterion
        return {
            "id": criterion.id,
            "kind": self.kind,
            "criterion": criterion.text,
            "quantity": criterion.quantity.name,
            "op": criterion.op,
            "bound": json_number(criterion.bound),
            "threshold": criterion.threshold,
            "floor": criterion.floor,
            "source": criterion.source,
            "advisory": criterion.advisory,
            "verdict": self.verdict.value,
            "decision": self.decision.value,
            "reason": self.reason,
            "action": self.action,
            "shown": {"measured": self.measured_text, "interval": self.interval_text},
            "readings": [reading.as_json() for reading in self.readings],
        }


def answer(criterion: Criterion, kind: str, readings: Sequence[Reading], action: str = "") -> Answer:
    """Put the witnesses of one criterion together; ``readings`` come in the order of trust."""
    verdict, reason = _together(criterion, readings)
    return Answer(criterion, kind, tuple(readings), verdict, reason, action)


def _together(criterion: Criterion, readings: Sequence[Reading]) -> tuple[Verdict, str]:
    given = [r for r in readings if r.broken or r.estimate.known]
    if not given:
        why = "; ".join(dict.fromkeys(r.note for r in readings if r.note))
        return Verdict.INCONCLUSIVE, why or f"no evidence: {' or '.join(criterion.quantity.evidence)} is needed"
    first = given[0]
    if first.verdict is Verdict.FAIL and not first.broken:
        return Verdict.FAIL, first.note
    for reading in given:
        if reading.broken:
            return Verdict.INCONCLUSIVE, f"{reading.witness}: {reading.note}"
    failing = [r for r in given if r.verdict is Verdict.FAIL]
    if failing and not any(r.verdict is Verdict.PASS for r in given):
        return Verdict.FAIL, failing[0].note
    if failing:
        said = ", ".join(f"{r.witness} {r.verdict.value}" for r in given)
        return Verdict.INCONCLUSIVE, f"the witnesses disagree ({said}): {failing[0].note}"
    passing = [r for r in given if r.verdict is Verdict.PASS]
    if passing:
        return Verdict.PASS, passing[0].note
    return Verdict.INCONCLUSIVE, "; ".join(filter(None, [first.note, first.needed]))


@dataclass(frozen=True)
class GateResult:
    """A gate's answer: the decision, and the row of every criterion, trigger and item."""

    plan: str
    phase: str
    next_phase: str
    decision: Decision
    answers: tuple[Answer, ...]
    rehearsal: bool = False

    def of(self, decision: Decision) -> list[Answer]:
        """The rows that ask for that decision; what is advisory asks for nothing."""
        return [a for a in self.answers if a.decision is decision and not a.criterion.advisory]

    def as_json(self) -> dict[str, Any]:
        """Plain data, deterministic: no instant, no path of the machine that judged."""
        return {
            "schema": 1,
            "plan": self.plan,
            "phase": self.phase,
            "next_phase": self.next_phase,
            "decision": self.decision.value,
            "rehearsal": self.rehearsal,
            "no_go": [a.criterion.id for a in self.of(Decision.NO_GO)],
            "hold": [a.criterion.id for a in self.of(Decision.HOLD)],
            "answers": [a.as_json() for a in self.answers],
        }


def decide_gate(answers: Sequence[Answer]) -> Decision:
    """NO-GO where anything failed, GO where everything passed, else HOLD; nothing at all is HOLD."""
    counted = [a for a in answers if not a.criterion.advisory]
    if any(a.decision is Decision.NO_GO for a in counted):
        return Decision.NO_GO
    if counted and all(a.decision is Decision.GO for a in counted):
        return Decision.GO
    return Decision.HOLD


def figure(value: float, unit: str) -> str:
    """A figure for people; a share is a percentage."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value * 100:.4g} %" if unit == "ratio" else f"{value:.4g} {unit}".rstrip()
