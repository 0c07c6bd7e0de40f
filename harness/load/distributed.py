"""Load from several machines: Locust's own master and workers, with the same slots and the same schedule.

On one machine the supervisor needs none of this. Across machines, give every worker the same scenario, seed and
number of processes and its own index, and start

    python -m harness.load.distributed worker --plan PLAN.json --master-host H      # once per worker
    python -m harness.load.distributed master --workers N --duration-s S --slots K --summary OUT.json

Each worker keeps its samples and counts beside its plan, on its own clock, and reports what it counted to the master
with Locust's statistics messages; the master adds the histograms up (it never averages percentiles).
"""

from gevent import monkey

monkey.patch_all()

# ruff: noqa: E402 - everything below must see the patched modules
import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from harness.errors import HarnessError, LoadError
from harness.histogram import Histogram
from harness.load.engine import Engine
from harness.load.live import W_NO_SLOT, W_SENT, LiveSnapshot
from harness.load.pipe import fail
from harness.load.plan import KEY_VARIABLE, ProcessPlan
from harness.load.slots import SlotUser, slot_broke, slot_user_of
from harness.model import Op
from harness.timeline.jsonl import write_json_atomically

_LEAD_S = 0.25
_GATHER_DEADLINE_S = 60.0
_REPORT = "engram"


class Worker:
    """One worker: the engine of a process plan, spawned and stopped by the master."""

    def __init__(self, plan: ProcessPlan, host: str, port: int) -> None:
        self._plan = plan
        self._engine = Engine(plan, os.environ.get(KEY_VARIABLE), fail)
        self._engine.warm()
        environment = Environment(user_classes=[slot_user_of(self._engine)])
        events = environment.events
        events.user_error.add_listener(slot_broke)  # type: ignore[no-untyped-call]
        events.spawning_complete.add_listener(self._go)  # type: ignore[no-untyped-call]
        events.report_to_master.add_listener(self._report)  # type: ignore[no-untyped-call]
        events.test_stopping.add_listener(self._stop)  # type: ignore[no-untyped-call]
        self._stopped = Event()
        self._runner: WorkerRunner = environment.create_worker_runner(host, port)

    def run(self) -> None:
        """Work until the master says that the load is over, or for the plan's longest duration."""
        self._stopped.wait(self._plan.max_duration_s)
        gevent.sleep(2.0)  # Locust reports every second or so; the last counts go with the next report
        self._runner.quit()

    def _go(self, user_count: int, **_: Any) -> None:
        if user_count:
            self._engine.start(time.monotonic() + _LEAD_S)

    def _stop(self, **_: Any) -> None:
        if not self._stopped.is_set():
            self._engine.stop(time.monotonic())
            self._stopped.set()

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        snapshot = LiveSnapshot.read(self._plan.live_path)
        if snapshot is not None:
            data[_REPORT] = {
                "process": self._plan.process,
                "sent": snapshot.word(W_SENT),
                "no_free_slot": snapshot.word(W_NO_SLOT),
                "outcomes": {
                    op.name.lower(): {outcome.name.lower(): count for outcome, count in row.items()}
                    for op, row in snapshot.outcomes().items()
                },
                "latency_hdr": {op.name.lower(): snapshot.latency(op).to_hdr() for op in Op},
                "lag_hdr": snapshot.lag().to_hdr(),
            }


class Master:
    """Gathers workers, lets them run, adds up what they counted."""

    def __init__(self, workers: int, host: str, port: int) -> None:
        self._workers = workers
        environment = Environment(user_classes=[SlotUser])
        environment.events.worker_report.add_listener(self._take)  # type: ignore[no-untyped-call]
        self._runner: MasterRunner = environment.create_master_runner(host, port)
        self._counted: dict[str, dict[str, Any]] = {}

    def run(self, slots: int, duration_s: float) -> dict[str, Any]:
        """Run ``slots`` slots on all workers together for ``duration_s`` seconds; gives the sum of their reports.

        Raises :class:`LoadError` where the workers did not come, or one was lost.
        """
        deadline = time.monotonic() + _GATHER_DEADLINE_S
        while len(self._runner.clients.ready) < self._workers:
            if time.monotonic() > deadline:
                raise LoadError(f"{len(self._runner.clients.ready)} of {self._workers} workers came", where="master")
            gevent.sleep(0.05)
        self._runner.start(slots, spawn_rate=slots)
        gevent.sleep(duration_s)
        lost = len(self._runner.clients.missing)
        self._runner.stop()
        gevent.sleep(2.5)  # the workers' last reports
        self._runner.quit()
        if lost or len(self._counted) < self._workers:
            raise LoadError(f"{len(self._counted)} of {self._workers} workers reported, {lost} lost", where="master")
        return added_up(list(self._counted.values()))

    def _take(self, client_id: str, data: dict[str, Any]) -> None:
        if _REPORT in data:
            self._counted[client_id] = data[_REPORT]


def added_up(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of the workers' reports: counts added, histograms merged."""
    outcomes: dict[str, dict[str, int]] = {}
    for report in reports:
        for op, row in report["outcomes"].items():
            mine = outcomes.setdefault(op, {})
            for outcome, count in row.items():
                mine[outcome] = mine.get(outcome, 0) + count
    latency = Histogram.merged(Histogram.from_hdr(text) for r in reports for text in r["latency_hdr"].values())
    lag = Histogram.merged(Histogram.from_hdr(report["lag_hdr"]) for report in reports)
    return {
        "schema": 1,
        "workers": len(reports),
        "processes": sorted(report["process"] for report in reports),
        "sent": sum(report["sent"] for report in reports),
        "no_free_slot": sum(report["no_free_slot"] for report in reports),
        "outcomes": outcomes,
        "latency_ms": {f"p{p:g}": latency.percentile(p) * 1000 for p in (50, 95, 99, 99.9)},
        "schedule_lag_ms": {f"p{p:g}": lag.percentile(p) * 1000 for p in (50, 99, 99.9)},
        "latency_hdr": latency.to_hdr(),
    }


def main(arguments: list[str]) -> int:
    """Run a worker or the master; exit code 0 when the load is over, 3 where it could not be run."""
    parser = argparse.ArgumentParser(prog="python -m harness.load.distributed")
    roles = parser.add_subparsers(dest="role", required=True)
    worker = roles.add_parser("worker")
    worker.add_argument("--plan", type=Path, required=True, help="a process plan, as the supervisor writes them")
    worker.add_argument("--master-host", default="127.0.0.1")
    master = roles.add_parser("master")
    master.add_argument("--bind-host", default="127.0.0.1")
    master.add_argument("--workers", type=int, required=True)
    master.add_argument("--slots", type=int, required=True, help="of all workers together")
    master.add_argument("--duration-s", type=float, required=True)
    master.add_argument("--summary", type=Path, required=True)
    for role in (worker, master):
        role.add_argument("--port", type=int, default=5557)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        if options.role == "worker":
            plan = ProcessPlan.from_json(json.loads(options.plan.read_text(encoding="utf-8")))
            Worker(plan, options.master_host, options.port).run()
        else:
            result = Master(options.workers, options.bind_host, options.port).run(options.slots, options.duration_s)
            write_json_atomically(options.summary, result)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
