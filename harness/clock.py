"""Time. Durations are monotonic; wall time is a label for people and never subtracted.

``time.monotonic()`` is one clock for all processes of a machine on Linux (CLOCK_MONOTONIC), which is what lets the
load processes, the probes and the runner write one timeline.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the harness asks of time; tests hand in :class:`FakeClock`."""

    def now(self) -> float:
        """Seconds on the monotonic clock; only differences mean anything."""

    def wall(self) -> str:
        """The present as an RFC 3339 label in UTC; for people, never for arithmetic."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until ``event`` is set or ``timeout_s`` seconds have passed; tell whether it is set."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> str:
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(max(0.0, timeout_s))


class FakeClock:
    """A clock that moves only when told to, or when somebody waits on it."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def wall(self) -> str:
        return f"2025-11-20T00:00:00.000Z+{self._now:.3f}"

    def advance(self, seconds: float) -> None:
        """Move time on by ``seconds`` (must not be negative)."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now += seconds

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(max(0.0, timeout_s))
        return event.is_set()
