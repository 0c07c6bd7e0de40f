"""Drill sessions as a user starts them: ``pytest drills/...`` in a process of its own, at a scale of seconds.

The scenarios are the project's own with one profile more, ``tiny``, whose windows are two seconds; the limits that a
two-second sample cannot decide are widened there, so that what is tested is the machinery and not the statistics.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
_TINY = """
[profiles.tiny]
time_scale = 300.0
rate_ops_per_s = 400.0
consolidation_interval_s = 0.1
cohort_rates = [0.75]
semantic_latency_ms = [50.0]
consolidation_fail_rate = [0.5]
binding_corruption_rate = [0.2]
restart = true
"""
_WIDER: dict[str, float | str] = {
    "error_rate": 0.02,
    "drill_recovery_s": 3000.0,
    "drill_abort_s": 4500.0,
    "recall_p99_ms": "inf",
    "semantic_timeout_ratio": 0.6,
    "binding_filter_ratio": 0.05,
    "missed_success_ratio": 0.6,
    "rss_growth_mb_per_h": 1e6,
}


def tiny_scenarios(folder: Path) -> Path:
    """A copy of the project's scenarios with the ``tiny`` profile and limits that two seconds can decide."""
    copy = folder / "scenarios"
    shutil.copytree(ROOT / "scenarios", copy)
    profiles = (copy / "profiles.toml").read_text()
    extra = "".join(
        f"{key} = {value}\n" for key, value in (("max_schedule_lag_p99_ms", 1000.0), ("max_host_lag_p99_ms", 1000.0))
    )
    for line in extra.splitlines():
        key = line.split(" ")[0]
        profiles = re.sub(rf"(?m)^{key} = .*$", line, profiles)
    lines = [line for line in _TINY.splitlines() if line]
    known = set(re.findall(r"(?m)^(\w+) = ", profiles.split("[profiles.quick]")[1].split("[profiles.")[0]))
    mine = {line.split(" ")[0] for line in lines}
    quick = profiles.split("[profiles.quick]")[1].split("[profiles.")[0]
    lines += [line for line in quick.splitlines() if (key := line.split(" ")[0]) in known and key not in mine]
    (copy / "profiles.toml").write_text(profiles + "\n" + "\n".join(lines) + "\n")
    limits = (copy / "slo.toml").read_text()
    for name, value in _WIDER.items():
        limits = re.sub(rf"(\[{name}\]\nvalue = )[0-9.]+", rf"\g<1>{value}", limits)
    (copy / "slo.toml").write_text(limits)
    return copy


class DrillRun:
    """One ``pytest drills/...`` process and all it prints. A context manager that leaves nothing running."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.results = folder / "results"
        self.state = folder / "state"
        self.junit = folder / "junit.xml"
        scenarios = folder / "scenarios"
        if not scenarios.exists():
            tiny_scenarios(folder)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={self.junit}", *arguments]
        if not any(a.startswith("--results-dir") for a in arguments):
            command += ["--results-dir", str(self.results)]
        if not any(a.startswith("--profile") for a in arguments):
            command += ["--profile", "tiny"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ENGRAM_", "PYTEST_"))}
        own = {"ENGRAM_SCENARIOS_DIR": str(scenarios), "ENGRAM_STATE_DIR": str(self.state), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**clean, **own, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.output = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.output += line
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait until ``text`` was printed."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while text not in self.output:
                left = deadline - time.monotonic()
                assert left > 0 and (self.process.poll() is None or self._reader.is_alive()), self.output
                self._news.wait(min(left, 1.0))

    def wait(self, timeout_s: float = 180.0) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(timeout_s)
        self._reader.join(10)
        return code

    @property
    def session(self) -> Path:
        """The one session directory."""
        found = [path for path in self.results.iterdir() if path.is_dir()]
        assert len(found) == 1, (found, self.output)
        return found[0]

    def verdict(self) -> dict[str, Any]:
        """The session's ``verdict.json``."""
        value: dict[str, Any] = json.loads((self.session / "verdict.json").read_text())
        return value

    def case(self) -> Path:
        """The first case's directory."""
        return min(path for path in self.session.iterdir() if path.is_dir())

    def target_pid(self) -> int:
        """The pid of the embedded target, from the manifest."""
        return int(json.loads((self.case() / "manifest.json").read_text())["target"]["pid"])
