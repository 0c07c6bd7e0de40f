"""Runtime flags as something to be put back: the exact inverse of setting them is setting what was there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults.base import http_recipe
from harness.faults.recipe import HttpRecipe
from harness.targets.base import Target

# Everything of dual memory, for whoever is in the cohort (rollout runbook 2.1).
CANARY: dict[str, bool | float] = {
    "dual_memory_types": True,
    "blended_recall": True,
    "fan_effect": True,
    "monitoring": True,
}


def flags_recipe(target: Target, before: dict[str, Any]) -> HttpRecipe:
    """Put ``before`` (flag -> value) back.

    Flags outlive a process, but where the process is ours its data go with it, and there is nothing to put back.
    """
    body = json.dumps(before, sort_keys=True)
    return http_recipe(target, "/api/v1/admin/features", body, outlives=True)


def keep_changing(
    target: Target, name: str, dwell_s: Callable[[int], float], change: Callable[[EngramClient, int], None]
) -> Callable[[], None]:
    """Change flags of ``target`` again and again in a thread called ``name``, until what is answered is called.

    ``change`` is called with the number of the step, from 1, after the ``dwell_s`` seconds of the step before (from
    0). A step that fails is left out: the observer says what was never seen in force.
    """
    ended = threading.Event()

    def run() -> None:
        step = 0
        with target.client() as own:
            while not ended.wait(dwell_s(step)):
                step += 1
                with suppress(TargetError):
                    change(own, step)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(10.0)

    return end
