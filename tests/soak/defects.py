"""Defects of the reference, each caught by the criterion meant for it: ``python -m tests.soak.defects [NAME...]``.

Every row is a real soak of the embedded target, eight scaled hours in forty seconds; the first has no defect.
``--document`` writes the table to ``docs/soak_defects.md``.
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

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "soak_defects.md"


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


def look(row: Row, results: Path) -> tuple[str, str]:
    """One row: ``caught``, ``clean`` or ``WRONG``, and the reason."""
    failed = {r["name"]: r for r in soak(row.defect, results)["criteria"] if r["verdict"] == "FAIL"}
    good = row.criterion in failed if row.criterion else not failed
    why = failed[row.criterion]["reason"] if row.criterion in failed else f"failed: {', '.join(failed) or 'none'}"
    return ("caught" if good and row.criterion else "clean" if good else "WRONG"), why


def document(found: list[tuple[Row, str, str]]) -> str:
    """The whole of ``docs/soak_defects.md``."""
    lines = [
        f"| `{row.defect or 'none'}` | `{row.criterion or '-'}` | {mark} | {why.replace('|', '/')} |"
        for row, mark, why in found
    ]
    return (
        "# What the soak catches\n\n"
        "Written by `python -m tests.soak.defects --document`: a soak of eight hours in forty seconds (time scale 720, "
        "200 ops/s offered) of the reference Engram with one defect, and the criterion that is meant for it. Any other "
        "criterion may fail, too; of the healthy one none may.\n\n"
        "| defect | criterion | | reason |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )


def main(words: list[str]) -> int:
    """Print the table, write it where asked; 1 where a defect was missed or the healthy one failed."""
    names = [word for word in words if word != "--document"]
    found = []
    with tempfile.TemporaryDirectory(prefix="soak-defects-") as scratch:
        os.environ["ENGRAM_STATE_DIR"] = str(Path(scratch) / "state")
        for row in ROWS:
            if names and row.defect.partition("=")[0] not in names:
                continue
            mark, why = look(row, Path(scratch) / "results")
            found.append((row, mark, why))
            sys.stdout.write(f"{row.defect or '(none)':<24} {row.criterion:<24} {mark:<7} {why}\n")
            sys.stdout.flush()
    if len(found) == len(ROWS) and "--document" in words:
        DOCUMENT.write_text(document(found), encoding="utf-8")
    return 1 if any(mark == "WRONG" for _, mark, _ in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
