"""What soaks, drills, suites, monitoring checks, alerts and people say of a criterion. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.judge.gate import Reading, absent, broken
from harness.judge.phase_reading import meets, would_decide
from harness.judge.soak_verdict import SoakJudgement
from harness.model import Estimate, Interval, Verdict
from harness.scenario.rollout import Criterion, DrillStep

_FIGURES = 5  # P50, P95, P99, throughput, error rate


@dataclass(frozen=True)
class SoakEvidence:
    """A soak, judged: its results by name, the abort triggers that were met, how long it was observed."""

    judgement: SoakJudgement
    hours: float
    requests: int


def read_soak_of(criterion: Criterion, soaks: Sequence[SoakEvidence]) -> Reading:
    """What the soak of the phase says; of several the longest counts."""
    unit = criterion.quantity.unit
    if not soaks:
        return absent("soak", "no soak of this phase was given", unit)
    soak = max(soaks, key=lambda s: s.hours)
    if not soak.requests:
        return broken("soak", "it recorded no request", unit)
    measured = criterion.quantity.measure
    if measured == "hours":
        return _length(criterion, soak.hours)
    if measured == "aborted":
        return _exact(criterion, float(criterion.arguments["trigger"] in soak.judgement.aborts.met), 1)
    if measured == "baseline_figures":
        return _exact(criterion, float(_FIGURES if soak.requests else 0), soak.requests)
    result = soak.judgement.result(measured)
    if result is None:
        return absent("soak", f"the soak's scenario does not judge {measured}", unit)
    by_bound = meets(result.estimate.interval, criterion.op, criterion.bound)
    stricter = result.bound <= criterion.bound if result.below else result.bound >= criterion.bound
    verdict = result.verdict
    if verdict is Verdict.PASS and not stricter:
        verdict = by_bound
    if (criterion.op in (">", ">=") and result.below) or result.verdict is Verdict.UNSUPPORTED:
        verdict = by_bound if result.estimate.known else Verdict.INCONCLUSIVE
    if verdict not in (Verdict.PASS, Verdict.FAIL):
        verdict = Verdict.INCONCLUSIVE
    needed = would_decide(result.estimate, verdict, criterion.bound) if result.estimate.known else ""
    estimate = result.estimate
    if not estimate.known and verdict is Verdict.PASS:
        verdict = Verdict.INCONCLUSIVE
    return Reading("soak", estimate, verdict, result.reason, needed=needed)


def _length(criterion: Criterion, hours: float) -> Reading:
    """Too short is not bad; it is not enough."""
    estimate = Estimate(hours, Interval(hours, hours), "h", 1)
    if hours >= criterion.bound * 0.999:
        return Reading("soak", estimate, Verdict.PASS)
    note = f"observed {hours:.1f} of {criterion.bound:g} h"
    return Reading("soak", estimate, Verdict.INCONCLUSIVE, note, needed="more time")


def _exact(criterion: Criterion, value: float, samples: int) -> Reading:
    estimate = Estimate(value, Interval(value, value), criterion.quantity.unit, samples)
    verdict = meets(estimate.interval, criterion.op, criterion.bound) if samples else Verdict.INCONCLUSIVE
    return Reading(criterion.quantity.evidence[0], estimate, verdict)


@dataclass(frozen=True)
class DrillEvidence:
    """A recorded drill: its fault, its verdict as judged now, its recovery in the plan's seconds."""

    name: str
    fault: str
    dose: Mapping[str, Any]
    verdict: Verdict
    recovery: Estimate
    reason: str


def read_drills(criterion: Criterion, steps: Sequence[DrillStep], drills: Sequence[DrillEvidence]) -> Reading:
    """Whether the drills the phase asks for passed, or how long the longest recovery took."""
    wanted = [s for s in steps if criterion.arguments.get("fault") in (None, s.fault)]
    if not wanted:
        return absent("drills", "the plan asks for no such drill")
    if criterion.quantity.measure == "drill_recovery_s":
        return _recovery(criterion, wanted, drills)
    failed, open_ = [], []
    for step in wanted:
        verdict, why = _drill_verdict(step, drills)
        if verdict is Verdict.FAIL:
            failed.append(why)
        elif verdict is not Verdict.PASS:
            open_.append(why)
    bounds = Interval(len(failed), len(failed) + len(open_))
    estimate = Estimate(len(failed), bounds, "drills", len(wanted) - len(open_))
    note = "; ".join([*failed, *open_])
    if len(open_) == len(wanted):
        return absent("drills", note, "drills")
    return Reading("drills", estimate, meets(bounds, criterion.op, criterion.bound), note)


def _of_step(step: DrillStep, drills: Sequence[DrillEvidence]) -> list[DrillEvidence]:
    """The drills of that fault at no smaller a dose."""
    return [
        d
        for d in drills
        if d.fault == step.fault and all(float(d.dose.get(k, -1.0)) >= v for k, v in step.arguments.items())
    ]


def _drill_verdict(step: DrillStep, drills: Sequence[DrillEvidence]) -> tuple[Verdict, str]:
    found = _of_step(step, drills)
    if not found:
        return Verdict.INCONCLUSIVE, f"no drill of {step.fault} with the plan's dose was given"
    bad = [d for d in found if d.verdict in (Verdict.FAIL, Verdict.ABORTED)]
    if bad:
        return Verdict.FAIL, f"{bad[0].name} {bad[0].verdict.value}: {bad[0].reason}"
    if any(d.verdict is Verdict.PASS for d in found):
        return Verdict.PASS, ""
    return Verdict.INCONCLUSIVE, f"{found[-1].name} {found[-1].verdict.value}: {found[-1].reason}"


def _recovery(criterion: Criterion, steps: Sequence[DrillStep], drills: Sequence[DrillEvidence]) -> Reading:
    estimates = []
    for step in steps:
        decided = [d for d in _of_step(step, drills) if d.verdict in (Verdict.PASS, Verdict.FAIL)]
        known = [d.recovery for d in decided if d.recovery.known]  # what a doubtful drill measured decides nothing
        if not known:
            return absent("drills", f"no drill of {step.fault} that was decided recorded a recovery", "s")
        estimates.append(max(known, key=lambda e: e.interval.high))
    low, high = max(e.interval.low for e in estimates), max(e.interval.high for e in estimates)
    value = max(e.value for e in estimates)
    estimate = Estimate(value, Interval(low, high), "s", min(e.samples for e in estimates))
    verdict = meets(estimate.interval, criterion.op, criterion.bound)
    note = "; ".join(dict.fromkeys(e.note for e in estimates if e.note))
    return Reading("drills", estimate, verdict, note)


@dataclass(frozen=True)
class Suite:
    """A test suite's result: how many tests, how many of them did not pass."""

    tests: int
    failures: int


def read_suites(criterion: Criterion, suites: Mapping[str, Suite]) -> Reading:
    """Failures of the suites a criterion names; a suite that is missing or ran nothing is not known."""
    wanted = [str(name) for name in criterion.arguments.get("suites", ())]
    missing = [name for name in wanted if name not in suites or suites[name].tests == 0]
    failures = sum(suites[name].failures for name in wanted if name in suites)
    tests = sum(suites[name].tests for name in wanted if name in suites)
    if missing and not failures:
        return absent("tests", f"no results of {', '.join(missing)}", "tests")
    estimate = Estimate(failures, Interval(failures, failures), "tests", tests)
    return Reading("tests", estimate, meets(estimate.interval, criterion.op, criterion.bound))


def read_monitoring(criterion: Criterion, checks: Mapping[str, Verdict]) -> Reading:
    """Checks of the monitoring stack that do not pass; one that was not made is not known."""
    wanted = [str(name) for name in criterion.arguments.get("checks", ())]
    missing = [name for name in wanted if checks.get(name) not in (Verdict.PASS, Verdict.FAIL)]
    bad = [name for name in wanted if checks.get(name) is Verdict.FAIL]
    if missing and not bad:
        return absent("monitoring", f"not checked: {', '.join(missing)}", "checks")
    estimate = Estimate(len(bad), Interval(len(bad), len(bad)), "checks", len(wanted))
    note = f"does not pass: {', '.join(bad)}" if bad else ""
    return Reading("monitoring", estimate, meets(estimate.interval, criterion.op, criterion.bound), note)


@dataclass(frozen=True)
class AlertRecord:
    """The alerts that fired in a phase, by name; ``problem`` where the record cannot be believed."""

    fired: Mapping[str, int]
    problem: str = ""


def read_alerts(criterion: Criterion, record: AlertRecord | None) -> Reading:
    """How many of the named alerts fired."""
    if record is None:
        return absent("alerts", "no alerts of this phase were recorded", "alerts")
    if record.problem:
        return broken("alerts", record.problem, "alerts")
    fired = [str(name) for name in criterion.arguments.get("alerts", ()) if record.fired.get(str(name), 0)]
    estimate = Estimate(len(fired), Interval(len(fired), len(fired)), "alerts", 1)
    note = f"fired: {', '.join(fired)}" if fired else ""
    return Reading("alerts", estimate, meets(estimate.interval, criterion.op, criterion.bound), note)


@dataclass(frozen=True)
class Attestation:
    """What a person said of an item in a phase: yes or no, on what evidence, and a figure where one is asked for."""

    phase: str
    item: str
    by: str
    evidence: str
    holds: bool
    value: float | None
    at: str
    corrects: bool = False


def read_attestation(criterion: Criterion, found: Attestation | None) -> Reading:
    """A person's word; where the criterion has a bound, the figure they gave is held against it."""
    unit = criterion.quantity.unit
    if found is None:
        return absent("attestation", "nobody has attested it", unit)
    said = f"by {found.by}: {found.evidence}"
    if math.isnan(criterion.bound) or criterion.quantity.name == "attested":
        holds = found.holds if criterion.op != "!=" else not found.holds
        estimate = Estimate(float(holds), Interval(float(holds), float(holds)), "", 1)
        return Reading("attestation", estimate, Verdict.PASS if holds else Verdict.FAIL, said)
    if found.value is None:
        return absent("attestation", f"a figure is needed, with --value ({said})", unit)
    estimate = Estimate(found.value, Interval(found.value, found.value), unit, 1)
    verdict = meets(estimate.interval, criterion.op, criterion.bound) if found.holds else Verdict.FAIL
    return Reading("attestation", estimate, verdict, said)
