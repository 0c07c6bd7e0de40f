"""Defects of the reference, each caught by the criterion meant for it: ``python -m tests.soak.defects [NAME...]``.

Every row is a real soak of the embedded target, eight scaled hours in forty seconds; the first has no defect.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """A defect with its magnitude, and the criterion that must FAIL for it (empty: none may)."""

    defect: str
    criterion: str


ROWS = (
    Row("", ""),
    Row("leak_bytes=8192", "leak"),
    Row("latency_drift=60", "p99_drift"),
    Row("consolidation_stops=12", "consolidation_freshness"),
    Row("error_creep=0.05", "error_rate"),
    Row("crash_after=20", "no_crash"),
    Row("fd_leak=20", "open_files"),
    Row("breaker_flaps=10", "breaker_trips"),
    Row("lost_ack=20", "acknowledged_memories"),
)


def soak(defect: str, results: Path) -> dict[str, Any]:
    """Run one; answers its ``verdict.json``."""
    words = [sys.executable, "-m", "harness.cli", "soak", "--duration", "8h", "--time-scale", "720", "--rate", "200"]
    words += ["--results-dir", str(results), "--json", *(["--defect", defect] if defect else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, 1, 4), done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def main(names: list[str]) -> int:
    """Print the table; 1 where a defect was missed or the healthy one failed."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="soak-defects-") as scratch:
        os.environ["ENGRAM_STATE_DIR"] = str(Path(scratch) / "state")
        for row in ROWS:
            if names and row.defect.partition("=")[0] not in names:
                continue
            verdict = soak(row.defect, Path(scratch) / "results")
            failed = {r["name"]: r for r in verdict["criteria"] if r["verdict"] == "FAIL"}
            caught = row.criterion in failed if row.criterion else not failed
            wrong += not caught
            names_failed = ", ".join(failed) or "none"
            why = failed[row.criterion]["reason"] if row.criterion in failed else f"failed: {names_failed}"
            mark = "caught" if caught and row.criterion else "clean" if caught else "WRONG"
            sys.stdout.write(f"{row.defect or '(none)':<24} {row.criterion:<24} {mark:<7} {why}\n")
            sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
