"""How a load process and its supervisor talk: JSON lines, commands on stdin, answers on stdout.

The end of stdin means that the supervisor is gone, however it went; the process then ends at once. Only load
processes import this.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.os import make_nonblocking, nb_read
from gevent.queue import Queue

from harness.load.plan import ProcessPlan

_GRACE_S = 300.0  # beyond the plan's own limit, for getting ready and reading out


def say(message: dict[str, Any]) -> None:
    """One answer; a supervisor that no longer listens ends the process."""
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


def fail(reason: str) -> None:
    """Say why and end the process, whatever its greenlets are doing."""
    say({"failed": reason})
    sys.stderr.flush()
    os._exit(1)


def commands() -> Queue[dict[str, Any]]:
    """The supervisor's commands, as they come.

    Read apart from being obeyed, so that the end of stdin is seen in the middle of a long command, too.
    """
    queue: Queue[dict[str, Any]] = Queue()
    gevent.spawn(_read_into, queue)
    return queue


def _read_into(queue: Queue[dict[str, Any]]) -> None:
    make_nonblocking(0)
    pending = b""
    while True:
        data = nb_read(0, 65536)
        if not data:
            os._exit(0)  # nobody is left to answer to, and nothing may keep us
        pending += data
        *lines, pending = pending.split(b"\n")
        for line in lines:
            queue.put(json.loads(line))


def read_plan(path: str) -> ProcessPlan:
    """The plan the supervisor wrote. From here on the kernel ends the process when its time is over."""
    plan = ProcessPlan.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(plan.max_duration_s + plan.preload_deadline_s + _GRACE_S))
    return plan
