"""A watch in a process of its own over a real reference, and the moments at which that goes bad.

``python -m tests.rollout.watched_live docs/watch.md`` writes the table at ``--time-scale 60`` (``make watches``); the
tests look at the same scenes at a larger one. Every breach is far beyond its bound, so that a busy machine does not
decide: all recalls fail, or take 400 ms where 250 ms are allowed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.engram import EngramClient
from harness.targets.embedded import EmbeddedTarget
from tests.reference.server import ROOT

CONFIG = "[features]\nblended_recall = true\nfan_effect = true\n"
LIMIT_MB = 200.0
LEAK = "leak_bytes=200000"  # a request: the watch alone would need 15 s at --time-scale 60 to fill the limit
BOUND_MS = 250.0
SLOW_MS = 400.0
LOOK_S = 30.0
LATE_S = 3.0  # for a busy machine
T = TypeVar("T")


class Watching:
    """A watch in a process of its own, and all it says."""

    def __init__(self, folder: Path, url: str, *words: str, scale: float = 60.0) -> None:
        self.state = folder / "state.json"
        options = ["--target", url, "--phase", "5", "--time-scale", f"{scale:g}", "--state", str(self.state), "--json"]
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

    def said(self, event: str) -> dict[str, Any] | None:
        """The first event of that name so far."""
        with self._news:
            return next((e for e in self.events if e["event"] == event), None)

    def wait_for(self, event: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The first event of that name."""
        return self.until(lambda: self.said(event), timeout_s)

    def until(self, look: Callable[[], T | None], timeout_s: float = 60.0) -> T:
        """What a look finds, once it does."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = look()
            if found is not None:
                return found
            assert time.monotonic() < deadline, [(e["event"], e.get("text")) for e in self.events]
            with self._news:
                self._news.wait(0.05)

    def breach(self, trigger: str) -> float | None:
        """How long (s) the trigger's breach under way has lasted, as the state kept on disk says; None without one."""
        kept = json.loads(self.state.read_text()) if self.state.exists() else {"breaches": []}
        own = [b["last"] - b["since"] for b in kept["breaches"] if b["trigger"].endswith(trigger)]
        return max(own) if own else None

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
def watching(folder: Path, url: str, *words: str, scale: float = 60.0) -> Iterator[Watching]:
    """A watch that is over when the block is."""
    watch = Watching(folder, url, *words, scale=scale)
    try:
        yield watch
    finally:
        watch.end()


@contextmanager
def reference(folder: Path, *defects: str, more: str = "") -> Iterator[EmbeddedTarget]:
    """A running reference that blends every recall."""
    with EmbeddedTarget(folder / "target", config_text=CONFIG + more, defects=defects, start_timeout_s=60.0) as found:
        yield found


@dataclass(frozen=True)
class Scene:
    """What goes bad by a request to the reference: its trigger and window (s of full scale), and how.

    ``cured``: whether the rollback ends it; otherwise we do, once the trigger is met.
    """

    name: str
    trigger: str
    window_s: float
    defects: tuple[str, ...]
    spoil: Callable[[EngramClient, float], object]
    cured: bool


SCENES = (
    Scene("P99", "auto_latency", 900.0, (), lambda client, ttl_s: client.chaos_latency(SLOW_MS, ttl_s=ttl_s), True),
    Scene(
        "error rate",
        "auto_errors",
        600.0,
        ("health_lies=1",),
        lambda client, ttl_s: client.chaos_consolidation_fail_rate(1.0, ttl_s=ttl_s),
        False,
    ),
)


@dataclass(frozen=True)
class Seen:
    """A breach that was met: seconds from its beginning to the look that met it, how long it is proven to last."""

    after_s: float
    lasted_s: float
    exit_code: int


def plan(folder: Path) -> Path:
    """The runbook's plan with the bound of the automated P99 trigger raised to what no busy machine passes."""
    text = (ROOT / "scenarios" / "rollout" / "runbook.toml").read_text(encoding="utf-8")
    changed, count = re.subn(r"(auto_latency = .*?bound = )20\b", rf"\g<1>{BOUND_MS:g}", text)
    assert count == 1
    path = folder / "plan.toml"
    path.write_text(changed, encoding="utf-8")
    return path


def short_then_long(scene: Scene, folder: Path, scale: float, share: float = 0.5) -> tuple[float, Seen]:
    """A breach of that share of the window, which must do nothing, then one that lasts.

    Answers how long the short one was seen to last, and the long one. Raises AssertionError where the watch acted on
    the short one, or did not roll back what the long one asks for.
    """
    window_s = scene.window_s / scale
    with (
        reference(folder, *scene.defects) as target,
        watching(folder, target.base_url, "--i-own-this-target", "--plan", str(plan(folder)), scale=scale) as watch,
        target.client() as client,
    ):
        watch.wait_for("begun")
        scene.spoil(client, share * window_s)
        short_s = watch.until(lambda: watch.breach(scene.trigger))

        def over() -> bool | None:
            nonlocal short_s
            now_s = watch.breach(scene.trigger)
            short_s = max(short_s, now_s or 0.0)
            return True if now_s is None else None

        watch.until(over)
        assert watch.said("trigger") is None, watch.said("trigger")
        assert client.features()["blended_recall"] is True
        bad_from = time.monotonic()
        scene.spoil(client, 20.0 * window_s)
        met = watch.wait_for("trigger")["met"]
        if not scene.cured:
            scene.spoil(client, 0.05)
        assert watch.wait_for("rollback")["rollback"]["status"] == "done"
        assert met["trigger"].endswith(scene.trigger)
        assert client.features()["blended_recall"] is False
        return short_s, Seen(met["at"] - bad_from, met["lasted_s"], watch.end())


def filling(folder: Path, scale: float) -> tuple[float, Seen]:
    """Memory that grows up to its bound, then, at a moment of ours, beyond it.

    Answers the share that was last seen to be let pass, and what was met. Raises AssertionError as above.
    """
    with (
        reference(folder, LEAK, more=f"[memory]\nlimit_mb = {LIMIT_MB:g}\n") as target,
        watching(folder, target.base_url, "--i-own-this-target", scale=scale) as watch,
        target.client() as client,
    ):
        watch.wait_for("begun")
        last, under, bad_from = 0.0, time.monotonic(), 0.0
        while not bad_from:
            if watch.said("trigger") is not None:  # the watch's own requests leak as well, and were the last few
                bad_from = under
                break
            for _ in range(25):  # 5 MB
                client.health()
            at, scraped = time.monotonic(), client.metrics()
            share = (scraped.value("process_resident_memory_bytes") or 0.0) / (LIMIT_MB * 2**20)
            if share > 0.9:
                bad_from = time.monotonic()
            else:
                last, under = share, at
        met = watch.wait_for("trigger")["met"]
        watch.wait_for("rollback")
        assert met["trigger"].endswith("auto_memory")
        assert met["at"] >= under
        assert client.features()["blended_recall"] is False
        return last, Seen(met["at"] - bad_from, met["lasted_s"], watch.end())


def killed(folder: Path, scale: float) -> Seen:
    """A process that is killed and started again."""
    with (
        reference(folder) as target,
        watching(folder, target.base_url, "--i-own-this-target", scale=scale) as watch,
        target.client() as client,
    ):
        watch.until(lambda: (watch.state.exists() and json.loads(watch.state.read_text())["looks"] > 1) or None)
        bad_from = time.monotonic()
        target.restart(kill=True)
        met = watch.wait_for("trigger")["met"]
        watch.wait_for("rollback")
        assert met["trigger"].endswith("auto_crash")
        assert client.features()["blended_recall"] is False
        return Seen(met["at"] - bad_from, met["lasted_s"], watch.end())


HEAD = """# Watch: bad at a scripted moment

Written by `make watches`: `harness rollout watch --time-scale 60` over a running reference, a look every 0.5 s. "Rolled
back after" counts from the request that made it bad (memory: from the scrape that was first above the bound; process:
from the kill, so its restart is in it) to the look that met the trigger. The P99 bound of this plan is 250 ms and
recalls take 400, so that a busy machine does not decide. Memory and process have no window: what they must not act on
is memory below the bound.

| goes bad | window | shorter: seen for | then | lasting: rolled back after | proven to have lasted | exit |
|---|---|---|---|---|---|---|
"""


def rows(scale: float) -> Iterator[str]:
    """The table's lines."""
    for scene in SCENES:
        with tempfile.TemporaryDirectory() as folder:
            short_s, seen = short_then_long(scene, Path(folder), scale, 0.9)
        yield _row(scene.name, f"{scene.window_s / scale:g} s", f"{short_s:.2f} s", seen)
    with tempfile.TemporaryDirectory() as folder:
        share, seen = filling(Path(folder), scale)
    yield _row("memory", "none", f"{share:.0%} full", seen)
    with tempfile.TemporaryDirectory() as folder:
        yield _row("process", "none", "", killed(Path(folder), scale))


def _row(name: str, window: str, short: str, seen: Seen) -> str:
    then = "nothing" if short else ""
    return f"| {name} | {window} | {short} | {then} | {seen.after_s:.2f} s | {seen.lasted_s:.2f} s | {seen.exit_code} |"


def main(words: Sequence[str]) -> int:
    """Write the table to the file named, and show it."""
    lines = []
    for line in rows(60.0):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        lines.append(line)
    Path(words[0]).write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
