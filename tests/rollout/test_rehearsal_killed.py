"""A rehearsal that is killed with SIGKILL: nothing of it goes on running, and what it recorded can be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.cli import main
from tests.reference.server import ROOT

LIMIT_S = 90.0  # a busy machine's; a second is usual
DRILLS = """import sys
from pathlib import Path
from harness.rollout.phase_run import Rehearsed, run_drills
from harness.rollout.plan import load_plan
plan = load_plan()
run_drills(Rehearsed(plan, 80_000.0, 7), plan.phase("25"), Path(sys.argv[1]), (), print)
"""


def _until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, what
        threading.Event().wait(0.05)


def _family(mark: str) -> list[int]:
    """The processes that were started with this mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


@contextmanager
def _killed(folder: Path, words: list[str], begun: Callable[[], object]) -> Iterator[str]:
    """Start it, kill it once it has ``begun``; answers the mark of its family."""
    mark = f"REHEARSAL_MARK={folder}"
    environment = {**os.environ, "REHEARSAL_MARK": str(folder), "XDG_STATE_HOME": str(folder / "own")}
    environment.pop("ENGRAM_STATE_DIR", None)
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        _until(lambda: begun() or process.poll() is not None, "it never began")
        assert process.poll() is None, (folder / "out.log").read_text()
        assert len(_family(mark)) > 1
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
        yield mark
    finally:
        process.kill()
        process.wait()


def _cases(folder: Path, event: str) -> list[Path]:
    return [p.parent for p in folder.rglob("timeline.jsonl") if event in p.read_text(encoding="utf-8")]


def test_killed_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "harness.cli", "rollout", "rehearse", "--phases", "50", "--results-dir", str(tmp_path / "results")]
    with _killed(tmp_path, words, lambda: _cases(tmp_path, "baseline_started")) as mark:
        _until(lambda: not _family(mark), "something of it still runs")
    (case,) = _cases(tmp_path, "baseline_started")
    assert main(["rollout", "gate", "50", "--evidence", f"50={case}", "--attestations", str(tmp_path / "none")]) == 4
    assert "it was killed: its record has no end" in capsys.readouterr().out
    assert not list(tmp_path.rglob("rehearsal.json"))  # no step had ended; it is written whole or not at all


def test_killed_in_a_drill(tmp_path: Path) -> None:
    with _killed(tmp_path, ["-c", DRILLS, str(tmp_path)], lambda: _cases(tmp_path, "load_started")) as mark:
        _until(lambda: not _family(mark), "something of it still runs")
