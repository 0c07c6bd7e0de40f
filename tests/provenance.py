"""What a measured document says of where its figures come from: the commit, and how busy the machine was meanwhile."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Self

from tests.defects.runs import commit_of

_NAP_S = 0.01
_EVERY_S = 0.25


class Provenance:
    """A context manager around a measurement; :attr:`sentence` is for its document.

    Four times a second it looks at the load average and at how late a sleeper of 10 ms is woken, in milliseconds: on
    an idle machine well below one, and what other programs on its processors do to every duration measured here.
    """

    def __init__(self) -> None:
        self.commit = commit_of()
        self._loads: list[float] = []
        self._late_ms: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="machine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    @property
    def sentence(self) -> str:
        """``Commit abc1234, 2 processors; load average 0.3 to 1.2 (in the middle 0.8); ...``."""
        return told(self.commit, os.cpu_count() or 0, self._loads, self._late_ms)

    def _look(self) -> None:
        while True:
            begun = time.monotonic()
            self._over.wait(_NAP_S)
            if not self._over.is_set():  # one cut short was woken early
                self._late_ms.append((time.monotonic() - begun - _NAP_S) * 1e3)
            self._loads.append(os.getloadavg()[0])
            if self._over.wait(_EVERY_S - _NAP_S):
                return


def told(commit: str, processors: int, loads: list[float], late_ms: list[float]) -> str:
    """The sentence for these figures; a commit with a plus had files that differ from it."""
    text = f"Commit {commit}, {processors} processors"
    if loads:
        ordered = sorted(loads)
        text += f"; load average {ordered[0]:.1f} to {ordered[-1]:.1f} (in the middle {ordered[len(loads) // 2]:.1f})"
    if late_ms:
        ordered = sorted(late_ms)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        text += f"; a sleeper of 10 ms was woken {ordered[len(ordered) // 2]:.1f} ms late (p99 {p99:.1f} ms)"
    return text + "."
