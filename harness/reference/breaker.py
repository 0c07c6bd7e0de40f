"""The circuit breaker before the semantic pathway.

It counts failures (exceptions) only. A timeout is no reason to stop trying: it already costs no more than its budget,
and an open breaker would hide from the timeout counter exactly what that counter is there to show.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.reference.config import Breaker


class CircuitBreaker:
    """Closed until ``failure_threshold`` failures in a row; then open, with one trial per ``cooldown_ms``."""

    def __init__(
        self, settings: Breaker, now: Callable[[], float] = time.monotonic, *, flap_s: float | None = None
    ) -> None:
        self._settings = settings
        self._now = now
        self._flap_s = flap_s  # a defect: open for a quarter of every so many seconds
        self._born = now()
        self._failures = 0
        self._opened: float | None = None

    @property
    def open(self) -> bool:
        """Whether the breaker is open."""
        return self._opened is not None or self._flapped_open()

    def _flapped_open(self) -> bool:
        if not self._flap_s:
            return False
        return ((self._now() - self._born) / self._flap_s) % 1.0 >= 0.75

    def allows(self) -> bool:
        """Whether the pathway may be tried; while open, one caller per cooldown is let through."""
        if self._opened is None:
            return not self._flapped_open()
        if (self._now() - self._opened) * 1000.0 < self._settings.cooldown_ms:
            return False
        self._opened = self._now()
        return True

    def succeeded(self) -> None:
        """The pathway answered."""
        self._failures = 0
        self._opened = None

    def failed(self) -> None:
        """The pathway raised."""
        self._failures += 1
        if self._failures >= self._settings.failure_threshold:
            self._opened = self._now()

    def stick(self) -> None:
        """Open for good (a defect)."""
        self._opened = float("inf")
