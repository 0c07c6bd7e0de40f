"""A harness that dies at a chosen step; run as a process.

``doomed.py URL CASE_DIR STEP FAULT_JSON``: claims the target at URL, injects the fault, holds, heals. At STEP it kills
itself with SIGKILL: ``before-append-N``, ``between-append-N`` (the journal has line N, the record has not),
``after-append-N``, ``before-inject``, ``after-inject``, ``before-heal``, ``after-heal``. ``hold`` says ``holding`` on
standard output and waits for a line; ``leave`` dies right after injection together with its guardian.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from harness.faults import injection as injection_module
from harness.faults.catalogue import fault_from_json
from harness.faults.guarding import guarding
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.targets.attached import AttachedTarget
from harness.timeline.jsonl import JsonLines


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()
    raise AssertionError


def die_around(owner: Any, name: str, before: bool, after: bool) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before:
            die()
        result = original(*args, **kwargs)
        if after:
            die()
        return result

    setattr(owner, name, wrapped)


def die_at_append(place: str, number: int) -> None:
    original = JsonLines.append
    count = 0

    def append(self: JsonLines, value: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        first, line = count % 2 == 1, (count + 1) // 2
        if line == number and first and place == "before":
            die()
        original(self, value)
        if line == number and ((first and place == "between") or (not first and place == "after")):
            die()

    JsonLines.append = append  # type: ignore[method-assign]


def arrange(step: str, fault: Any) -> None:
    place, _, what = step.partition("-")
    if what.startswith("append"):
        die_at_append(place, int(what.rpartition("-")[2]))
    elif what == "inject":
        die_around(type(fault), "inject", place == "before", place == "after")
    elif what == "heal":
        die_around(injection_module, "apply", place == "before", place == "after")


def ignore(event: str, /, **fields: Any) -> None:
    """No timeline."""


def main() -> int:
    url, case, step, fault_json = sys.argv[1:5]
    fault = fault_from_json(json.loads(fault_json))
    target = AttachedTarget(url, claimed=True)
    with Ledger(Path(case) / "ledger.jsonl") as ledger:
        ledger.claim(url, wait_s=10)
        arrange(step, fault)
        with Injection(fault, target, ledger, hold_s=60, record=ignore):
            if step == "leave":
                link = guarding()
                guardian = link.pid
                assert guardian is not None
                with link._lock:  # or it would be replaced between the two deaths, and its successor would heal
                    os.kill(guardian, signal.SIGKILL)
                    die()
            if step == "hold":
                print("holding", flush=True)  # noqa: T201
                sys.stdin.readline()
    print("done", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
