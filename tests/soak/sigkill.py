"""A soak is SIGKILLed at random moments and gone on with: ``python -m tests.soak.sigkill [--kills 50] [--seed N]``.

Every kill may hit the start, the preload, a recording, an fsync or a judging. After each, what was recorded before must
still be there byte for byte; at the end the verdict must be that of an uninterrupted run, but for what a gap changes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from harness.timeline.soak_record import CASE, INTERVALS, Lines, is_soak

_WHILE_RECORDING = 0.8  # of the kills; the others hit wherever it is, most often the start
# What a gap may change: the time observed, slopes with less to go by, and restarts between them.
GAP_CRITERIA = {"observed", "p99_drift", "leak", "rss_settled", "memory_growth", "offered_rate", "open_files"}


def command(results: Path, duration: str, scale: float, session: Path | None) -> list[str]:
    """The soak's command line: a new one, or to go on with ``session`` as it was planned."""
    words = [sys.executable, "-m", "harness.cli", "soak", "--results-dir", str(results)]
    if session is not None:
        return [*words, "--resume", str(session)]
    return [*words, "--duration", duration, "--time-scale", f"{scale:g}", "--rate", "60"]


def session_of(results: Path) -> Path | None:
    """The one session below ``results``, once it can be gone on with."""
    return next((p for p in sorted(results.iterdir()) if is_soak(p / CASE)), None) if results.is_dir() else None


def whole_lines(path: Path) -> bytes:
    """What is recorded, without a torn last line."""
    raw = path.read_bytes() if path.exists() else b""
    return raw[: raw.rfind(b"\n") + 1]


def wait_for_growth(session: Path | None, results: Path, child: subprocess.Popen[bytes]) -> None:
    """Until the segment has recorded something, the process has ended, or a minute has passed."""
    known = session / CASE / INTERVALS if session else None
    size = known.stat().st_size if known and known.exists() else 0
    end, tick = time.monotonic() + 60.0, threading.Event()
    while child.poll() is None and time.monotonic() < end:
        session = session or session_of(results)
        path = session / CASE / INTERVALS if session else None
        if path is not None and path.exists() and path.stat().st_size > size:
            return
        tick.wait(0.02)


def run(kills: int, seed: int, duration: str, scale: float, results: Path) -> dict[str, Any]:
    """Kill and go on until it has ended; answers what happened. Raises AssertionError where a record was lost."""
    draw = random.Random(seed)
    done, before, torn = 0, b"", 0
    log = (results.parent / "soak.log").open("ab")
    while True:
        session = session_of(results)
        child = subprocess.Popen(command(results, duration, scale, session), stdout=log, stderr=log)
        if done < kills and draw.random() < _WHILE_RECORDING:
            wait_for_growth(session, results, child)
        try:
            child.wait(draw.uniform(0.0, 4.0) if done < kills else 600.0)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            done += 1
        session = session_of(results)
        if session is not None:
            now = whole_lines(session / CASE / INTERVALS)
            assert now.startswith(before), f"a recorded interval was lost or changed at kill {done}"
            torn += (session / CASE / INTERVALS).stat().st_size != len(now)
            before = now
        if child.returncode in (0, 1, 4):
            break
        assert child.returncode in (-signal.SIGKILL, 3), f"ended with {child.returncode}"
        if child.returncode == 3:
            break  # it had ended when it was killed; the verdict is written below
    log.close()
    assert session is not None
    subprocess.run([sys.executable, "-m", "harness.cli", "judge", str(session)], stdout=subprocess.DEVNULL, check=False)
    verdict = json.loads((session / CASE / "verdict.json").read_text())
    records = list(Lines(session / CASE / INTERVALS))
    assert [r["n"] for r in records] == list(range(len(records))), "the intervals are not numbered through"
    assert all(b["from_s"] >= a["to_s"] - 1e-6 for a, b in itertools.pairwise(records)), "intervals overlap"
    return {"kills": done, "intervals": len(records), "segments": records[-1]["segment"] + 1, "torn": torn,
            "gaps": len(verdict["gaps"]), "verdict": verdict}  # fmt: skip


def say(line: str) -> None:
    """One line of the result."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Run, print, compare with an uninterrupted run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duration", default="6h")
    parser.add_argument("--time-scale", type=float, default=200.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-sigkill-") as scratch:
        root = Path(scratch)
        os.environ["ENGRAM_STATE_DIR"] = str(root / "state")
        begun = time.monotonic()
        killed = run(options.kills, options.seed, options.duration, options.time_scale, root / "killed")
        whole = run(0, options.seed, options.duration, options.time_scale, root / "whole")
        took = time.monotonic() - begun
    got = {r["name"]: r for r in killed["verdict"]["criteria"]}
    say(
        f"{killed['kills']} kills, {killed['segments']} segments, {killed['gaps']} gaps, "
        f"{killed['intervals']} intervals, {killed['torn']} torn ends, {took:.0f} s; "
        f"verdict {killed['verdict']['verdict']}, uninterrupted {whole['verdict']['verdict']}"
    )
    wrong = 0
    for b in whole["verdict"]["criteria"]:
        name, a = b["name"], got[b["name"]]
        note = "" if a["verdict"] == b["verdict"] else (" (a gap's doing)" if name in GAP_CRITERIA else " DIFFERS")
        wrong += note == " DIFFERS"
        say(f"  {name:<26} {a['verdict']:<13} {b['verdict']:<13}{note}  {a['reason']}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
