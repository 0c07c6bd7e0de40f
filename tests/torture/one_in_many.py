"""``python -m tests.torture.one_in_many [--writes N]``: one acknowledged memory in N is lost, and must be found.

The drills' own load writes N memories, each once, to a reference Engram that does not keep the Nth. Then everything
is read back and checked, as after a drill.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from harness.judge.durability import Checker, ReadBack
from harness.load.plan import LoadPlan
from harness.load.supervisor import LoadSupervisor
from harness.scenario.workload import Uniform, load_workload
from harness.settings import scenarios_folder
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.writes import read_seen, read_writes

QUIET = "[consolidation]\ninterval_seconds = 3600\n"  # it is the log that is on trial


def run(folder: Path, writes: int, defects: tuple[str, ...]) -> ReadBack:
    """Write, read back, check."""
    workload = load_workload(scenarios_folder() / "durability.toml")
    data = dataclasses.replace(workload.data, num_nodes=writes // 2, memory_spaces=2, distribution=Uniform())
    with EmbeddedTarget(folder / "target", config_text=QUIET, defects=defects) as target:
        plan = LoadPlan(
            workload=dataclasses.replace(workload, data=data, request_timeout_ms=10_000.0),
            base_url=target.base_url,
            seed=1,
            folder=folder / "samples",
            max_duration_s=7200.0,
            preload_deadline_s=3600.0,
        )
        with LoadSupervisor(plan) as load:
            load.preload()
            load.start()
            load.stop()
            load.verify(deadline_s=3600.0)
    checker = Checker(read_writes(folder / "samples"))
    for piece in read_seen(folder / "samples" / "verify.jsonl"):
        checker.check(piece)
    return checker.result()


def main() -> int:
    """Run and print; exit status 1 unless exactly the one is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=100_000)
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="engram-one-in-many-") as folder:
        found = run(Path(folder), given.writes, (f"lost_nth={given.writes}",))
    took_s = time.monotonic() - started
    print(f"{found.acknowledged:,} acknowledged, {found.checked:,} read back in {took_s:.0f} s: {found.lost} lost")
    for text in found.examples.get("lost", []):
        print(text)
    return 0 if found.lost == 1 and found.unreachable == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
