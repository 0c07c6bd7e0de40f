"""Locust master and workers with our slots: the schedule is shared, the counts are added up."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from harness.load import LoadPlan
from harness.timeline.samples import read_all_samples
from tests.load.servers import small_workload, stub


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_two_workers_share_one_schedule_and_the_master_adds_them_up(tmp_path: Path) -> None:
    module, port = [sys.executable, "-m", "harness.load.distributed"], str(_free_port())
    folder = tmp_path / "samples"
    folder.mkdir()
    with stub(tmp_path) as (url, _):
        plan = LoadPlan(small_workload(), url, 7, folder, 20.0, processes=2)
        workers = []
        for number in range(2):
            part = plan.for_process(number)
            part.plan_path.write_text(json.dumps(part.as_json()))
            command = [*module, "worker", "--plan", str(part.plan_path), "--port", port]
            workers.append(subprocess.Popen(command))
        summary = tmp_path / "summary.json"
        slots = str(plan.slots_per_process * 2)
        command = [*module, "master", "--workers", "2", "--slots", slots, "--duration-s", "1.5", "--port", port]
        try:
            done = subprocess.run([*command, "--summary", str(summary)], timeout=40, check=False)
            assert done.returncode == 0
            assert [worker.wait(10) for worker in workers] == [0, 0]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    told = json.loads(summary.read_text())
    samples = read_all_samples(folder)
    assert told["processes"] == [0, 1]
    assert told["sent"] == sum(sum(row.values()) for row in told["outcomes"].values()) > 100
    ended: Counter[str] = Counter()
    for row in told["outcomes"].values():
        ended.update(row)
    assert ended["ok"] > 100
    assert ended.keys() <= {"ok", "cancelled"}, (
        "what the end of the load finds in flight is cancelled, and nothing fails"
    )
    # Each worker stops on its own clock, so only the ends of their halves may differ.
    for process in range(2):
        mine = np.sort(samples["sequence"][samples["sequence"] % 2 == process])
        assert np.array_equal(mine, np.arange(len(mine)) * 2 + process)
    assert told["sent"] == len(samples)
