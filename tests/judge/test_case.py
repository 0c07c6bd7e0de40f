"""A case's verdict: each condition on its own, and the same bytes from the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.judge.case import CaseJudgement, judge_case, session_json, verdict_json
from harness.model import Verdict
from harness.report.session import judge_folder, write_verdicts
from harness.timeline.record import read_case
from tests.cases import FAULTS, build, check, write_case


def judged(**knobs: Any) -> CaseJudgement:
    return judge_case(build(**knobs).record)


def of_condition(judgement: CaseJudgement, name: str) -> list[tuple[Verdict, str]]:
    return [(c.verdict, c.detail) for c in judgement.conditions if c.name == name]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_healthy_case_passes(kind: str, seed: int) -> None:
    found = judged(kind=kind, seed=seed)
    assert found.verdict is Verdict.PASS, found.reasons
    assert found.reasons == ()


@pytest.mark.parametrize("kind", sorted(set(FAULTS) - {"no_fault"}))
def test_an_injector_that_does_nothing_is_not_exercised(kind: str) -> None:
    found = judged(kind=kind, takes_effect=False, checks=(check("during", "error_rate", "<=", "error_rate"),))
    assert found.verdict is Verdict.NOT_EXERCISED, found.reasons
    assert of_condition(found, "fault")[0][0] is Verdict.NOT_EXERCISED


def test_an_effect_the_run_did_not_observe_is_not_exercised() -> None:
    seen = {"event": "effect_not_observed", "waited_s": 5.0, "evidence": "0 of 8 witness recalls were affected"}
    found = judged(extra_events=((15.0, seen),))
    assert found.verdict is Verdict.NOT_EXERCISED
    assert "0 of 8 witness recalls" in found.reasons[0]


@pytest.mark.parametrize(
    ("kind", "share"), [("consolidation_failure", 0.1), ("binding_corruption", 0.3), ("semantic_latency", 0.1)]
)
def test_much_less_effect_than_was_asked_for_is_not_exercised(kind: str, share: float) -> None:
    found = judged(kind=kind, effect_share=share, checks=(check("during", "error_rate", "<=", "error_rate"),))
    assert of_condition(found, "fault")[0][0] is Verdict.NOT_EXERCISED


def test_a_baseline_out_of_tolerance_is_inconclusive() -> None:
    for knobs in ({"baseline_error_share": 0.05}, {"median_ms": 30.0}, {"residue_share": 0.0, "baseline_s": 1.0}):
        found = judged(**knobs)
        verdicts = of_condition(found, "steady state")
        assert verdicts[0][0] is Verdict.INCONCLUSIVE, knobs


def test_a_missed_rate_is_inconclusive() -> None:
    found = judged(kind="no_fault", sent_share=0.9)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("due requests were sent" in reason for reason in found.reasons)


def test_a_late_generator_is_inconclusive() -> None:
    found = judged(kind="no_fault", lag_ms=30.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("generator was late" in reason for reason in found.reasons)


def test_a_fault_that_was_never_seen_healed_is_aborted() -> None:
    found = judged(missing_events=("healed_observed",))
    assert of_condition(found, "heal") == [(Verdict.ABORTED, "the fault was never seen healed")]
    assert found.verdict is Verdict.ABORTED


def test_a_heal_that_failed_is_aborted_and_one_without_effect_a_failure() -> None:
    failed = judged(extra_events=((30.0, {"event": "heal_failed", "detail": "503"}),))
    assert of_condition(failed, "heal")[0][0] is Verdict.ABORTED
    in_vain = judged(extra_events=((30.0, {"event": "heal_not_observed", "detail": "5 % still invalid"}),))
    assert of_condition(in_vain, "heal")[0][0] is Verdict.FAIL


def test_an_abort_and_a_kill_are_aborted() -> None:
    aborted = judged(extra_events=((17.0, {"event": "aborted", "reason": "the target died"}),))
    assert aborted.verdict is Verdict.ABORTED
    assert aborted.reasons[0] == "run: the target died"
    killed = judged(missing_events=("run_ended",))
    assert killed.verdict is Verdict.ABORTED


def test_a_missing_capability_is_unsupported() -> None:
    event = (0.1, {"event": "unsupported", "reason": "chaos.binding_index: 404"})
    found = judged(extra_events=(event,), checks=())
    assert found.verdict is Verdict.UNSUPPORTED
    assert found.reasons == ("capabilities: chaos.binding_index: 404",)


@pytest.mark.parametrize("window", [("baseline_ended",), ("fault_in_force",), ("after_started",)])
def test_a_missing_window_never_passes(window: tuple[str, ...]) -> None:
    found = judged(missing_events=window)
    assert found.verdict not in (Verdict.PASS, Verdict.UNSUPPORTED)


def test_nothing_recorded_never_passes() -> None:
    for kind in FAULTS:
        found = judged(kind=kind, rate=0.0)
        assert found.verdict is not Verdict.PASS
        assert found.reasons


@pytest.mark.parametrize("stream", ["service", "consolidation", "bindings", "health", "host", "process"])
def test_a_missing_probe_never_crashes_the_judge(stream: str) -> None:
    for kind in FAULTS:
        verdict_json(judged(kind=kind, missing_streams=(stream,)))


def test_a_drill_that_asserts_nothing_or_stops_early_is_inconclusive() -> None:
    assert judged(checks=()).verdict is Verdict.INCONCLUSIVE
    assert judged(ended="error: KeyError").verdict is Verdict.INCONCLUSIVE
    assert judged(ended="never").verdict is Verdict.INCONCLUSIVE


def test_a_failed_assertion_speaks_through_its_check() -> None:
    found = judged(error_share=0.05, ended="assertion")
    assert found.verdict is Verdict.FAIL
    assert found.reasons[0].startswith("during.error_rate = ")


def test_the_same_files_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    here = tmp_path / "session"
    for kind in FAULTS:
        write_case(here / kind, kind=kind, recovery_delay_s=1.5, manifest={"started": f"2025-11-20T02:0{len(kind)}Z"})
    first = write_verdicts(here)
    moved = tmp_path / "elsewhere" / "session"
    shutil.copytree(here, moved)
    for path in moved.rglob("verdict.json"):
        path.unlink()
    assert write_verdicts(moved) == first
    for path in sorted(here.rglob("verdict.json")):
        assert path.read_bytes() == (moved / path.relative_to(here)).read_bytes()
    before = (here / "verdict.json").read_bytes()
    write_verdicts(here)
    assert (here / "verdict.json").read_bytes() == before


def test_the_files_say_what_memory_said(tmp_path: Path) -> None:
    built = write_case(tmp_path / "case", kind="semantic_latency", recovery_delay_s=2.0, lost=1)
    read = judge_case(read_case(tmp_path / "case"))
    kept = judge_case(built.record)
    assert {**verdict_json(read), "name": ""} == {**verdict_json(kept), "name": ""}


def test_a_torn_end_costs_its_own_line_only(tmp_path: Path) -> None:
    write_case(tmp_path / "case")
    whole = judge_folder(tmp_path / "case").json
    for name in ("timeline.jsonl", "metrics/service.jsonl", "samples/verify.jsonl", "samples/requests-0.bin"):
        with (tmp_path / "case" / name).open("ab") as file:
            file.write(b'{"t": 12')
    assert judge_folder(tmp_path / "case").json == whole


def test_the_verdict_is_strict_json(tmp_path: Path) -> None:
    write_case(tmp_path / "s" / "case", never_recovers=True, missing_streams=("service",))
    write_verdicts(tmp_path / "s")

    def refuse(text: str) -> float:
        raise AssertionError(text)

    found = json.loads((tmp_path / "s" / "verdict.json").read_text(), parse_constant=refuse)
    assert found["cases"][0]["recovery_time_s"]["semantic_pathway_lost"]["high"] == "inf"


def test_a_session_is_the_worst_of_its_cases_last_attempts() -> None:
    def case(name: str, verdict: str) -> dict[str, Any]:
        return {"name": name, "verdict": verdict}

    retried = [case("a", "INCONCLUSIVE"), case("b", "PASS"), case("a~2", "PASS")]
    assert session_json("s", retried)["verdict"] == "PASS"
    assert session_json("s", [case("a", "PASS"), case("b", "UNSUPPORTED")])["verdict"] == "UNSUPPORTED"
    assert session_json("s", [case("a", "NOT_EXERCISED"), case("b", "ABORTED")])["verdict"] == "ABORTED"
    assert session_json("s", [])["verdict"] == "INCONCLUSIVE"
