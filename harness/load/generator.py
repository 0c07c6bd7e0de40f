"""The load process: ``python -m harness.load.generator PLAN.json``; started by the supervisor, ends with it.

Commands come as JSON lines on stdin, answers go as JSON lines to stdout: ``{"do": "preload" | "start" | "samples" |
"stop" | "quit"}``. The end of stdin means that the supervisor is gone, and so are we.
"""

from gevent import monkey

monkey.patch_all()

# ruff: noqa: E402 - everything below must see the patched modules
import gc
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.os import make_nonblocking, nb_read
from gevent.queue import Queue
from locust.env import Environment

from harness.errors import HarnessError
from harness.load.engine import Engine
from harness.load.plan import KEY_VARIABLE, ProcessPlan
from harness.load.slots import slot_user_of

_GRACE_S = 300.0  # beyond the plan's own limit, for preload and read-out
_SPAWN_DEADLINE_S = 15.0


class Generator:
    """One load process between its plan and its end."""

    def __init__(self, plan: ProcessPlan) -> None:
        self._plan = plan
        self._engine = Engine(plan, os.environ.get(KEY_VARIABLE), self._fail)
        self._environment = Environment(user_classes=[slot_user_of(self._engine)])
        self._environment.events.user_error.add_listener(self._user_failed)  # type: ignore[no-untyped-call]
        self._runner = self._environment.create_local_runner()
        self._cpu_at_start = 0.0

    def run(self) -> None:
        """Get ready, say so, obey until told to quit or left alone."""
        self._engine.warm()
        self._runner.start(self._plan.slots, spawn_rate=self._plan.slots)
        deadline = time.monotonic() + _SPAWN_DEADLINE_S
        while self._engine.waiting_slots < self._plan.slots:
            if time.monotonic() > deadline:
                self._fail(f"only {self._engine.waiting_slots} of {self._plan.slots} slots could be started")
            gevent.sleep(0.005)
        # What exists by now lives to the end: a collection need not walk it, which would show as lag.
        gc.collect()
        gc.freeze()
        _say({"ready": True, "pid": os.getpid(), "slots": self._plan.slots})
        # Read apart from being obeyed: the end of stdin must be seen in the middle of a preload, too.
        commands: Queue[dict[str, Any]] = Queue()
        gevent.spawn(_read_commands, commands)
        while (command := commands.get()).get("do") != "quit":
            self._obey(command)

    def _obey(self, command: dict[str, Any]) -> None:
        match command.get("do"):
            case "preload":
                _say({"preloaded": self._engine.preload()})
            case "start":
                self._cpu_at_start = time.process_time()
                self._engine.start(float(command["t0"]))
                _say({"started": True})
            case "samples":
                self._engine.keep_samples(bool(command["on"]))
                _say({"samples": bool(command["on"])})
            case "stop":
                unsent = self._engine.stop(float(command["at"]))
                cpu_s = time.process_time() - self._cpu_at_start
                self._runner.quit()
                self._engine.close()
                _say({"stopped": {"unsent": unsent, "cpu_s": cpu_s}})
            case other:
                self._fail(f"unknown command {other!r}")

    def _user_failed(self, user_instance: Any, exception: BaseException, tb: Any, **_: Any) -> None:
        self._fail(f"a slot broke: {type(exception).__name__}: {exception}")

    @staticmethod
    def _fail(reason: str) -> None:
        """End the process; the supervisor reads why from the last line."""
        _say({"failed": reason})
        sys.stderr.flush()
        os._exit(1)


def _say(message: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


def _read_commands(commands: "Queue[dict[str, Any]]") -> None:
    """Queue the supervisor's commands; the end of stdin ends the process."""
    make_nonblocking(0)
    pending = b""
    while True:
        data = nb_read(0, 65536)
        if not data:
            os._exit(0)  # nobody is left to answer to, and nothing may keep us
        pending += data
        *lines, pending = pending.split(b"\n")
        for line in lines:
            commands.put(json.loads(line))


def main(arguments: list[str]) -> int:
    """Run one load process; exit code 0 when told to quit, 1 when something broke (said on stdout)."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        plan = ProcessPlan.from_json(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
        # The kernel ends us after this, even if Python should hang.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(plan.max_duration_s + plan.preload_deadline_s + _GRACE_S))
        Generator(plan).run()
    except HarnessError as error:
        _say({"failed": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
