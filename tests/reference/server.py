"""A reference Engram in a process of its own, as the tests drive it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[features]
blended_recall = true
fan_effect = true
[consolidation]
interval_seconds = 0.05
[chaos]
chaos_seed = 7
"""
TOPICS = 2
DEADLINE_S = 10.0


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll ``condition`` until it answers something true; fail the test after ``deadline_s``."""
    end, tick = time.monotonic() + deadline_s, threading.Event()
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        tick.wait(0.01)


def command(*arguments: str) -> list[str]:
    """The command line of the reference."""
    return [sys.executable, "-m", "harness.reference", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, so that the package is found from any directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(extra or {})}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reference to its end."""
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=20, check=False
    )


def vectors(count: int, seed: int = 11) -> list[list[float]]:
    """``count`` vectors around TOPICS far apart directions, alternately."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(TOPICS, 768))
    centres /= np.linalg.norm(centres, axis=1)[:, None]
    noise = random.normal(size=(count, 768))
    noise /= np.linalg.norm(noise, axis=1)[:, None]
    rows = centres[np.arange(count) % TOPICS] + 0.4 * noise
    return [[round(float(x), 6) for x in row] for row in rows]


VECTORS = vectors(24)


class Server:
    """One service; ``start`` again after ``stop`` or ``kill`` comes back on the same data."""

    def __init__(self, directory: Path, *arguments: str, config: str = CONFIG, env: Mapping[str, str] | None = None):
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = directory / "data"
        self.arguments = list(arguments)
        self._port_file = directory / "port"
        self._output = directory / "output.txt"
        self._config = directory / "engram.toml"
        self._config.write_text(config, encoding="utf-8")
        self._env = environment(env)
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(verify=False)

    def start(self) -> Server:
        """Start and wait until it listens."""
        self._port_file.unlink(missing_ok=True)
        paths = ["--port", "0", "--data-dir", str(self.data_dir), "--config", str(self._config)]
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                command(*paths, "--port-file", str(self._port_file), *self.arguments),
                env=self._env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(self._listening, "listening")
        port = int(self._port_file.read_text(encoding="ascii"))
        self.client.close()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0, verify=False)
        return self

    def _listening(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended: {self.output}"
        return self._port_file.exists()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(encoding="utf-8")

    def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(15)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(15)

    def close(self) -> None:
        """Leave nothing running."""
        self.client.close()
        self.kill()

    def remember(self, memory_id: str, content: str, *, expect: int = 201, **more: Any) -> dict[str, Any]:
        """Store a memory."""
        space = more.pop("space", None)
        reply = self.client.post(
            "/api/v1/memories/remember",
            json={"id": memory_id, "content": content, **more},
            headers={"x-memory-space": space} if space else {},
        )
        assert reply.status_code == expect, reply.text
        return dict(reply.json())

    def populate(self) -> None:
        """Two topics of twelve memories each, consolidated into two concepts."""
        with ThreadPoolExecutor(6) as pool:  # six share a commit
            list(pool.map(self._remember_note, range(len(VECTORS))))
        wait_for(lambda: self.stats()["bindings"] == len(VECTORS), "all episodes bound")

    def _remember_note(self, i: int) -> None:
        self.remember(f"m{i}", f"note number{i} on topic{i % TOPICS}", embedding=VECTORS[i])

    def recall(self, query: str = "number3 topic1", *, user: str = "", **params: Any) -> httpx.Response:
        """Recall by words."""
        headers = {"x-user-id": user} if user else {}
        return self.client.get("/api/v1/memories/recall", params={"query": query, **params}, headers=headers)

    def recalled(self, query: str = "number3 topic1", **params: Any) -> list[dict[str, Any]]:
        """The memories of a successful recall, in order."""
        reply = self.recall(query, **params)
        assert reply.status_code == 200, reply.text
        return items(reply)

    def metadata(self, query: str = "number3 topic1", **params: Any) -> dict[str, Any]:
        """The metadata of a successful recall."""
        reply = self.recall(query, **params)
        assert reply.status_code == 200, reply.text
        return dict(reply.json()["metadata"])

    def stats(self) -> dict[str, Any]:
        """Consolidation statistics."""
        return dict(self.client.get("/api/v1/consolidations").json()["stats"])

    def runs(self, more: int) -> None:
        """Wait for ``more`` consolidation runs."""
        target = self.stats()["total_runs"] + more
        wait_for(lambda: self.stats()["total_runs"] >= target, f"{more} more runs")

    def chaos(self, path: str, expect: int = 200, **body: Any) -> dict[str, Any]:
        """A chaos request, sent as the runbook's curl sends it."""
        content = json.dumps(body) if body else ""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = self.client.post(f"/api/v1/admin/chaos/{path}", content=content, headers=headers)
        assert reply.status_code == expect, reply.text
        return dict(reply.json())

    def heal(self) -> None:
        """End every fault."""
        self.chaos("consolidation/fail_rate", fail_rate=0)
        self.chaos("semantic_pathway/latency", latency_ms=0)
        self.chaos("latency", latency_ms=0)
        self.chaos("binding_index/restore")

    def faults(self) -> list[dict[str, Any]]:
        """What the listing calls active."""
        return list(self.client.get("/api/v1/admin/chaos").json()["active"])

    def invalid(self) -> int:
        """How many bindings are invalid."""
        return int(self.client.get("/api/v1/admin/bindings", params={"limit": 0}).json()["invalid"])

    def flags(self, expect: int = 200, **changes: Any) -> dict[str, Any]:
        """Change flags, or read them."""
        path = "/api/v1/admin/features"
        reply = self.client.post(path, json=changes) if changes else self.client.get(path)
        assert reply.status_code == expect, reply.text
        return dict(reply.json())

    def metrics(self) -> dict[str, float]:
        """Samples by name; those of a cohort as ``name{cohort}``."""
        found = {}
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                cohort = sample.labels.get("cohort")
                bucket = sample.labels.get("le")
                if bucket is None:
                    found[f"{sample.name}{{{cohort}}}" if cohort else sample.name] = sample.value
        return found


def items(reply: httpx.Response) -> list[dict[str, Any]]:
    """The memories of a recall answer, vivid ones first."""
    groups = reply.json()["memories"]
    return [item for name in ("vivid", "associated", "reconstructed") for item in groups[name]]
