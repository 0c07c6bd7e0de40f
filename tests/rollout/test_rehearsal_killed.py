"""A rehearsal that is killed with SIGKILL: nothing of it goes on running, and what it recorded can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from tests.killed import family, killed, until

DRILLS = """import sys
from pathlib import Path
from harness.rollout.phase_run import Rehearsed, run_drills
from harness.rollout.plan import load_plan
plan = load_plan()
run_drills(Rehearsed(plan, 80_000.0, 7), plan.phase("25"), Path(sys.argv[1]), (), print)
"""


def _cases(folder: Path, event: str) -> list[Path]:
    return [p.parent for p in folder.rglob("timeline.jsonl") if event in p.read_text(encoding="utf-8")]


def test_killed_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "harness.cli", "rollout", "rehearse", "--phases", "50", "--results-dir", str(tmp_path / "results")]
    with killed(tmp_path, words, lambda: _cases(tmp_path, "baseline_started")) as mark:
        until(lambda: not family(mark), "something of it still runs")
    (case,) = _cases(tmp_path, "baseline_started")
    assert main(["rollout", "gate", "50", "--evidence", f"50={case}", "--attestations", str(tmp_path / "none")]) == 4
    assert "it was killed: its record has no end" in capsys.readouterr().out
    assert not list(tmp_path.rglob("rehearsal.json"))  # no step had ended; it is written whole or not at all


def test_killed_in_a_drill(tmp_path: Path) -> None:
    with killed(tmp_path, ["-c", DRILLS, str(tmp_path)], lambda: _cases(tmp_path, "load_started")) as mark:
        until(lambda: not family(mark), "something of it still runs")
