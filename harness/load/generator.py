"""The load process: ``python -m harness.load.generator PLAN.json``; started by the supervisor, ends with it.

Commands: ``{"do": "preload" | "start" | "samples" | "stop" | "quit", ...}`` (:mod:`harness.load.pipe`).
"""

from gevent import monkey

monkey.patch_all()

# ruff: noqa: E402 - everything below must see the patched modules
import gc
import logging
import os
import sys
import time
from typing import Any

import gevent
from locust.env import Environment

from harness.errors import HarnessError
from harness.load.engine import Engine
from harness.load.page import Page
from harness.load.pipe import commands, fail, read_plan, say
from harness.load.plan import KEY_VARIABLE, ProcessPlan
from harness.load.slots import slot_broke, slot_user_of

_SPAWN_DEADLINE_S = 15.0


class Generator:
    """One load process between its plan and its end."""

    def __init__(self, plan: ProcessPlan) -> None:
        self._plan = plan
        self._engine = Engine(plan, os.environ.get(KEY_VARIABLE), fail)
        self._environment = Environment(user_classes=[slot_user_of(self._engine)])
        self._environment.events.user_error.add_listener(slot_broke)  # type: ignore[no-untyped-call]
        self._runner = self._environment.create_local_runner()
        self._cpu_at_start = 0.0
        self._page = Page(self._environment, self._engine) if plan.web else None

    def run(self) -> None:
        """Get ready, say so, obey until told to quit or left alone."""
        self._engine.warm()
        self._runner.start(self._plan.slots, spawn_rate=self._plan.slots)
        deadline = time.monotonic() + _SPAWN_DEADLINE_S
        while self._engine.waiting_slots < self._plan.slots:
            if time.monotonic() > deadline:
                fail(f"only {self._engine.waiting_slots} of {self._plan.slots} slots could be started")
            gevent.sleep(0.005)
        # What exists by now lives to the end: a collection need not walk it, which would show as lag.
        gc.collect()
        gc.freeze()
        queue = commands()
        page = self._page.url if self._page is not None else None
        say({"ready": {"page": page}, "pid": os.getpid(), "slots": self._plan.slots})
        while (command := queue.get()).get("do") != "quit":
            self._obey(command)

    def _obey(self, command: dict[str, Any]) -> None:
        match command.get("do"):
            case "preload":
                say({"preloaded": self._engine.preload()})
            case "start":
                self._cpu_at_start = time.process_time()
                self._engine.start(float(command["t0"]))
                say({"started": True})
            case "samples":
                say({"samples": self._engine.keep_samples(bool(command["on"]))})
            case "stop":
                unsent = self._engine.stop(float(command["at"]))
                cpu_s = time.process_time() - self._cpu_at_start
                self._runner.quit()
                self._engine.close()
                say({"stopped": {"unsent": unsent, "cpu_s": cpu_s}})
            case other:
                fail(f"unknown command {other!r}")


def main(arguments: list[str]) -> int:
    """Run one load process; exit code 0 when told to quit, 1 when something broke (said on stdout)."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # It warns of ramping up fast; slots wait for the schedule, so starting them is no ramp.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    try:
        Generator(read_plan(arguments[0])).run()
    except HarnessError as error:
        say({"failed": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
