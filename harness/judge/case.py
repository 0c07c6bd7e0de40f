"""Judging one case: what had to hold for the case to mean anything, then what the drill asserted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.judge import alerting, monitoring, quantities, rollback
from harness.judge.checks import Check, CheckResult, answer, check_from_json
from harness.judge.durability import BAD
from harness.judge.steady_state import steady_state
from harness.judge.summary import CaseSummary
from harness.model import SCHEMA_VERSION, Estimate, Verdict, json_number
from harness.timeline.record import CaseRecord


@dataclass(frozen=True)
class Condition:
    """Something that must hold for a case to pass, whatever the drill asserts."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class CaseJudgement:
    """A case, judged."""

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]
    conditions: tuple[Condition, ...]
    checks: tuple[CheckResult, ...]
    summary: CaseSummary


def judge_case(record: CaseRecord) -> CaseJudgement:
    """Judge a recorded case. The same record always gives the same judgement."""
    summary = CaseSummary(record)
    checks = tuple(answer(summary, check_from_json(c)) for c in record.checks.get("checks", []))
    ended = str(record.checks.get("ended", "never"))
    undecided = any(c.verdict is Verdict.INCONCLUSIVE for c in checks)
    conditions = tuple(conditions_of(summary, ended, len(checks), undecided))
    verdict = Verdict.worst([*(c.verdict for c in conditions), *(c.verdict for c in checks)])
    reasons = [f"{c.name}: {c.detail}" for c in conditions if c.verdict is not Verdict.PASS]
    reasons += [c.reason for c in checks if c.verdict is not Verdict.PASS]
    return CaseJudgement(record.name, verdict, tuple(reasons), conditions, checks, summary)


def conditions_of(summary: CaseSummary, ended: str, checks: int, undecided: bool) -> list[Condition]:
    """The conditions of a PASS that no drill has to spell out (DESIGN.md, "Verdicts")."""
    record = summary.record
    skipped = record.last("unsupported")
    if skipped is not None:
        return [Condition("capabilities", Verdict.UNSUPPORTED, str(skipped.get("reason", "")))]
    aborted = record.last("aborted")
    if aborted is not None:
        return [Condition("run", Verdict.ABORTED, str(aborted.get("reason", "aborted")))]
    if record.last("run_ended") is None:
        return [Condition("run", Verdict.ABORTED, "the record ends before the run did: the harness was killed")]
    found = [Condition("run", Verdict.PASS, "ran to its end")]
    found += _steady(summary)
    if record.first("baseline_rejected") is None:
        found += [_exercised(summary), _healed(summary), *_rolled_back(summary)]
        found += [_load_held(summary), *_monitoring(summary)]
    found += _durability(summary)
    if ended != "completed":
        found += _body(ended, found, undecided)
    elif checks == 0:
        found.append(Condition("checks", Verdict.INCONCLUSIVE, "the drill asserted nothing"))
    return found


def _body(ended: str, found: list[Condition], undecided: bool) -> list[Condition]:
    """How the drill's body ended. A failed or undecided check speaks for itself; anything else is no pass."""
    if ended == "assertion" or undecided or any(c.verdict is not Verdict.PASS for c in found):
        return []
    return [Condition("drill", Verdict.INCONCLUSIVE, f"the drill did not run to its end ({ended})")]


def _steady(summary: CaseSummary) -> list[Condition]:
    reasons = steady_state(summary).reasons
    found = [Condition("steady state", Verdict.INCONCLUSIVE, reason) for reason in reasons]
    return found or [Condition("steady state", Verdict.PASS, "in tolerance before the fault")]


def _exercised(summary: CaseSummary) -> Condition:
    pieces = summary.evidence
    detail = "; ".join(piece.detail for piece in pieces)
    unseen = summary.record.first("effect_not_observed")
    if unseen is not None:
        why = f"no effect was seen within {float(unseen.get('waited_s', 0.0)):.1f} s: {unseen.get('evidence', '')}"
        return Condition("fault", Verdict.NOT_EXERCISED, why)
    if any(piece.seen for piece in pieces):
        return Condition("fault", Verdict.PASS, detail)
    return Condition("fault", Verdict.NOT_EXERCISED, detail or "no evidence that the fault took effect")


def _healed(summary: CaseSummary) -> Condition:
    record = summary.record
    if record.manifest.get("fault", {}).get("kind") == "no_fault":
        return Condition("heal", Verdict.PASS, "nothing to heal")
    failed = record.last("heal_failed")
    if failed is not None:
        return Condition("heal", Verdict.ABORTED, f"the fault could not be healed: {failed.get('why', '')}")
    missing = record.last("heal_not_observed")
    if missing is not None:
        return Condition("heal", Verdict.FAIL, f"healed and acknowledged, yet {missing.get('evidence', 'in force')}")
    if record.last("heal_acked") is not None and record.first("effect_not_observed") is not None:
        return Condition("heal", Verdict.PASS, "taken back; there was no effect to see gone")
    if record.last("healed_observed") is None:
        return Condition("heal", Verdict.ABORTED, "the fault was never seen healed")
    return Condition("heal", Verdict.PASS, "healed, and seen healed")


def _rolled_back(summary: CaseSummary) -> list[Condition]:
    """Of a case with a rollback: its trigger was met, it was carried out whole, and it was seen to act."""
    record = summary.record
    if not record.manifest.get("rollback") or record.first("effect_not_observed") is not None:
        return []
    late = record.first("trigger_not_met")
    if late is not None:
        why = f"{late.get('trigger')} was not met in {float(late.get('waited_s', 0.0)):.1f} s"
        return [Condition("trigger", Verdict.NOT_EXERCISED, f"{why}, so nothing was rolled back")]
    failed = record.first("rollback_failed")
    if failed is not None:
        return [Condition("rollback", Verdict.FAIL, str(failed.get("why", "")))]
    unseen = record.first("rollback_not_observed")
    if unseen is not None:
        return [Condition("rollback", Verdict.FAIL, f"carried out and acknowledged, yet {unseen.get('evidence', '')}")]
    seen = record.first("rollback_observed")
    if seen is None:
        return [Condition("rollback", Verdict.ABORTED, "the rollback was never seen to act")]
    return [Condition("rollback", Verdict.PASS, f"carried out, and seen to act: {seen.get('evidence', '')}")]


def _monitoring(summary: CaseSummary) -> list[Condition]:
    """Of a case that is to look at its monitoring stack: that somebody looked, and what was left out of it."""
    record = summary.record
    if "monitoring" not in record.manifest or record.first("effect_not_observed") is not None:
        return []
    if record.first(monitoring.EVENT) is None:
        return [Condition("monitoring", Verdict.INCONCLUSIVE, "nobody looked at the monitoring stack")]
    left = "; ".join(monitoring.left_out(summary.view))
    return [Condition("monitoring", Verdict.PASS, "looked at" + (f"; left out: {left}" if left else ", all of it"))]


def _durability(summary: CaseSummary) -> list[Condition]:
    """Whatever a drill is about, an acknowledged memory that is gone or wrong is a failure."""
    result = summary.read_back
    bad = {name: getattr(result, name) for name in BAD}
    if not any(bad.values()):
        return []
    counts = ", ".join(f"{count} {name}" for name, count in bad.items() if count)
    examples = "; ".join(text for name in bad for text in result.examples.get(name, [])[:2])
    detail = f"{counts} of {result.checked:,} acknowledged memories read back: {examples}"
    return [Condition("durability", Verdict.FAIL, detail)]


def _load_held(summary: CaseSummary) -> Condition:
    for name in ("during", "after"):
        window = summary.view.windows.get(name)
        if window is None:
            return Condition("load", Verdict.INCONCLUSIVE, f"the window '{name}' was never recorded")
        doubt = summary.load_doubt(window)
        if doubt:
            return Condition("load", Verdict.INCONCLUSIVE, f"{name}: {doubt}")
    return Condition("load", Verdict.PASS, "the offered rate was held")


def verdict_json(judgement: CaseJudgement) -> dict[str, Any]:
    """The case's ``verdict.json`` (its schema is documented in ``results/README.md``)."""
    summary = judgement.summary
    manifest = summary.record.manifest
    return {
        "schema": SCHEMA_VERSION,
        "name": judgement.name,
        "verdict": judgement.verdict.value,
        "reasons": list(judgement.reasons),
        "conditions": [{"name": c.name, "verdict": c.verdict.value, "detail": c.detail} for c in judgement.conditions],
        "checks": [result.as_json() for result in judgement.checks],
        "degradation": _degradation(summary),
        "recovery_time_s": {
            r.name: {"state": r.state, "events": r.events, **r.seconds.as_json()} for r in summary.recoveries
        },
        "acknowledged_memories": _read_back(summary),
        "samples": {
            name: {"requests": len(summary.view.within(window)), "duration_s": window.duration_s}
            | summary.rates(window)
            for name, window in sorted(summary.view.windows.items())
        },
        "fault": manifest.get("fault", {}),
        **({"rollback": rollback.as_json(summary.view)} if manifest.get("rollback") else {}),
        **({"alert": alerting.as_json(summary.view)} if manifest.get("alert") else {}),
        **({"monitoring": monitoring.as_json(summary.view)} if manifest.get("monitoring") else {}),
        "evidence": [{"name": e.name, "seen": e.seen, "detail": e.detail} for e in summary.evidence],
        "attempt": manifest.get("attempt", 1),
        "seed": manifest.get("seed"),
    }


_DEGRADATION: tuple[tuple[str, dict[str, Any]], ...] = (
    ("error_rate", {}),
    ("latency_ms", {"p": 50.0}),
    ("latency_ms", {"p": 99.0}),
    ("semantic_lost_ratio", {}),
    ("recall_found_ratio", {}),
    ("consolidation_failure_ratio", {}),
)


def _degradation(summary: CaseSummary) -> dict[str, Any]:
    """Baseline against fault, per signal: values and intervals of both windows."""
    found: dict[str, Any] = {}
    for name, arguments in _DEGRADATION:
        label = Check("", name, arguments, "<=", math.nan, "", "").label.lstrip(".")
        found[label] = {
            window: _plain(quantities.measure(summary.view, window, name, arguments))
            for window in ("baseline", "during", "after")
        }
    return found


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": json_number(estimate.value),
        **estimate.interval.as_json(),
        "unit": estimate.unit,
        "samples": estimate.samples,
    }


def _read_back(summary: CaseSummary) -> dict[str, Any]:
    result = summary.read_back
    counts = ("acknowledged", "checked", *BAD, "unrecallable", "unreachable")
    return {name: getattr(result, name) for name in counts} | {
        "examples": result.examples,
        "findings": result.findings,
    }


def session_json(session: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The session's ``verdict.json``: the worst of its cases, where a case counts by its last attempt."""
    last: dict[str, dict[str, Any]] = {}
    for case in cases:
        last[str(case["name"]).partition("~")[0]] = case
    return {
        "schema": SCHEMA_VERSION,
        "session": session,
        "verdict": Verdict.worst(Verdict(case["verdict"]) for case in last.values()).value,
        "cases": cases,
    }
