"""The watch as a process, over a real reference that goes bad at a scripted moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.targets.embedded import EmbeddedTarget
from tests.reference.server import ROOT

CONFIG = "[features]\nblended_recall = true\nfan_effect = true\n"
WINDOW_S = 600.0 / 60.0  # of auto_errors, at --time-scale 60
LOOK_S = 30.0 / 60.0


class Watching:
    """A watch in a process of its own, and all it says."""

    def __init__(self, folder: Path, url: str, *words: str) -> None:
        options = [
            "--target",
            url,
            "--phase",
            "5",
            "--time-scale",
            "60",
            "--state",
            str(folder / "state.json"),
            "--json",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.cli", "rollout", "watch", *options, *words],
            cwd=ROOT,
            env={**os.environ, "ENGRAM_STATE_DIR": str(folder / "own"), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line) if line.startswith("{") else {"event": "other", "text": line})
                self._news.notify_all()

    def wait_for(self, event: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The first event of that name."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = next((e for e in self.events if e["event"] == event), None)
                if found is not None:
                    return found
                assert time.monotonic() < deadline, [(e["event"], e.get("text")) for e in self.events]
                self._news.wait(0.2)

    def end(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def watching(folder: Path, url: str, *words: str) -> Iterator[Watching]:
    """A watch that is over when the block is."""
    watch = Watching(folder, url, *words)
    try:
        yield watch
    finally:
        watch.end()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[EmbeddedTarget]:
    """A reference whose recalls fail by half while any fault is active."""
    folder = tmp_path / "target"
    with EmbeddedTarget(folder, config_text=CONFIG, defects=("health_lies=0.5",), start_timeout_s=60.0) as found:
        yield found


def test_errors_roll_back_by_themselves_once_the_window_has_passed(target: EmbeddedTarget, tmp_path: Path) -> None:
    with watching(tmp_path, target.base_url, "--i-own-this-target") as watch, target.client() as client:
        watch.wait_for("begun")
        bad_from = time.monotonic()
        client.chaos_consolidation_fail_rate(1.0, ttl_s=120.0)
        met = watch.wait_for("trigger")["met"]
        watch.wait_for("rollback")
        assert met["trigger"].endswith("auto_errors")
        assert met["lasted_s"] >= WINDOW_S
        assert bad_from + WINDOW_S <= met["at"] <= bad_from + WINDOW_S + LOOK_S + 3.0  # 3 s for a busy machine
        assert client.features()["blended_recall"] is False
        assert watch.end() == 1
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["rollback"]["trigger"].endswith("auto_errors")


def test_a_crash_is_seen_and_a_missing_prometheus_is_said(target: EmbeddedTarget, tmp_path: Path) -> None:
    words = ("--i-own-this-target", "--prometheus-url", "http://127.0.0.1:1")
    with watching(tmp_path, target.base_url, *words) as watch, target.client() as client:
        assert "Prometheus: not seen" in watch.wait_for("unseen")["text"]
        target.restart(kill=True)
        assert watch.wait_for("trigger")["met"]["trigger"].endswith("auto_crash")
        watch.wait_for("rollback")
        assert client.features()["blended_recall"] is False
        assert watch.end() == 1
