"""Ended in the middle: by Ctrl-C, by the target's death, by SIGKILL. Healed, readable, and never a pass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.drills.session import DrillRun
from tests.drills.test_session import _harness


def _until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("phase", ["preload", "fault", "recovery"])
def test_ctrl_c_heals_and_keeps_the_record(tmp_path: Path, phase: str) -> None:
    with DrillRun(tmp_path, "drills/semantic_pathway") as run:
        run.wait_for(f"· {phase}")
        pid = run.target_pid()
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 2, run.output
        assert _gone(pid)
        case = run.verdict()["cases"][0]
        assert case["verdict"] == "ABORTED"
        assert any("interrupted" in reason for reason in case["reasons"])
        assert "Traceback" not in run.output
        assert not list(run.state.glob("**/*.jsonl")), "the ledger is closed"


@pytest.mark.parametrize("phase", ["baseline", "fault"])
def test_a_target_that_dies_is_an_abort_with_its_reason(tmp_path: Path, phase: str) -> None:
    with DrillRun(tmp_path, "drills/binding_index") as run:
        run.wait_for(f"· {phase}")
        os.kill(run.target_pid(), signal.SIGKILL)
        assert run.wait() == 1, run.output
        case = run.verdict()["cases"][0]
        assert case["verdict"] in ("ABORTED", "FAIL"), case["reasons"]
        assert case["reasons"]
        assert "Traceback" not in run.output


def test_a_killed_harness_leaves_nothing_running_and_a_readable_record(tmp_path: Path) -> None:
    with DrillRun(tmp_path, "drills/semantic_pathway") as run:
        run.wait_for("· fault")
        pid = run.target_pid()
        run.process.send_signal(signal.SIGKILL)
        run.wait()
        assert _until(lambda: _gone(pid)), "the guardian ends the server"
        again = _harness("judge", str(run.session))
        assert again.returncode == 1
        assert "ABORTED" in again.stdout
        assert "killed" in again.stdout


_LEAVES_A_PROCESS = """
import os, signal, subprocess, sys
from pathlib import Path
from harness.faults.ledger import Ledger
from harness.targets.base import identify
child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(60)"])
ledger = Ledger(Path(sys.argv[1]) / "left.jsonl", state_dir=Path(sys.argv[1]) / "state", guard=False)
ledger.register_process(identify(child.pid), "left behind", None)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_healed_first_and_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LEAVES_A_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout is not None
        pid = int(left.stdout.readline())
    with DrillRun(tmp_path, "drills/semantic_pathway") as run:
        run.wait_for("healed after an earlier run: left behind")
        run.wait_for("· preload")
        assert _gone(pid)
