"""Judging 24 hours, 86.4 million requests: at most 10 seconds and 500 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.soak.synthetic import ROOT, write

JUDGE = """
import json, resource, sys
from pathlib import Path
from harness.cli import main
code = main(["judge", sys.argv[1]])
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss: across exec that keeps the peak of whoever started this process.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({"code": code, "cpu_s": used.ru_utime + used.ru_stime, "rss_mb": int(peak.split()[1]) / 1024}))
"""


def test_a_whole_day_is_judged_in_seconds(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 50e6
    # CPU time: what a busy machine adds in waiting says nothing about the judge.
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    used = json.loads(done.stdout.splitlines()[-1])
    assert used["code"] == 0, done.stdout
    assert used["cpu_s"] <= 10
    assert used["rss_mb"] <= 500
    verdict = json.loads((folder / "verdict.json").read_text())
    assert sum(verdict["samples"].values()) == 86_400_000
