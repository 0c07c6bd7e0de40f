"""Waiting until a freshly filled service stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.clock import Clock
from harness.engram.client import EngramClient

_PATIENCE_S = 20.0
_LOOKS = 3  # that show the same number


def settle(
    client: EngramClient, interval_s: float, clock: Clock, before_each: Callable[[], None] = lambda: None
) -> tuple[int, bool]:
    """Wait until consolidation, every ``interval_s`` seconds, has made bindings of what was stored and their number
    stands still, at most 20 s; how many there are (-1: none asked for), and whether they stood still.

    ``before_each`` is called before every wait and may raise to end it. Raises :class:`TargetError`.
    """
    deadline = clock.now() + _PATIENCE_S
    same, previous = 0, -1
    never = threading.Event()
    while clock.now() < deadline:
        bindings = client.consolidations().bindings or 0
        same = same + 1 if bindings == previous and bindings > 0 else 0
        previous = bindings
        if same >= _LOOKS:
            break
        before_each()
        clock.wait(never, max(0.1, min(1.0, interval_s)))
    return previous, same >= _LOOKS
