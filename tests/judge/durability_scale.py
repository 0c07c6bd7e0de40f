"""``python -m tests.judge.durability_scale [ACKS [EACH]]``: the checker at scale; prints time taken and peak memory.

Writes sample files and a read-back of that many acknowledged writes, EACH of them to one memory (default 1: all are
different memories), a few of these lost, to a temporary directory; then checks them in a process of its own, as
``ru_maxrss`` never falls. Exit status 1 where not exactly the lost are found, or it takes more than a gigabyte.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.judge.durability import Checker
from harness.model import Op
from harness.timeline.samples import DTYPE, MAGIC, Samples
from harness.timeline.writes import read_seen, read_writes

LOST_EVERY = 100_000
LIMIT_MB = 1000.0
_PIECE = 500_000


def write(folder: Path, acks: int, each: int) -> None:
    """Each memory is written ``each`` times; the last write is the one to be seen."""
    items = acks // each
    with (folder / "requests-00.bin").open("wb") as samples, (folder / "verify.jsonl").open("w") as seen:
        samples.write(MAGIC)
        for number in range(each):
            for start in range(0, items, _PIECE):
                item = np.arange(start, min(items, start + _PIECE))
                rows: Samples = np.zeros(len(item), dtype=DTYPE)
                rows["op"], rows["item"] = int(Op.STORE), item
                rows["version"] = number * items + item + 1
                rows["sent"] = (number * items + item) / 1000.0
                rows["done"] = rows["sent"] + 0.002
                samples.write(rows.tobytes())
        for place in range(items):
            status, shown = (404, "null") if place % LOST_EVERY == 7 else (200, str(place))
            version = "null" if status == 404 else str((each - 1) * items + place + 1)
            seen.write(
                f'{{"t":1.5,"by":"id","space":0,"item":{place},"status":{status},"outcome":"ok","seen_item":{shown},'
                f'"seen_version":{version},"rank":1}}\n'
            )


def check(folder: Path) -> dict[str, float]:
    """Check what :func:`write` wrote."""
    started = time.monotonic()
    checker = Checker(read_writes(folder))
    read_s = time.monotonic() - started
    for piece in read_seen(folder / "verify.jsonl"):
        checker.check(piece)
    found = checker.result()
    return {
        "acknowledged": found.acknowledged,
        "lost": found.lost,
        "stale": found.stale,
        "checked": found.checked,
        "writes_s": round(read_s, 1),
        "took_s": round(time.monotonic() - started, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> int:
    """Write, check, print."""
    if sys.argv[1:2] == ["check"]:
        print(json.dumps(check(Path(sys.argv[2]))))
        return 0
    acks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    each = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory(prefix="engram-acks-") as folder:
        write(Path(folder), acks, each)
        command = [sys.executable, "-m", "tests.judge.durability_scale", "check", folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr, end="")
    if done.returncode != 0:
        return done.returncode
    found = json.loads(done.stdout)
    lost = len(range(7, acks // each, LOST_EVERY))
    right = (found["acknowledged"], found["lost"], found["stale"]) == (acks // each, lost, 0)
    return 0 if right and found["peak_mb"] <= LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())
