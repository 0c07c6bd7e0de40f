"""What a day of recording costs the harness in memory: ``python -m tests.soak.memory [HOURS]``.

A synthetic soak's records are taken in one by one and judged as often as a running soak judges, as the engine does it;
printed is this process' resident memory by the hour. Load and target live in processes of their own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psutil

from harness.report.soak import read_soak
from harness.timeline.soak_record import INTERVALS, Lines
from tests.soak.synthetic import Shape, write


def by_the_hour(folder: Path, hours: float) -> list[float]:
    """MB after every hour of a soak of ``hours``."""
    soak = write(folder, Shape(duration_s=hours * 3600))
    taken = folder / "records.jsonl"
    (soak / INTERVALS).rename(taken)
    (soak / INTERVALS).touch()
    record = read_soak(soak, closing=False)
    every = round(record.scenario.record.judge_every_s / record.scenario.record.interval_s)
    hour = round(3600 / record.scenario.record.interval_s)
    process, found = psutil.Process(), []
    for number, interval in enumerate(Lines(taken), start=1):
        record.add(interval)
        if number % every == 0:
            record.judge(running=True)
        if number % hour == 0:
            found.append(process.memory_info().rss / 1e6)
    return found


def main(words: list[str]) -> int:
    """Print it."""
    with tempfile.TemporaryDirectory() as scratch:
        found = by_the_hour(Path(scratch), float(words[0]) if words else 24.0)
    for hour, mb in enumerate(found, start=1):
        sys.stdout.write(f"{hour:>3} h {mb:8.2f} MB {mb / found[0] - 1:+8.2%}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
