"""Workers side by side keep to cores of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cores import share_of_cores

_DRILL = """
import os
import pytest

@pytest.mark.drill
@pytest.mark.parametrize("n", range(6))
def test_where(n, worker_id):
    with open(os.environ["WHERE"] + worker_id, "w") as file:
        file.write(repr(sorted(os.sched_getaffinity(0))))
"""


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
def test_shares_are_equal_disjoint_and_of_the_cores_given(workers: int) -> None:
    cores = {2, 3, 5, 7, 11}
    shares = [share_of_cores(worker, workers, cores) for worker in range(workers)]
    assert {len(share) for share in shares} == {5 // workers}
    assert len(frozenset().union(*shares)) == workers * (5 // workers)
    assert frozenset().union(*shares) <= cores


def test_more_workers_than_cores_share_them_all() -> None:
    assert share_of_cores(2, 3, {0, 1}) == {0, 1}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_workers_that_have_drills_keep_apart(tmp_path: Path) -> None:
    (tmp_path / "test_drill.py").write_text(_DRILL)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ENGRAM_", "PYTEST_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-n2",
            "-q",
            "-p",
            "no:cacheprovider",
            "--results-dir",
            str(tmp_path / "r"),
            ".",
        ],
        cwd=tmp_path,
        env={**clean, "WHERE": str(tmp_path / "where-"), "ENGRAM_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (set(json.loads(path.read_text())) for path in sorted(tmp_path.glob("where-*")))
    assert first and second
    assert not first & second
