"""Ways to break the evidence of a gate, each of something that gate's verdict rests on.

A witness that no criterion of the gate listens to may say what it likes; so what a break may touch is read from the
gate's own answers on healthy evidence (:class:`Gate`), and from what the measures ask the record for.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import field
from functools import cached_property

import numpy as np

from harness.judge.gate import Answer, Decision, GateResult
from harness.judge.gate_records import AlertRecord
from harness.judge.phase_gate import Evidence, judge_gate
from harness.judge.phase_measures import MEASURES
from harness.judge.phase_runs import PhaseRun, PhaseRuns
from harness.judge.service_series import Recorded, ServiceRecord
from harness.model import Estimate, Interval, Verdict
from harness.rollout.plan import load_plan
from harness.scenario.rollout import CONTROL
from harness.timeline.samples import empty_samples
from tests.rollout.full_size import Floats, World


class _Counted(PhaseRuns):
    """Runs that remember which counters were asked for."""

    def __init__(self, runs: tuple[PhaseRun, ...], seen: set[str]) -> None:
        super().__init__(runs)
        self._seen = seen

    def counters(self, name: str) -> tuple[float, str]:
        self._seen.add(name)
        return super().counters(name)


@dataclasses.dataclass(frozen=True)
class Gate:
    """One gate of one plan, its healthy evidence, and what its answer rests on."""

    plan_name: str
    phase_name: str
    world: World = field(default_factory=World)

    @cached_property
    def healthy(self) -> Evidence:
        """Evidence that this gate lets pass."""
        return self.world.evidence(load_plan(self.plan_name), self.phase_name)

    def judge(self, evidence: Evidence) -> GateResult:
        """What the gate says of some evidence."""
        plan = load_plan(self.plan_name)
        return judge_gate(plan, plan.phase(self.phase_name), evidence)

    @cached_property
    def binding(self) -> tuple[Answer, ...]:
        """The answers that the healthy GO rests on: what is advisory, or not raised by anybody, does not."""
        answers = self.judge(self.healthy).answers
        binding = [a for a in answers if not a.criterion.advisory and a.kind != "duration"]  # any witness gives that
        return tuple(a for a in binding if a.decision is Decision.GO and _known(a))

    def witnessed(self, kind: str) -> list[Answer]:
        """The answers in which a witness of that kind had its say."""
        return [a for a in self.binding if any(r.witness == kind and r.estimate.known for r in a.readings)]

    def only(self, kind: str) -> bool:
        """Whether some answer has no other witness than this."""
        return any(len(a.readings) == 1 for a in self.witnessed(kind))

    @cached_property
    def queries(self) -> list[tuple[str, str]]:
        """(phase, query) of every series that is listened to."""
        found = []
        for answer in self.witnessed("prometheus"):
            quantity, against = answer.criterion.quantity, answer.criterion.against
            found.append((self.phase_name, quantity.query_for("canary")))
            if against == CONTROL:
                found.append((self.phase_name, quantity.query_for("control")))
            elif against:
                found.append((against, quantity.query_for("canary")))
        return sorted(set(found))

    @cached_property
    def counters(self) -> list[str]:
        """The service's counters that the runs' measures of this gate ask for."""
        seen: set[str] = set()
        for answer in self.witnessed("run"):
            measured = MEASURES.get(answer.criterion.quantity.measure)
            if measured is not None and not answer.criterion.against:
                measured(_Counted(self.healthy.runs[self.phase_name].runs, seen))
        return sorted(seen)

    def with_series(self, phase: str, query: str, recorded: Recorded) -> Evidence:
        """The healthy evidence but for one query's recording."""
        services = self.healthy.services
        changed = ServiceRecord({**services[phase].series, query: recorded})
        return dataclasses.replace(self.healthy, services={**services, phase: changed})

    def with_run(self, place: int, run: PhaseRun) -> Evidence:
        """The healthy evidence but for one of the phase's runs."""
        runs = list(self.healthy.runs[self.phase_name].runs)
        runs[place] = run
        return dataclasses.replace(self.healthy, runs={**self.healthy.runs, self.phase_name: PhaseRuns(runs)})


def _known(answer: Answer) -> bool:
    return any(r.estimate.known and r.note != "not raised" for r in answer.readings)


Break = Callable[[Gate, random.Random], Evidence | None]  # None: nothing of the kind at this gate


def _series(change: Callable[[Recorded, random.Random], Recorded]) -> Break:
    """Break the recording of one query that is listened to."""

    def broken(gate: Gate, draw: random.Random) -> Evidence | None:
        if not gate.queries:
            return None
        phase, query = draw.choice(gate.queries)
        return gate.with_series(phase, query, change(gate.healthy.services[phase].series[query], draw))

    return broken


def _with(recorded: Recorded, values: Floats) -> Recorded:
    return dataclasses.replace(recorded, series=(values,))


def _nan(recorded: Recorded, draw: random.Random) -> Recorded:
    values = recorded.series[0].copy()
    values[np.array(draw.sample(range(len(values)), k=draw.randint(len(values) // 50 + 1, len(values))))] = np.nan
    return _with(recorded, values)


def _gap(recorded: Recorded, draw: random.Random) -> Recorded:
    values = recorded.series[0].copy()
    start = draw.randrange(0, len(values) - len(values) // 20)
    values[start : start + draw.randint(len(values) // 40 + 1, len(values) // 2)] = np.nan
    return _with(recorded, values)


def _early_end(recorded: Recorded, draw: random.Random) -> Recorded:
    return _with(recorded, recorded.series[0][: draw.randint(0, len(recorded.series[0]) - 2)])


def _late(recorded: Recorded, draw: random.Random) -> Recorded:
    values = recorded.series[0].copy()
    values[-draw.randint(1, len(values) // 2) :] = np.nan
    return _with(recorded, values)


def _reset(recorded: Recorded, draw: random.Random) -> Recorded:
    """What a difference of counters shows where one went back to zero."""
    values = recorded.series[0].copy()
    if recorded.query.startswith("max(deriv"):
        values[:] = np.nan
        return _with(recorded, values)
    values[draw.randrange(len(values))] = -abs(draw.gauss(5.0, 3.0)) - 0.1
    return _with(recorded, values)


def _none(recorded: Recorded, draw: random.Random) -> Recorded:
    return dataclasses.replace(recorded, series=())


def _infinite(recorded: Recorded, draw: random.Random) -> Recorded:
    return _with(recorded, np.full_like(recorded.series[0], draw.choice([np.inf, -np.inf])))


def _down(gate: Gate, draw: random.Random) -> Evidence | None:
    """Prometheus could not be asked of this phase, or of one it is held against."""
    if not gate.queries:
        return None
    phase = draw.choice(sorted({phase for phase, _ in gate.queries}))
    record = dataclasses.replace(gate.healthy.services[phase], problem="Prometheus: connection refused")
    return dataclasses.replace(gate.healthy, services={**gate.healthy.services, phase: record})


def _run(change: Callable[[PhaseRun, random.Random], PhaseRun]) -> Break:
    """Break one of the nightly runs."""

    def broken(gate: Gate, draw: random.Random) -> Evidence | None:
        if not gate.witnessed("run"):
            return None
        place = draw.randrange(len(gate.healthy.runs[gate.phase_name].runs))
        return gate.with_run(place, change(gate.healthy.runs[gate.phase_name].runs[place], draw))

    return broken


def _zero_samples(run: PhaseRun, draw: random.Random) -> PhaseRun:
    return PhaseRun(dataclasses.replace(run.record, samples=empty_samples(), streams={}), run.name)


def _killed(run: PhaseRun, draw: random.Random) -> PhaseRun:
    return PhaseRun(dataclasses.replace(run.record, events=run.record.events[:-1]), run.name)


def _nan_instants(run: PhaseRun, draw: random.Random) -> PhaseRun:
    samples = run.record.samples.copy()
    samples["done"][draw.randrange(len(samples) // 2) :] = np.nan
    return PhaseRun(dataclasses.replace(run.record, samples=samples), run.name)


def _no_stream(run: PhaseRun, draw: random.Random) -> PhaseRun:
    """A probe recorded nothing in one run."""
    gone = draw.choice(sorted(run.record.streams))
    kept = {name: rows for name, rows in run.record.streams.items() if name != gone}
    return PhaseRun(dataclasses.replace(run.record, streams=kept), run.name)


def _unsure(gate: Gate, draw: random.Random) -> Evidence | None:
    """Confidences of one run's answers are gone: all of them, some of them, or the answers with them."""
    if not any(a.criterion.quantity.measure == "recall_confidence" for a in gate.witnessed("run")):
        return None
    place = draw.randrange(len(gate.healthy.runs[gate.phase_name].runs))
    run = gate.healthy.runs[gate.phase_name].runs[place]
    answers = run.record.answers.copy()
    way = draw.choice(["none of a run", "some", "an early end", "no answers"])
    if way == "an early end":
        answers = answers[: draw.randrange(1, len(answers) - len(answers) // 20)]
    elif way == "no answers":
        answers = answers[:0]
    else:
        few = draw.sample(range(len(answers)), k=draw.randint(len(answers) // 50 + 1, len(answers)))
        answers["confidence"][slice(None) if way == "none of a run" else np.array(few)] = np.nan
    return gate.with_run(place, PhaseRun(dataclasses.replace(run.record, answers=answers), run.name))


def _backwards(gate: Gate, draw: random.Random) -> Evidence | None:
    """A counter of the service that is asked for starts anew in the middle."""
    if not gate.counters:
        return None
    place, name = draw.randrange(len(gate.healthy.runs[gate.phase_name].runs)), draw.choice(gate.counters)
    run = gate.healthy.runs[gate.phase_name].runs[place]
    rows = [dict(row) for row in run.record.streams["service"]]
    for row in rows[len(rows) // 2 + draw.randint(-50, 50) :]:
        row["values"] = {**row["values"], name: -1.0}
    streams = {**run.record.streams, "service": tuple(rows)}
    return gate.with_run(place, PhaseRun(dataclasses.replace(run.record, streams=streams), run.name))


def _unsaid(gate: Gate, draw: random.Random) -> Evidence | None:
    """Nobody attested one item, or one criterion that only a person can answer."""
    # What is raised where it applies (a cost over budget) is owed by nobody: a trigger is no item.
    said = [a for a in gate.witnessed("attestation") if a.kind != "trigger"]
    items = [a.criterion.id for a in said if len(a.readings) == 1]
    if not items:
        return None
    gone = (gate.phase_name, draw.choice(items))
    words = {key: word for key, word in gate.healthy.attestations.items() if key != gone}
    assert len(words) < len(gate.healthy.attestations)
    return dataclasses.replace(gate.healthy, attestations=words)


_FIELDS = {"run": "runs", "prometheus": "services", "soak": "soaks", "drills": "drills", "alerts": "alerts"}
_FIELDS |= {"tests": "suites", "monitoring": "monitoring", "attestation": "attestations", "incidents": "incidents"}


def _missing(gate: Gate, draw: random.Random) -> Evidence | None:
    """A kind of evidence that some criterion has nothing beside was not given at all."""
    kind = draw.choice([k for k in _FIELDS if gate.only(k)])
    return dataclasses.replace(gate.healthy, **{_FIELDS[kind]: None if kind == "incidents" else {}})  # type: ignore[arg-type]


def _records(gate: Gate, draw: random.Random) -> Evidence | None:
    """A soak that ended early or saw nothing, a drill that decided nothing, alerts or incidents not seen to the end."""
    phase, healthy = gate.phase_name, gate.healthy
    kinds = [k for k in ("soak", "drills", "tests", "monitoring", "alerts", "incidents") if gate.only(k)]
    if not kinds:
        return None
    kind = draw.choice(kinds)
    if kind == "soak":
        soak = healthy.soaks[phase][0]
        ended = dataclasses.replace(soak, hours=draw.uniform(0, 23.9))
        changed = draw.choice([ended, dataclasses.replace(soak, requests=0)])
        return dataclasses.replace(healthy, soaks={phase: [changed]})
    if kind == "drills":
        drills = list(healthy.drills[phase])
        place = draw.randrange(len(drills))
        nothing = Estimate(float("nan"), Interval(float("nan"), float("nan")), "s", 0)
        undecided = draw.choice([Verdict.INCONCLUSIVE, Verdict.NOT_EXERCISED, Verdict.ABORTED, Verdict.UNSUPPORTED])
        drills[place] = dataclasses.replace(drills[place], verdict=undecided, recovery=nothing)
        return dataclasses.replace(healthy, drills={**healthy.drills, phase: drills})
    if kind == "alerts":
        unseen = {**healthy.alerts, phase: AlertRecord({}, "rules were not loaded for an hour")}
        return dataclasses.replace(healthy, alerts=unseen)
    if kind == "incidents":
        assert healthy.incidents is not None
        covered = {**healthy.incidents.covers_s, phase: healthy.incidents.covers_s[phase] * draw.uniform(0, 0.95)}
        return dataclasses.replace(healthy, incidents=dataclasses.replace(healthy.incidents, covers_s=covered))
    return _unchecked(gate, draw, kind)


def _unchecked(gate: Gate, draw: random.Random, kind: str) -> Evidence:
    """A suite that ran no test, a check of the monitoring stack that was not made: one that a criterion names."""
    named = "suites" if kind == "tests" else "checks"
    wanted = sorted({name for a in gate.witnessed(kind) for name in a.criterion.arguments.get(named, ())})
    name = draw.choice(wanted)
    if kind == "tests":
        empty = dataclasses.replace(gate.healthy.suites[name], tests=0)
        return dataclasses.replace(gate.healthy, suites={**gate.healthy.suites, name: empty})
    return dataclasses.replace(gate.healthy, monitoring={**gate.healthy.monitoring, name: Verdict.INCONCLUSIVE})


BREAKS: tuple[tuple[str, Break], ...] = (
    ("NaN", _series(_nan)),
    ("gap", _series(_gap)),
    ("early end", _series(_early_end)),
    ("late data", _series(_late)),
    ("counter reset", _series(_reset)),
    ("no series", _series(_none)),
    ("infinite", _series(_infinite)),
    ("Prometheus down", _down),
    ("zero samples", _run(_zero_samples)),
    ("run killed", _run(_killed)),
    ("NaN instants", _run(_nan_instants)),
    ("no readings of a probe", _run(_no_stream)),
    ("counter of a run reset", _backwards),
    ("confidences gone", _unsure),
    ("not attested", _unsaid),
    ("a kind missing", _missing),
    ("records broken off", _records),
)
