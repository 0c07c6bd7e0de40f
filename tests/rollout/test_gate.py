"""The gate on generated evidence of full size: healthy weeks pass, regressions are named, nothing is never a pass."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from harness.cli import main
from harness.judge.gate import Decision, GateResult
from harness.judge.phase_gate import Evidence, judge_gate
from harness.rollout.plan import load_plan
from tests.rollout.full_size import World

PLAN = load_plan()
HEALTHY = World()


@cache
def gate_of(phase: str) -> GateResult:
    """The gate of a healthy phase."""
    return judge_gate(PLAN, PLAN.phase(phase), HEALTHY.evidence(PLAN, phase))


@pytest.mark.parametrize("phase", [p.name for p in PLAN.phases])
def test_healthy_weeks_pass_every_gate(phase: str) -> None:
    result = gate_of(phase)
    wrong = [(a.criterion.id, a.reason) for a in result.answers if a.decision is not Decision.GO]
    assert result.decision is Decision.GO, wrong


def test_the_same_evidence_gives_the_same_bytes() -> None:
    phase = PLAN.phase("shadow")
    first, second = (
        json.dumps(judge_gate(PLAN, phase, HEALTHY.evidence(PLAN, "shadow")).as_json(), sort_keys=True) for _ in "ab"
    )
    assert first == second


@pytest.mark.parametrize("phase", [p.name for p in PLAN.phases])
def test_no_evidence_is_hold_for_every_criterion(phase: str) -> None:
    result = judge_gate(PLAN, PLAN.phase(phase), Evidence())
    passed = [a.criterion.id for a in result.of(Decision.GO)]
    assert result.decision is Decision.HOLD
    assert all("strategic" in name for name in passed), passed  # what nobody raised


def test_the_report_names_which_margin_decided() -> None:
    answer = next(a for a in gate_of("5").answers if a.criterion.id == "5.p99_control")
    assert answer.verdict.value == "PASS"
    assert answer.reading is not None
    assert answer.reading.decided_by == "absolute floor"  # 13 against 9 ms: +44 %, within 5 ms


def test_gate_command_without_evidence_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = str(tmp_path / "words.jsonl")
    assert main(["rollout", "gate", "shadow", "--attestations", words]) == 4
    assert "phase shadow of runbook: HOLD" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rollout", "gate", "60"], "no phase '60'"),
        (["rollout", "gate", "5", "--evidence", "/nowhere/at/all"], "no such directory"),
        (["rollout", "gate", "5", "--incidents", "/nowhere.toml"], "cannot read"),
        (["rollout", "gate", "5", "--prometheus-url", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["rollout", "attest", "5", "go_value", "--by", "R. Ops"], "without evidence"),
        (["rollout", "attest", "5", "go_home", "--by", "R. Ops", "--evidence", "x"], "nothing that is attested"),
    ],
)
def test_unusable_input_is_one_line_and_exit_3(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 3
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_attestations_are_kept_and_may_not_contradict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = tmp_path / "words.jsonl"
    say = ["rollout", "attest", "5", "go_value", "--by", "R. Ops", "--attestations", str(words), "--evidence", "T-1"]
    assert main(say) == 0
    before = words.read_bytes()
    assert main([*say, "--no"]) == 3
    assert "contradict" in capsys.readouterr().err
    assert words.read_bytes() == before
    assert main([*say, "--no", "--correct"]) == 0
    assert main(["rollout", "gate", "5", "--attestations", str(words)]) == 1
    assert "NO-GO 5.go_value" in capsys.readouterr().out


def test_a_torn_attestations_file_is_refused_by_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = tmp_path / "words.jsonl"
    words.write_text('{"phase": "5"', encoding="utf-8")
    assert main(["rollout", "gate", "5", "--attestations", str(words)]) == 3
    assert "words.jsonl:1" in capsys.readouterr().err
