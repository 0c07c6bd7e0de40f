"""A phase's gate: every criterion, trigger and item, and the phase's length, answered from evidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.judge.gate import Answer, GateResult, Reading, absent, answer, decide_gate
from harness.judge.gate_records import (
    AlertRecord,
    Attestation,
    DrillEvidence,
    SoakEvidence,
    Suite,
    read_alerts,
    read_attestation,
    read_drills,
    read_monitoring,
    read_soak_of,
    read_suites,
)
from harness.judge.incidents import read_incidents
from harness.judge.phase_reading import meets, read_runs, read_trigger
from harness.judge.phase_runs import PhaseRuns
from harness.judge.service_series import ServiceRecord, read_service, read_service_trigger
from harness.model import Estimate, Interval, Verdict
from harness.scenario.incidents import IncidentList
from harness.scenario.rollout import Criterion, Item, Phase, Plan, Quantity, Trigger

_LENGTH = Quantity("phase_length_s", "how long the phase was observed", "s", ("run",), "", "", "", "last", "high")
_WORD = Quantity("attested", "said by a person, with evidence", "", ("attestation",), "", "", "", "last", "high")
EVERY_PHASE = "every_phase"


@dataclass(frozen=True)
class Evidence:
    """Everything a gate may look at, by phase where it belongs to one."""

    runs: Mapping[str, PhaseRuns] = field(default_factory=dict)
    services: Mapping[str, ServiceRecord] = field(default_factory=dict)
    soaks: Mapping[str, Sequence[SoakEvidence]] = field(default_factory=dict)
    drills: Mapping[str, Sequence[DrillEvidence]] = field(default_factory=dict)
    alerts: Mapping[str, AlertRecord] = field(default_factory=dict)
    suites: Mapping[str, Suite] = field(default_factory=dict)
    monitoring: Mapping[str, Verdict] = field(default_factory=dict)
    incidents: IncidentList | None = None
    attestations: Mapping[tuple[str, str], Attestation] = field(default_factory=dict)

    def length_s(self, phase: str) -> float:
        """How long a phase was observed, in the plan's time: by the witness that saw most of it."""
        runs, service = self.runs.get(phase), self.services.get(phase)
        spans = [runs.covered_s if runs is not None else 0.0]
        if service is not None and not service.problem:
            spans += [found.end - found.start for found in service.series.values() if not found.problem()][:1]
        spans += [soak.hours * 3600.0 for soak in self.soaks.get(phase, ())]
        return max(spans)

    def attested(self, phase: str, item: str) -> Attestation | None:
        """What was said of an item in a phase."""
        return self.attestations.get((phase, item))


def judge_gate(plan: Plan, phase: Phase, evidence: Evidence, *, rehearsal: bool = False) -> GateResult:
    """Answer a phase's gate."""
    judge = _Judge(plan, phase, evidence)
    answers = [judge.length()]
    answers += [judge.criterion(c) for c in phase.criteria]
    answers += [judge.trigger(t) for t in plan.triggers_of(phase)]
    answers += [judge.item(i) for i in items_of(plan, phase)]
    following = plan.after(phase)
    name = following.name if following is not None else ""
    return GateResult(plan.name, phase.name, name, decide_gate(answers), tuple(answers), rehearsal)


def answer_criteria(plan: Plan, phase: Phase, criteria: Sequence[Criterion], evidence: Evidence) -> list[Answer]:
    """Answer criteria that are not a phase's own, from the evidence of a phase."""
    judge = _Judge(plan, phase, evidence)
    return [judge.criterion(criterion) for criterion in criteria]


def items_of(plan: Plan, phase: Phase) -> list[Item]:
    """What people attest at a phase's gate: every phase's list, its own, and at the first gate all the others."""
    first = plan.phases[0] is phase
    lists = [c.items for c in plan.checklists.values() if c.name == EVERY_PHASE or first]
    return [item for items in [*lists, phase.checklist] for item in items]


class _Judge:
    def __init__(self, plan: Plan, phase: Phase, evidence: Evidence) -> None:
        self._plan = plan
        self._phase = phase
        self._evidence = evidence

    def length(self) -> Answer:
        """The phase ran as long as the plan asks for."""
        least = self._phase.minimum_duration_s
        seen = self._evidence.length_s(self._phase.name)
        criterion = _made(
            f"{self._phase.name}.minimum_duration",
            f"the phase ran for {least / 86_400:g} days",
            _LENGTH,
            self._phase.source,
            op=">=",
            bound=least,
        )
        estimate = Estimate(seen, Interval(seen, seen), "s", 1)
        verdict = meets(estimate.interval, ">=", least * 0.99)
        if verdict is Verdict.FAIL:  # too short is not bad, it is not enough
            note = f"observed for {seen / 86_400:.2f} of {least / 86_400:g} days"
            reading = Reading("run", estimate, Verdict.INCONCLUSIVE, note, needed="more time")
        else:
            reading = Reading("run", estimate, verdict)
        return answer(criterion, "duration", [reading])

    def criterion(self, criterion: Criterion) -> Answer:
        """One criterion, by all its witnesses."""
        return answer(criterion, "criterion", [self._read(criterion, kind) for kind in criterion.quantity.evidence])

    def trigger(self, trigger: Trigger) -> Answer:
        """One trigger: PASS while it was not met."""
        name = self._phase.name
        readings: list[Reading] = []
        for kind in trigger.quantity.evidence:
            if kind == "run":
                readings.append(read_trigger(trigger, self._evidence.runs.get(name), self._evidence.runs))
            elif kind == "prometheus":
                service = self._evidence.services
                readings.append(read_service_trigger(trigger, service.get(name), service))
            else:
                readings.append(self._read(trigger.safe, kind))
        if trigger.kind == "strategic" and trigger.quantity.evidence == ("attestation",):
            readings = [_not_raised(r) for r in readings]
        return answer(trigger.safe, "trigger", readings, trigger.action)

    def item(self, item: Item) -> Answer:
        """One item of a checklist."""
        criterion = _made(item.id, item.text, _WORD, item.source)
        return answer(
            criterion, "checklist", [read_attestation(criterion, self._evidence.attested(self._phase.name, item.id))]
        )

    def _read(self, criterion: Criterion, kind: str) -> Reading:
        evidence, name = self._evidence, self._phase.name
        if kind == "run":
            return read_runs(criterion, evidence.runs.get(name), evidence.runs)
        if kind == "prometheus":
            return read_service(criterion, evidence.services.get(name), evidence.services)
        if kind == "soak":
            return read_soak_of(criterion, evidence.soaks.get(name, ()))
        if kind == "drills":
            return read_drills(criterion, self._phase.drills, evidence.drills.get(name, ()))
        if kind == "tests":
            return read_suites(criterion, evidence.suites)
        if kind == "monitoring":
            return read_monitoring(criterion, evidence.monitoring)
        if kind == "alerts":
            return read_alerts(criterion, evidence.alerts.get(name))
        if kind == "incidents":
            return read_incidents(criterion, evidence.incidents, name, evidence.length_s(name))
        if kind == "attestation":
            return read_attestation(criterion, evidence.attested(name, criterion.id))
        return absent(kind, f"no reader of {kind}")


def _not_raised(reading: Reading) -> Reading:
    """Nobody has to attest that nobody wants to turn back."""
    if reading.estimate.known or reading.broken:
        return reading
    return Reading(reading.witness, Estimate(0.0, Interval(0.0, 0.0), "", 1), Verdict.PASS, "not raised")


def _made(id: str, text: str, quantity: Quantity, source: str, *, op: str = "", bound: float = math.nan) -> Criterion:
    return Criterion(id=id, text=text, quantity=quantity, op=op, bound=bound, source=source)
