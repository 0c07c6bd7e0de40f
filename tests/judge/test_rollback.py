"""Judging rollbacks: what came back because of it, what only with the heal, and what did not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.judge.case import judge_case
from harness.judge.checks import Check, answer
from harness.judge.recovery import Recovery
from harness.judge.rollback import STEPS, split_deviation, step_time
from harness.judge.summary import CaseSummary
from harness.model import RECALL_OPS, Cohort, Pathway, Verdict
from harness.timeline.record import CaseRecord
from tests.cases import USERS, build

DOSE_MS = 30.0
AFTER_S = 10.0


def timeline(
    begun: float, back: float, healed: float, change: dict[str, dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """The events of a case with a rollback at ``back``, with ``change`` made to them."""
    found: list[tuple[str, dict[str, Any]]] = [
        ("inject_sent", {"t": begun - 0.2}),
        ("inject_acked", {"t": begun - 0.19, "sent": begun - 0.2}),
        ("effective_observed", {"t": begun - 0.05, "evidence": "slower"}),
        ("trigger_met", {"t": back - 0.01, "trigger": "auto_latency", "evidence": "slow"}),
        ("rollback_sent", {"t": back, "at": back}),
        ("rollback_acked", {"t": back + 0.02, "sent": back, "at": back + 0.02}),
        ("rollback_observed", {"t": back + 0.5, "at": back + 0.5, "evidence": "0 of 40 are blended"}),
        ("after_started", {"t": back + 0.5}),
        ("after_ended", {"t": healed}),
        ("heal_sent", {"t": healed, "at": healed}),
        ("heal_acked", {"t": healed + 0.01, "sent": healed, "at": healed + 0.01}),
        ("healed_observed", {"t": healed + 0.1, "at": healed + 0.1}),
    ]
    own: list[dict[str, Any]] = [
        {"event": name, **fields, **(change.get(name) or {})}
        for name, fields in found
        if change.get(name, {}) is not None
    ]
    own += [
        {"event": name, "t": back + 0.5, **fields}
        for name, fields in change.items()
        if fields and name not in dict(found)
    ]
    return own


def rolled_back(
    *,
    kind: str = "immediate",
    rate: float = 0.25,
    blend_stays: float = 0.0,
    slow_stays: float = 0.0,
    memory: Callable[[float], float] = lambda since: 1.0,
    events: dict[str, dict[str, Any] | None] | None = None,
) -> CaseRecord:
    """A case of 30 ms and a rollback 12 s after it: flags off, or the cohort from 75 % down to ``rate``.

    ``blend_stays``, ``slow_stays``: seconds (from the rollback on) for which canary answers stay blended, or slow; the
    fault itself is healed ``AFTER_S`` after the rollback. ``memory``: the process' memory from the fault on by seconds
    since the rollback, as a multiple of the usual. ``events``: fields to replace, None to leave one out.
    """
    built = build(kind="no_fault", cohort_rate=0.75, after_s=2 * AFTER_S, consolidation_interval_s=0.2)
    record = built.record
    at = {e["event"]: float(e["t"]) for e in record.events}
    begun, back = at["fault_in_force"], at["heal_sent"] if "heal_sent" in at else at["after_started"] - 0.05
    samples = record.samples.copy()
    healed = back + AFTER_S
    asked = np.isin(samples["op"], [int(op) for op in RECALL_OPS])
    canary = asked & (samples["cohort"] == int(Cohort.CANARY))
    left = canary & (samples["sent"] >= back + blend_stays)
    if kind == "partial":
        left &= samples["user"] >= rate * USERS
        samples["cohort"][left] = int(Cohort.CONTROL)
    samples["pathway"][left] = int(Pathway.EPISODIC)
    slow = canary & (samples["sent"] >= begun) & (samples["sent"] < healed)
    slow &= ~left | (samples["sent"] < back + slow_stays)
    samples["done"][slow] += DOSE_MS / 1e3
    own = timeline(begun, back, healed, events or {})
    named = {e["event"] for e in timeline(begun, back, healed, {})}
    kept = [e for e in record.events if e["event"] not in named]
    process = tuple(
        {**row, "ok": True, "rss_bytes": 1e8 * (memory(row["t"] - back) if row["t"] > begun else 1.0)}
        for row in record.streams["process"]
    )
    manifest = {
        **record.manifest,
        "fault": {"kind": "recall_latency", "latency_ms": DOSE_MS},
        "rollback": {"kind": kind, "rate": rate},
        "cohort_rate": 0.75,
    }
    return replace(
        record,
        manifest=manifest,
        samples=samples,
        streams={**record.streams, "process": process},
        events=tuple(sorted([*kept, *own], key=lambda e: float(e["t"]))),
    )


def recovery(record: CaseRecord, name: str) -> Recovery:
    return next(r for r in CaseSummary(record).recoveries if r.name == name)


def condition(record: CaseRecord, name: str) -> Verdict:
    return next(c.verdict for c in judge_case(record).conditions if c.name == name)


def test_a_good_rollback_brings_everything_back_at_once() -> None:
    record = rolled_back()
    for name in ("slowed_recalls", "recall_latency_over_slo", "still_blended"):
        found = recovery(record, name)
        assert found.state == "recovered", found
        assert found.seconds.high < 0.5
    assert recovery(record, "memory_over_baseline").state == "never_left"
    assert condition(record, "rollback") is Verdict.PASS
    assert condition(record, "fault") is Verdict.PASS


def test_what_comes_back_only_with_the_heal_was_not_brought_back() -> None:
    record = rolled_back(slow_stays=1e9)
    assert recovery(record, "slowed_recalls").state == "censored"
    assert recovery(record, "still_blended").state == "recovered"
    check = Check("case", "recovery_time_s", {"signal": "slowed_recalls"}, "<=", 4.0, "rollback_latency_s", "runbook")
    assert answer(CaseSummary(record), check).verdict is Verdict.FAIL


@pytest.mark.parametrize("late_s", [2.0, 5.0])
def test_a_late_rollback_is_dated(late_s: float) -> None:
    found = recovery(rolled_back(slow_stays=late_s), "slowed_recalls")
    assert found.state == "recovered"
    assert found.seconds.low - 0.3 <= late_s <= found.seconds.high + 0.3
    blended = recovery(rolled_back(blend_stays=late_s, slow_stays=late_s), "still_blended")
    assert blended.seconds.low - 0.3 <= late_s <= blended.seconds.high + 0.3


def busy(record: CaseRecord, share: float, *, everyone: bool = True) -> CaseRecord:
    """The record of a machine that is busy from the rollback on: this share of recalls takes 25 ms more (of canary
    users alone, where not ``everyone``), and sleepers are woken late.
    """
    back = float(record.first("rollback_sent")["at"])  # type: ignore[index]
    samples, rng = record.samples.copy(), np.random.default_rng(7)
    hit = (samples["sent"] >= back) & (rng.random(len(samples)) < share)
    if not everyone:
        hit &= np.isin(samples["user"], CaseSummary(record).view.canary_users)
    samples["done"][hit] += 0.025
    late = tuple({**row, "late_ms": 200.0 if row["t"] > back else row["late_ms"]} for row in record.streams["host"])
    return replace(record, samples=samples, streams={**record.streams, "host": late})


@pytest.mark.parametrize("kind", ["immediate", "partial"])
@pytest.mark.parametrize("signal", [None, "slowed_recalls"])
def test_recalls_that_a_busy_machine_slows_are_no_proof_against_a_rollback(kind: str, signal: str | None) -> None:
    arguments = {"signal": signal} if signal else {}
    check = Check("case", "recovery_time_s", arguments, "<=", 4.0, "rollback_latency_s", "runbook")
    idle = rolled_back(kind=kind)
    assert answer(CaseSummary(idle), check).verdict is Verdict.PASS
    found = answer(CaseSummary(busy(idle, 0.18)), check)
    assert found.verdict is Verdict.INCONCLUSIVE, found.reason
    assert "the machine was busy" in found.reason


@pytest.mark.parametrize("kind", ["immediate", "partial"])
def test_a_busy_machine_excuses_no_latency_that_stays(kind: str) -> None:
    check = Check("case", "recovery_time_s", {"signal": "slowed_recalls"}, "<=", 4.0, "rollback_latency_s", "runbook")
    stays = busy(rolled_back(kind=kind, slow_stays=1e9), 0.18)
    assert answer(CaseSummary(stays), check).verdict is Verdict.FAIL
    theirs = busy(rolled_back(kind=kind), 0.18, everyone=False)  # a replica of five, say, is as slow as before
    assert answer(CaseSummary(theirs), check).verdict is Verdict.FAIL


def test_a_step_that_is_late_on_a_busy_machine_is_undecided_and_one_that_never_ended_is_a_failure() -> None:
    check = Check("case", "step_time_s", {"step": "seen"}, "<=", 0.3, "rollback_partial_s", "runbook")
    assert answer(CaseSummary(rolled_back(kind="partial")), check).verdict is Verdict.FAIL
    late = answer(CaseSummary(busy(rolled_back(kind="partial"), 0.18)), check)
    assert late.verdict is Verdict.INCONCLUSIVE, late.reason
    never = {"rollback_observed": None, "rollback_not_observed": {"evidence": "canary is 75 %"}}
    assert judge_case(busy(rolled_back(kind="partial", events=never), 0.18)).verdict is Verdict.FAIL


def test_who_is_still_canary_is_no_matter_of_a_busy_machine() -> None:
    check = Check("case", "recovery_time_s", {}, "<=", 4.0, "rollback_latency_s", "runbook")
    late = busy(rolled_back(blend_stays=8.0), 0.18)
    assert answer(CaseSummary(late), check).verdict is Verdict.FAIL


def test_memory_that_is_freed_late_is_dated_and_memory_that_stays_is_censored() -> None:
    late = recovery(rolled_back(memory=lambda since: 1.3 if since < 4.0 else 1.0), "memory_over_baseline")
    assert late.state == "recovered"
    assert late.seconds.low - 0.5 <= 4.0 <= late.seconds.high + 0.5
    assert recovery(rolled_back(memory=lambda since: 1.3), "memory_over_baseline").state == "censored"


def test_memory_that_the_rollback_itself_takes_is_seen_in_its_growth() -> None:
    check = Check("after", "memory_growth_ratio", {}, "<=", 0.10, "memory_growth", "runbook")
    assert answer(CaseSummary(rolled_back()), check).verdict is Verdict.PASS
    grown = rolled_back(memory=lambda since: 1.3 if since > 0 else 1.0)
    assert recovery(grown, "memory_over_baseline").state == "never_left"
    assert answer(CaseSummary(grown), check).verdict is Verdict.FAIL


def test_a_partial_rollback_is_judged_by_those_who_leave() -> None:
    record = rolled_back(kind="partial", rate=0.25)
    for name in ("still_canary", "slowed_recalls", "recall_latency_over_slo"):
        found = recovery(record, name)
        assert found.state == "recovered", found
    summary = CaseSummary(record)
    split = split_deviation(summary.view, summary.view.windows["after"])
    assert split.value < 0.02
    assert split.interval.high < 0.15
    wrong = CaseSummary(replace(record, manifest={**record.manifest, "rollback": {"kind": "partial", "rate": 0.6}}))
    off = split_deviation(wrong.view, wrong.view.windows["after"])
    assert off.interval.low > 0.15


@pytest.mark.parametrize(
    ("events", "verdict", "name"),
    [
        ({"rollback_observed": None, "rollback_not_observed": {"evidence": "40 of 40 are"}}, Verdict.FAIL, "rollback"),
        (
            {"rollback_acked": None, "rollback_observed": None, "rollback_failed": {"why": "half a flag change"}},
            Verdict.FAIL,
            "rollback",
        ),
        ({"rollback_observed": None}, Verdict.ABORTED, "rollback"),
        ({"trigger_met": None, "trigger_not_met": {"waited_s": 60.0}}, Verdict.NOT_EXERCISED, "trigger"),
    ],
)
def test_a_rollback_that_is_not_whole_is_no_pass(
    events: dict[str, dict[str, Any] | None], verdict: Verdict, name: str
) -> None:
    record = rolled_back(events=events)
    assert condition(record, name) is verdict
    assert judge_case(record).verdict is not Verdict.PASS


def test_steps_are_timed_and_a_step_that_never_ended_is_unknown() -> None:
    view = CaseSummary(rolled_back()).view
    assert step_time(view, "rollback").value == pytest.approx(0.02)
    assert step_time(view, "seen").value == pytest.approx(0.5)
    assert step_time(view, "trigger").value > 10.0
    assert not step_time(view, "nonsense").known
    unseen = CaseSummary(rolled_back(events={"rollback_observed": None})).view
    assert not step_time(unseen, "seen").known
    check = Check("case", "step_time_s", {"step": "seen"}, "<=", 1.0, "rollback_immediate_s", "runbook")
    assert answer(CaseSummary(rolled_back()), check).verdict is Verdict.PASS
    assert answer(CaseSummary(rolled_back(events={"rollback_observed": None})), check).verdict is Verdict.INCONCLUSIVE
    assert set(STEPS) == {"trigger", "rollback", "seen"}
