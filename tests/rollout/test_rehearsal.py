"""The walk: what stops it, what is walked past, what its page says; and one live phase with a regression in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.judge.gate import Decision, GateResult, absent, answer
from harness.report.rehearsal import write_rehearsal_report
from harness.rollout import rehearsal
from harness.rollout.phase_run import Rehearsed
from harness.rollout.plan import Phase, load_plan
from harness.rollout.regressions import parse_regression

PLAN = load_plan()
HOW = Rehearsed(PLAN, 80_000.0, 7)


def _gates(monkeypatch: pytest.MonkeyPatch, decisions: dict[str, Decision]) -> list[tuple[str, tuple[str, ...]]]:
    """Gates that say what they are told to; answers the phases that were run, with their defects."""
    walked: list[tuple[str, tuple[str, ...]]] = []

    def run(how: Rehearsed, phase: Phase, folder: Path, defects: tuple[str, ...], **more: object) -> str:
        walked.append((phase.name, defects))
        return ""

    def gate(how: Rehearsed, phase: Phase, session: Path) -> GateResult:
        row = answer(phase.criteria[0], "criterion", [absent("run", "no run was given")])
        return GateResult("runbook", phase.name, "", decisions.get(phase.name, Decision.GO), (row,), rehearsal=True)

    monkeypatch.setattr(rehearsal, "run_phase", run)
    monkeypatch.setattr(rehearsal, "run_soak", lambda *a: None)
    monkeypatch.setattr(rehearsal, "run_drills", lambda *a: None)
    monkeypatch.setattr(rehearsal, "_gate", gate)
    return walked


def test_all_go_is_walked_to_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walked = _gates(monkeypatch, {})
    walk = rehearsal.rehearse(HOW, tmp_path)
    assert [name for name, _ in walked] == [p.name for p in PLAN.phases]
    assert (walk.exit_code, walk.stopped_at) == (0, "")


def test_a_no_go_stops_the_walk_whatever_is_overridden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walked = _gates(monkeypatch, {"5": Decision.NO_GO})
    walk = rehearsal.rehearse(HOW, tmp_path, override_hold=True)
    assert walked[-1][0] == "5"
    assert (walk.exit_code, walk.stopped_at) == (1, "5")


def test_a_hold_stops_unless_it_is_overridden_and_the_page_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _gates(monkeypatch, {"shadow": Decision.HOLD})
    assert rehearsal.rehearse(HOW, tmp_path).exit_code == 4
    walk = rehearsal.rehearse(HOW, tmp_path, override_hold=True)
    assert walk.exit_code == 0
    page = write_rehearsal_report(tmp_path).read_text(encoding="utf-8")
    assert "1 HOLD was walked past by --override-hold" in page
    assert "Walked to the end, past HOLDs" in page


def test_a_hold_where_a_regression_was_injected_is_never_walked_past(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    walked = _gates(monkeypatch, dict.fromkeys(("0", "shadow", "5", "25"), Decision.HOLD))
    injected = parse_regression("25:leak", PLAN)
    walk = rehearsal.rehearse(HOW, tmp_path, injected=injected, override_hold=True)
    assert walked[-1] == ("25", injected.regression.defects)
    assert all(not defects for _, defects in walked[:-1])
    assert (walk.exit_code, walk.stopped_at) == (4, "25")


def test_the_page_is_the_same_bytes_for_the_same_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _gates(monkeypatch, {})
    rehearsal.rehearse(HOW, tmp_path)
    first = write_rehearsal_report(tmp_path).read_bytes()
    assert write_rehearsal_report(tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--inject-regression", "5:tsunami"], "no regression"),
        (["--inject-regression", "leak"], "PHASE:KIND"),
        (["--time-scale", "0"], "--time-scale"),
        (["--time-scale", "nan"], "--time-scale"),
        (["--phases", "5,60"], "no phase '60'"),
        (["--phases", "5", "--inject-regression", "25:leak"], "not among"),
        (["--plan", "nonsense"], "no plan"),
        (["--target", "docker", "--inject-regression", "5:leak"], "embedded"),
    ],
)
def test_unusable_arguments(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    assert main(["rollout", "rehearse", "--results-dir", str(tmp_path / "r"), *arguments]) == 3
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_no_rehearsal_no_page(tmp_path: Path) -> None:
    (tmp_path / "rehearsal.json").write_text("[]", encoding="utf-8")
    with pytest.raises(Exception, match="no rehearsal"):
        write_rehearsal_report(tmp_path)


@pytest.mark.long
def test_an_ignored_flag_stops_the_live_walk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(
        [
            *("rollout", "rehearse", "--phases", "50", "--override-hold", "--inject-regression", "50:flags"),
            *("--results-dir", str(tmp_path), "--time-scale", "1e6", "--json"),
        ]
    )
    walk = json.loads(capsys.readouterr().out)
    assert code == 1
    assert walk["stopped_at"] == "50"
    assert "50.cohort_split" in walk["steps"][0]["gate"]["no_go"]
    assert list(tmp_path.glob("rollout/*/report.html"))


def test_a_regression_needs_a_phase_of_the_plan() -> None:
    with pytest.raises(UsageError):
        parse_regression("internal:leak", PLAN)
