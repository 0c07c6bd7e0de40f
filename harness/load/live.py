"""The live file: counters and histograms one load process writes and the supervisor reads while it runs.

A fixed number of 8-byte words, mapped by both sides. Every word has one writer, and an aligned 8-byte store is seen
whole, so no lock is needed; two words read a moment apart may differ by the requests in between.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import numpy as np

from harness.errors import LoadError
from harness.histogram import BUCKETS, SIZE_BYTES, Histogram, HistogramWriter
from harness.model import Op, Outcome

_MAGIC = 0x31564C5241474E45
# Words of the head. Floats and integers share the file: each word is read as what its name says.
W_MAGIC, W_PID, W_TAKEN, W_SENT, W_NO_SLOT, W_IN_FLIGHT, W_RSS, W_PEAK_RSS, W_CONNECTS = range(9)
W_BEAT, W_CPU = 16, 17  # floats: instant of the last heartbeat, CPU seconds used so far
_HEAD_WORDS = 32
_OUTCOMES_PER_OP = 16
_COUNT_WORDS = len(Op) * _OUTCOMES_PER_OP
_HISTOGRAMS = 2 * len(Op) + 2
_FIRST_HISTOGRAM = _HEAD_WORDS + _COUNT_WORDS
LIVE_BYTES = 8 * (_FIRST_HISTOGRAM + _HISTOGRAMS * BUCKETS)

assert len(Outcome) <= _OUTCOMES_PER_OP


class LiveWriter:
    """The load process' side."""

    def __init__(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                # Allocated, not only sized: a full disk is an error here and not a SIGBUS in the middle of a run.
                os.posix_fallocate(fd, 0, LIVE_BYTES)
                self._map = mmap.mmap(fd, LIVE_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            raise LoadError(f"cannot create the live file: {error.strerror}", where=str(path)) from error
        view = memoryview(self._map)
        self.words = view.cast("Q")
        self._floats = view.cast("d")
        self._view = view
        self.latency = [HistogramWriter(self._counters(op)) for op in range(len(Op))]
        self.service = [HistogramWriter(self._counters(len(Op) + op)) for op in range(len(Op))]
        self.lag = HistogramWriter(self._counters(2 * len(Op)))
        self.loop_lag = HistogramWriter(self._counters(2 * len(Op) + 1))
        self.words[W_PID] = os.getpid()
        self.words[W_MAGIC] = _MAGIC

    def count(self, op: int, outcome: int) -> None:
        """Count one ended request."""
        self.words[_HEAD_WORDS + op * _OUTCOMES_PER_OP + outcome] += 1

    def beat(self, now: float, cpu_s: float, rss: int, peak_rss: int) -> None:
        """Say that the process is alive and what it uses."""
        self._floats[W_BEAT] = now
        self._floats[W_CPU] = cpu_s
        self.words[W_RSS] = rss
        self.words[W_PEAK_RSS] = peak_rss

    def _counters(self, number: int) -> memoryview:
        start = 8 * (_FIRST_HISTOGRAM + number * BUCKETS)
        return self._view[start : start + SIZE_BYTES].cast("Q")


class LiveSnapshot:
    """A copy of a live file, as the supervisor reads it."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._words = np.frombuffer(raw, dtype=np.uint64)

    @classmethod
    def read(cls, path: Path) -> LiveSnapshot | None:
        """The file as it stands, or None where its process has not made it yet."""
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LoadError(f"cannot read the live file: {error.strerror}", where=str(path)) from error
        if len(raw) != LIVE_BYTES or struct.unpack_from("<Q", raw)[0] != _MAGIC:
            return None
        return cls(raw)

    def word(self, number: int) -> int:
        """One integer of the head."""
        return int(self._words[number])

    def real(self, number: int) -> float:
        """One float of the head."""
        return float(self._words[number : number + 1].view(np.float64)[0])

    def outcomes(self) -> dict[Op, dict[Outcome, int]]:
        """Ended requests by operation and outcome; zeros left out."""
        table = self._words[_HEAD_WORDS:_FIRST_HISTOGRAM].reshape(len(Op), _OUTCOMES_PER_OP)
        found: dict[Op, dict[Outcome, int]] = {}
        for op in Op:
            row = {outcome: int(table[op, outcome]) for outcome in Outcome if table[op, outcome]}
            if row:
                found[op] = row
        return found

    def latency(self, op: Op) -> Histogram:
        """Done - intended of one operation."""
        return self._histogram(int(op))

    def service(self, op: Op) -> Histogram:
        """Done - sent of one operation."""
        return self._histogram(len(Op) + int(op))

    def lag(self) -> Histogram:
        """Sent - intended where a slot was free: the generator's own lateness."""
        return self._histogram(2 * len(Op))

    def loop_lag(self) -> Histogram:
        """How late the process' event loop ran a timer: the lateness any instant it took may carry."""
        return self._histogram(2 * len(Op) + 1)

    def _histogram(self, number: int) -> Histogram:
        return Histogram.from_buffer(self._raw, 8 * (_FIRST_HISTOGRAM + number * BUCKETS))
