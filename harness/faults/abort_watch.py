"""Looks at the abort conditions every 250 ms, also while an injection waits; once one is met, every waiter is woken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from harness.clock import Clock, SystemClock
from harness.errors import HarnessError
from harness.judge.abort import AbortJudge
from harness.scenario.abort import AbortCondition

TICK_S = 0.25
Readings = Callable[[], Mapping[str, float]]


class AbortWatch:
    """A thread that reads and judges. :attr:`tripped` is set once and for good; :attr:`reason` says why."""

    def __init__(
        self,
        conditions: Iterable[AbortCondition],
        readings: Readings,
        *,
        on_trip: Callable[[AbortCondition, str], None] = lambda condition, why: None,
        clock: Clock | None = None,
    ) -> None:
        self._judge = AbortJudge(conditions)
        self._readings = readings
        self._on_trip = on_trip
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.tripped = threading.Event()
        self.reason = ""

    def start(self) -> None:
        """Begin to look; idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="abort-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more; idempotent."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def look(self) -> bool:
        """Look once; whether a condition is met."""
        try:
            readings = self._readings()
        except HarnessError:
            return False  # what cannot be read is told by whoever reads it for the record
        met = self._judge.look(self._clock.now(), readings)
        if met is None:
            return False
        self.reason = met[1]
        self.tripped.set()
        self._on_trip(*met)
        return True

    def _run(self) -> None:
        while not self._stop.is_set() and not self.look():
            self._clock.wait(self._stop, TICK_S)
