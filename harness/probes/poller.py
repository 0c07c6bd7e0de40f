"""One thread, one question asked again and again, every answer recorded with the instants it was asked and given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.errors import RecordError, TargetError
from harness.timeline.jsonl import JsonLines

Reading = dict[str, Any]


class Poller:
    """Asks ``read`` every ``interval_s`` seconds and appends the reading to ``<folder>/<name>.jsonl``.

    A target that does not answer is a reading too (``ok`` false, with the error); a probe never raises into a run.
    A reading is ``{"asked": s, "t": s, "ok": bool, ...}`` on the monotonic clock.
    """

    def __init__(
        self, name: str, read: Callable[[], Reading], folder: Path, interval_s: float, clock: Clock | None = None
    ) -> None:
        self.name = name
        self._read = read
        self._interval_s = interval_s
        self._clock = clock or SystemClock()
        self._file = JsonLines(folder / f"{name}.jsonl")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)
        self.trouble: RecordError | None = None

    def start(self) -> None:
        """Begin polling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the reading under way; idempotent."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30.0)
        self._file.close()

    def poll_once(self) -> Reading:
        """Take and record one reading now."""
        asked = self._clock.now()
        try:
            reading = {"ok": True, **self._read()}
        except TargetError as error:
            reading = {"ok": False, "error": error.what}
        reading = {"asked": asked, "t": self._clock.now(), **reading}
        self._file.append(reading)
        return reading

    def _run(self) -> None:
        due = self._clock.now()
        while not self._stopped.is_set():
            try:
                self.poll_once()
            except RecordError as error:
                # The disk will not take it: the runner sees this and aborts; polling on would only repeat it.
                self.trouble = error
                return
            due = max(due + self._interval_s, self._clock.now() - self._interval_s)
            self._clock.wait(self._stopped, due - self._clock.now())
