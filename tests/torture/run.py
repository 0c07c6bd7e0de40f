"""``python -m tests.torture.run --kills N``: kill the harness N times and see that nothing of any fault is left.

Prints a table; ``--document`` writes it to ``docs/torture.md``. Exit status 1 where a fault was left behind, a run
directory could not be judged, or healing took too long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.provenance import Provenance

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "torture.md"
LIMIT_S = 2.0
ROUND = 150  # kills of one lane process, so that none grows old

Row = dict[str, Any]


def torture(kills: int, lanes: int, seed: int, folder: Path, kinds: Iterable[str] = ()) -> Iterator[Row]:
    """Kill that often; a row per victim."""
    sizes = [ROUND] * (kills // ROUND) + ([kills % ROUND] if kills % ROUND else [])
    if kills < ROUND * lanes:
        sizes = [kills // lanes + (n < kills % lanes) for n in range(lanes)]
    with ThreadPoolExecutor(lanes) as pool:
        jobs = [pool.submit(_lane, folder / f"lane-{n}", size, seed + n, kinds) for n, size in enumerate(sizes) if size]
        for job in jobs:
            yield from job.result()


def _lane(folder: Path, kills: int, seed: int, kinds: Iterable[str]) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.torture.lane", "--folder", str(folder), "--kills", str(kills)]
    command += ["--seed", str(seed), *(word for kind in kinds for word in ("--kind", kind))]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a lane forks, so it has one thread
    with (folder / "lane.log").open("wb") as log, (folder / "rows.jsonl").open("wb") as out:
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=out, stderr=log, check=False)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    if done.returncode != 0:
        tail = (folder / "lane.log").read_text(errors="replace")[-400:]
        rows.append({"number": 0, "kind": "", "step": "lane", "residual": f"the lane broke: {tail}"})
    return rows


def summary(rows: list[Row]) -> tuple[str, list[Row]]:
    """The tables, and the rows that are not as they must be."""
    dead = [row for row in rows if row.get("killed")]
    bad = [row for row in rows if row.get("residual") or (row.get("killed") and row["verdict"] != "ABORTED")]
    text = ["| fault | kills | in force | residual | not ABORTED | healed p50 s | p99 s | worst s | a kill takes s |"]
    text.append("|---|---|---|---|---|---|---|---|---|")
    text += [_row(kind, [row for row in dead if row["kind"] == kind]) for kind in sorted({r["kind"] for r in dead})]
    text.append(_row("**all**", dead))
    for name, wanted in (("guardian alone heals", False), ("guardian killed too, `harness heal`", True)):
        text.append(_row(name, [row for row in dead if row["guardian_too"] is wanted]))
    text.append(_row("in a whole experiment under load", [row for row in dead if row["whole"]]))
    steps = Counter("random instant" if row["step"] == "random" else row["step"] for row in dead)
    text += ["", "| killed at | kills |", "|---|---|", *(f"| {step} | {n} |" for step, n in sorted(steps.items()))]
    return "\n".join(text), bad


def _row(name: str, rows: list[Row]) -> str:
    times = sorted(row["healed_s"] for row in rows if row["open_entries"])
    shown = [f"{_quantile(times, q):.3f}" for q in (0.5, 0.99, 1.0)] if times else ["-"] * 3
    residual = sum(bool(row["residual"]) for row in rows)
    other = sum(row["verdict"] != "ABORTED" for row in rows)
    took_s = sum(row.get("took_s", 0.0) for row in rows) / max(1, len(rows))
    return f"| {name} | {len(rows)} | {len(times)} | {residual} | {other} | {' | '.join(shown)} | {took_s:.1f} |"


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def p99_s(rows: list[Row]) -> float:
    """Time from death to healed where the guardian was left to do it, of what was in force; 0 where nothing was."""
    times = sorted(
        row["healed_s"] for row in rows if row.get("killed") and row["open_entries"] and not row["guardian_too"]
    )
    return _quantile(times, 0.99) if times else 0.0


def document(text: str, kills: int, seed: int, took_s: float, undosed: list[str], where: str) -> str:
    """The whole of ``docs/torture.md``; ``where`` says what machine and commit."""
    left_out = f"\n\nNot tortured, for want of a dose: {', '.join(undosed)}." if undosed else ""
    return (
        "# Torture\n\n"
        f"Written by `make torture KILLS={kills}` (seed {seed}, {took_s / 60:.0f} min). {where}\n\n"
        "A harness is killed with SIGKILL at every ledger boundary (before, between and after the two copies of each "
        "line), around injection and heal, and at random instants, some of them in a whole experiment under load. "
        "Afterwards the target is compared with what it was: the service's own admin state, its process (stopped, "
        "limits, niceness, cores, cgroup), qdisc, packet filter, cgroups, the hashes of its files, and processes or "
        "files of the run that "
        "live on. `tests/torture/fingerprint.py` reads all of it without any code of the harness. Faults of the "
        "service, its network and its process hit an Engram that outlives the harness; those that end it or damage "
        "its files, one that the harness started and that ends with it. The run directory "
        "must be judged ABORTED.\n\n"
        "*In force* at the kill: an entry of the ledger was open. *Healed*: from the death until the journal says "
        "that all is healed, what was in force alone.\n\n"
        f"{text}{left_out}\n"
    )


def main() -> int:
    """Run, print, write the document where asked."""
    from tests.torture.doses import undosed

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3000)
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary directory)")
    parser.add_argument("--with", dest="more", type=Path, action="append", default=[], help="rows of an earlier run")
    parser.add_argument("--document", action="store_true", help="write docs/torture.md")
    given = parser.parse_args()
    started = time.monotonic()
    machine = Provenance()
    keep = nullcontext(str(given.folder)) if given.folder else tempfile.TemporaryDirectory(prefix="engram-torture-")
    with keep as folder, machine:
        rows = list(torture(given.kills, given.lanes, given.seed, Path(folder), given.kind))
        earlier = [json.loads(line) for path in given.more for line in path.read_text().splitlines()]
        rows += earlier
        if given.folder:
            (given.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text, bad = summary(rows)
    where = machine.sentence + (f" {len(earlier)} rows are of earlier runs." if earlier else "")
    print(text)
    print(where)
    for row in bad:
        print(f"{row['kind']} {row['step']}: {row.get('verdict')} {row['residual']}")
    late = p99_s(rows) > LIMIT_S
    if late:
        print(f"death to healed p99 {p99_s(rows):.2f} s is above {LIMIT_S:g} s")
    if given.document:
        DOCUMENT.parent.mkdir(exist_ok=True)
        took_s = time.monotonic() - started
        DOCUMENT.write_text(
            document(text, sum(bool(r.get("killed")) for r in rows), given.seed, took_s, undosed(), where),
            encoding="utf-8",
        )
    return 1 if bad or late or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
