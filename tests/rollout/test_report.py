"""The documents after a rollout: what evidence says is filled in, what it does not say is a marked blank."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.judge.gate import Decision
from harness.rollout.plan import load_plan
from harness.rollout.report import BLANK, DOCUMENTS, fill
from harness.scenario.incidents import Incident, IncidentList
from tests.rollout.full_size import World

PLAN = load_plan()
LAST = PLAN.phase("100")
SPIKE = Incident("spike", "50", "incident", 3600.0, "dual_memory", "major", "", "brief P99 spike")
PAGE = Incident("page", "50", "page", 3600.0, "dual_memory", "minor", "", "")


def line_with(text: str, wanted: str) -> str:
    return next(line for line in text.splitlines() if wanted in line)


def test_figures_are_filled_in_with_their_bounds() -> None:
    evidence = World(runs=2, requests=6000).evidence(PLAN, "100")
    listed = IncidentList((SPIKE, PAGE), {"50": 1e6, "100": 1e6})
    report = fill(PLAN, LAST, dataclasses.replace(evidence, incidents=listed), ["100=results/full"])
    analysis, lessons, words = (report.texts[name] for name in DOCUMENTS)
    for wanted in ("P99 latency delta", "Throughput delta", "Convergent retrieval rate", "Recall robustness"):
        line = line_with(analysis, wanted)
        assert BLANK not in line, line
        assert "[" in line, line  # its interval
    assert "Incidents during the rollout: 1" in analysis
    assert "Attributed to dual memory: 1" in analysis
    assert "Pages during the rollout: 1" in analysis
    assert "spike (phase 50, major): brief P99 spike" in lessons
    assert "Root cause: _____" in lessons
    assert "`100=results/full`" in analysis
    assert "traffic, to phase 75" in words
    assert report.blanks["lessons_learned.md"] == lessons.count(BLANK) > 5


def test_what_only_people_know_stays_blank_whatever_the_evidence() -> None:
    report = fill(PLAN, LAST, World(runs=2, requests=6000).evidence(PLAN, "100"), [])
    analysis = report.texts["post_rollout_analysis.md"]
    for wanted in ("Mean time to resolution", "Infrastructure", "Engineering", "Pages after midnight"):
        assert BLANK in line_with(analysis, wanted)


def test_without_evidence_every_figure_is_blank_and_none_is_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "rollout",
        "report",
        "--attestations",
        str(tmp_path / "none"),
        "--output",
        str(tmp_path / "made"),
        "--json",
    ]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["decision"] == Decision.HOLD.value
    assert [Path(one["file"]).name for one in said["files"]] == list(DOCUMENTS)
    analysis = (tmp_path / "made" / "post_rollout_analysis.md").read_text()
    for wanted in ("P99 latency delta", "Incidents during the rollout", "Pages during the rollout", "coherence:"):
        line = line_with(analysis, wanted)
        assert BLANK in line
        assert " 0" not in line.replace("0.7", "")
    assert "no evidence was given" in analysis


def test_a_rehearsal_says_so() -> None:
    report = fill(PLAN, LAST, World(runs=1, requests=200).evidence(PLAN, "100"), [], rehearsal=True)
    assert "From a rehearsal" in report.texts["post_rollout_analysis.md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["33"], "no phase '33'"),
        (["--evidence", "/nowhere"], "no such directory"),
        (["--output", "/dev/null/there"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollout", "report", "--attestations", str(tmp_path / "none"), *words]) == 3
    assert said in capsys.readouterr().err
