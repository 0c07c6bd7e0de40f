"""One reference Engram for the module, a state directory of its own for every test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.faults import state
from harness.faults.guarding import guarding
from harness.targets.attached import AttachedTarget
from harness.targets.embedded import EmbeddedTarget

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"kind": "semantic_latency", "latency_ms": 50}


def wait_for(what: str, condition: Callable[[], Any], limit_s: float = 10.0) -> float:
    """Poll until ``condition`` holds; answers how long it took in seconds, fails after ``limit_s``."""
    started, never = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - started < limit_s, f"not in {limit_s} s: {what}"
        never.wait(0.01)
    return time.monotonic() - started


@pytest.fixture(scope="session")
def engram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTarget]:
    """A running reference with blended recall on, and bindings to corrupt."""
    folder = tmp_path_factory.mktemp("engram")
    with EmbeddedTarget(folder, config_text="[consolidation]\ninterval_seconds = 0.1\n") as target:
        with target.client() as client:
            client.set_features(dual_memory_types=True, blended_recall=True, cohort_sampling_rate=0.5)
            for number in range(12):
                vector = [0.0] * 768
                vector[0], vector[1 + number] = 1.0, 0.7
                client.remember(f"witness {number}", memory_id=f"memory-{number}", embedding=vector)
            wait_for("bindings", lambda: client.binding_counts().total > 0)
        yield target


@pytest.fixture
def target(engram: EmbeddedTarget) -> Iterator[EmbeddedTarget]:
    """The reference, seen to be without faults before and after."""
    assert active(engram) == []
    yield engram
    left = active(engram)
    with engram.client() as client:  # one failing test must not make the others fail
        client.chaos_semantic_latency(0)
        client.chaos_consolidation_fail_rate(0)
        client.chaos_latency(0)
        client.chaos_binding_restore()
    assert left == []


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory for this test alone; its guardian is dismissed."""
    path = tmp_path / "state"
    monkeypatch.setenv(state.STATE_VARIABLE, str(path))
    folder = state.state_dir()
    yield folder
    guarding(folder).dismiss()


def active(target: EmbeddedTarget | AttachedTarget) -> list[str]:
    """The faults the target itself lists."""
    with target.client() as client:
        return [one.fault for one in client.chaos_listing().active]


class Doomed:
    """A harness process that is to die."""

    def __init__(self, url: str, case: Path, step: str, fault: dict[str, Any] | None = None) -> None:
        case.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.faults.doomed", url, str(case), step, json.dumps(fault or SLOW)]
        self.child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def hold(self) -> None:
        """Wait until the fault is in force."""
        assert self.child.stdout is not None
        said = self.child.stdout.readline()
        assert said == "holding\n", self.child.communicate(timeout=10)[1]

    def end(self, limit_s: float = 20.0) -> tuple[int, str, str]:
        """Let it go on to its end; answers exit status, output and error output."""
        out, err = self.child.communicate("\n", timeout=limit_s)
        return self.child.returncode, out, err

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)


@pytest.fixture
def doom(tmp_path: Path, target: EmbeddedTarget) -> Iterator[Callable[..., Doomed]]:
    """Starts doomed harnesses on the target; whatever is left of them is ended."""
    started: list[Doomed] = []

    def start(step: str, fault: dict[str, Any] | None = None) -> Doomed:
        started.append(Doomed(target.base_url, tmp_path / "case", step, fault))
        return started[-1]

    yield start
    for one in started:
        if one.child.poll() is None:
            os.kill(one.child.pid, signal.SIGCONT)
            one.child.kill()
        one.child.communicate(timeout=10)
