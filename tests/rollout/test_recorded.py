"""Everything a plan asks is recorded by something, or explicitly said by a person: a gate nobody can feed is no gate.

Every witness that a criterion names must be able to speak, not just one of them: the client's measures, the service's
metrics, the soak's criteria, and so on, each looked up where it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from harness.judge.gate import Decision
from harness.judge.gate_records import AlertRecord, read_alerts
from harness.judge.incidents import read_incidents
from harness.judge.phase_compare import measured_against
from harness.judge.phase_gate import judge_gate
from harness.judge.phase_measures import MEASURES
from harness.monitoring.boards import boards
from harness.monitoring.rules import alert_names
from harness.reference.defects import Defects
from harness.reference.metrics import Metrics
from harness.rollout.attestations import attestable
from harness.rollout.plan import Criterion, Phase, Plan, Quantity, load_plan, plan_names
from harness.scenario.incidents import IncidentList
from harness.scenario.monitoring import MonitoringSpec, load_monitoring
from harness.scenario.rollout import EVIDENCE
from harness.scenario.slo import load_objectives
from harness.scenario.soak import load_soak
from harness.settings import scenarios_folder
from tests.rollout.full_size import World

ROOT = Path(__file__).parents[2]
PLANS = [load_plan(name) for name in plan_names()]
_METRIC = re.compile(r"\b(?:engram|process)_\w+|\bup(?=\{)")
OF_A_SOAK = {"hours", "aborted", "baseline_figures"}  # read from a soak's record whatever its scenario judges


def criteria_of(plan: Plan) -> Iterator[tuple[Phase, Criterion]]:
    """Every criterion and trigger of a plan with its phase; the checks of ``harness validate`` go with the last one."""
    for phase in plan.phases:
        yield from ((phase, criterion) for criterion in phase.criteria)
        yield from ((phase, trigger.safe) for trigger in plan.triggers_of(phase))
    yield from ((plan.phases[-1], criterion) for criterion in plan.validation)


ASKED = [(plan, phase, criterion) for plan in PLANS for phase, criterion in criteria_of(plan)]


@cache
def spec() -> MonitoringSpec:
    """The monitoring as the repository ships it."""
    return load_monitoring(scenarios_folder() / "monitoring.toml", load_objectives(scenarios_folder() / "slo.toml"))


@cache
def exported() -> frozenset[str]:
    """What the service exports, by the reference; ``up`` is Prometheus's own."""
    metrics = Metrics(Defects(), lambda: False, 1e9)
    families = [family for part in (metrics.base, metrics.dual) for family in part.collect()]
    return frozenset({sample.name for family in families for sample in family.samples} | {"up"})


def unexported(quantity: Quantity) -> str:
    """Which metric of a quantity's query nobody exports, or nothing."""
    names = set(_METRIC.findall(quantity.query))
    return "no query" if not names else ", ".join(sorted(names - exported()))


def silent(plan: Plan, phase: Phase, criterion: Criterion, kind: str) -> str:
    """Why a witness can never speak of a criterion, or nothing."""
    measured, arguments = criterion.quantity.measure, criterion.arguments
    if kind == "run":
        known = measured_against(criterion.against) if criterion.against else frozenset(MEASURES)
        return "" if measured in known else f"no client measures {measured} (against {criterion.against or 'nothing'})"
    if kind == "prometheus":
        return unexported(criterion.quantity)
    if kind == "soak":
        soak = load_soak(scenarios_folder() / "soak" / "phase0.toml")
        if measured == "aborted":
            return "" if arguments["trigger"] in {a.name for a in soak.aborts} else f"no trigger {arguments['trigger']}"
        return "" if measured in OF_A_SOAK or soak.criterion(measured) else f"no soak judges {measured}"
    if kind == "drills":
        steps = [s for s in phase.drills if arguments.get("fault") in (None, s.fault)]
        there = steps and all(any((ROOT / "drills" / s.drill).glob("test_*.py")) for s in steps)
        return "" if there else "no such drill"
    return _silent_record(plan, phase, criterion, kind)


def _silent_record(plan: Plan, phase: Phase, criterion: Criterion, kind: str) -> str:
    arguments = criterion.arguments
    if kind == "tests":
        files = [ROOT / "drills" / "phase0" / f"test_{name}.py" for name in arguments["suites"]]
        return "" if files and all(file.is_file() for file in files) else "no such suite"
    if kind == "monitoring":
        made = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "harness/monitoring").glob("valid*.py"))
        uids = {f"dashboard {board.uid}" for board in boards(spec())}
        unmade = [name for name in arguments["checks"] if f'"{name}"' not in made and name not in uids]
        return f"never checked: {unmade}" if unmade or not arguments["checks"] else ""
    if kind == "alerts":
        unknown = set(arguments["alerts"]) - set(alert_names(spec()))
        assert read_alerts(criterion, AlertRecord({})).estimate.known
        return f"no rules of {sorted(unknown)}" if unknown or not arguments["alerts"] else ""
    if kind == "incidents":
        covered = IncidentList((), {one.name: 1.0 for one in plan.phases})
        return "" if read_incidents(criterion, covered, phase.name, 1.0).estimate.known else "no incident counts"
    if kind == "attestation":
        return "" if criterion.attested and criterion.id in attestable(plan, phase) else "nobody is asked"
    return f"there is no witness {kind}"


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_every_criterion_is_recorded_or_attested(plan: Plan) -> None:
    wrong = [
        f"{criterion.id} by {kind}: {why}"
        for phase, criterion in criteria_of(plan)
        for kind in criterion.quantity.evidence or ("nothing",)
        if (why := silent(plan, phase, criterion, kind))
    ]
    assert wrong == []


def test_the_walk_reaches_every_kind_of_evidence_and_sees_what_is_not_recorded() -> None:
    assert {kind for _, _, criterion in ASKED for kind in criterion.quantity.evidence} == set(EVIDENCE)
    plan = load_plan("task015")
    phase = plan.phase("canary")
    criterion = phase.criterion("confidence")
    assert criterion is not None
    unknown = _with(criterion, measure="mood", query="sum(engram_mood_total)")
    assert "mood" in silent(plan, phase, unknown, "run")
    assert silent(plan, phase, unknown, "prometheus") == "engram_mood_total"
    assert silent(plan, phase, unknown, "soak") and silent(plan, phase, unknown, "attestation")


def _with(criterion: Criterion, **changed: str) -> Criterion:
    from dataclasses import replace

    return replace(criterion, quantity=replace(criterion.quantity, **changed))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_whatever_is_watched_is_exported(plan: Plan) -> None:
    """Monitoring targets, objectives and symptoms are queries for people and dashboards; the gate does not ask them."""
    watched = [(t.id, t.quantity) for phase in plan.phases for t in (*phase.monitoring_targets, *phase.slos)]
    watched += [(f"{i.id}: {s.text}", s.quantity) for i in plan.issues for s in i.symptoms if s.quantity is not None]
    assert watched
    assert [f"{name}: {why}" for name, quantity in watched if quantity.query and (why := unexported(quantity))] == []


def test_what_the_client_asks_of_the_services_metrics_is_exported() -> None:
    """The probe keeps every metric of the service; a measure that asks for another one would never be known."""
    files = sorted((ROOT / "harness" / "judge").glob("phase_*.py"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    asked = set(re.findall(r'"((?:engram_|process_resident)\w+)', text))
    assert len(asked) > 10
    assert {name for name in asked if not {name, f"{name}_bucket"} & exported()} == set()


TASK = load_plan("task015")


@pytest.mark.parametrize("phase", [phase.name for phase in TASK.phases])
def test_healthy_weeks_pass_every_gate_of_task_015(phase: str) -> None:
    result = judge_gate(TASK, TASK.phase(phase), World().evidence(TASK, phase))
    wrong = [(a.criterion.id, a.reason) for a in result.answers if a.decision is not Decision.GO]
    assert result.decision is Decision.GO, wrong
