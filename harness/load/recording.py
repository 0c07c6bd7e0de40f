"""The load process' sample file: buffered in memory, written whole records at a time."""

from __future__ import annotations

import os
import struct
from collections import deque
from pathlib import Path

from harness.errors import RecordError
from harness.timeline import answers
from harness.timeline.samples import MAGIC, PACKER

HELD = 65_536  # 7 MB at most, whatever befalls the target and for however long


class SampleWriter:
    """Appends samples; :meth:`flush` at least every 100 ms keeps what a SIGKILL can cost to that."""

    def __init__(self, path: Path, magic: bytes = MAGIC, packer: struct.Struct = PACKER) -> None:
        self._path = path
        self._buffer = bytearray(magic)
        self._pack = packer.pack
        self.keeping = True
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordError(f"cannot write samples: {error.strerror}", where=str(path)) from error

    def append(self, *fields: float) -> None:
        """One sample, its fields in the order of :data:`harness.timeline.samples.FIELDS`."""
        if self.keeping:
            self._buffer += self._pack(*fields)

    def flush(self) -> None:
        """Hand what was appended to the kernel. Raises :class:`RecordError` where the disk will not take it."""
        if not self._buffer:
            return
        data, self._buffer = self._buffer, bytearray()
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise RecordError(f"cannot write samples: {error.strerror}", where=str(self._path)) from error

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._fd)


class RequestWriter(SampleWriter):
    """Samples of requests, with what may still change a memory while no samples are kept.

    A write whose outcome is unknown (it timed out, its connection broke) may be applied at any later time. So while
    samples are not kept the last :data:`HELD` of these are held, and written once they are kept again: whoever reads
    memories back then knows of them. :attr:`forgotten` is the greatest version among those there was no room for.
    """

    def __init__(self, path: Path, most: int = HELD) -> None:
        super().__init__(path)
        self._held: deque[bytes] = deque()
        self._most = most
        self.forgotten = 0

    def hold(self, *fields: float) -> None:
        """One write of unknown outcome, while samples are not kept."""
        if len(self._held) >= self._most:
            self.forgotten = max(self.forgotten, PACKER.unpack(self._held.popleft())[-1])
        self._held.append(self._pack(*fields))

    def keep(self, on: bool) -> None:
        """Keep samples from here on, or not; what was held is written where they are."""
        self.keeping = on
        if on:
            self._buffer += b"".join(self._held)
            self._held.clear()


class AnswerWriter(SampleWriter):
    """Appends which memories an answer named, and its confidence (:mod:`harness.timeline.answers`)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, answers.MAGIC, answers.PACKER)

    def answer(self, sequence: int, items: tuple[int, ...], confidence: float) -> None:
        """One answer: its request's place in the schedule, the first results, its confidence (0 to 1, or NaN)."""
        kept = items[: answers.KEPT]
        self.append(sequence, len(kept), *kept, *_FILL[len(kept) :], confidence)


_FILL = (answers.NONE,) * answers.KEPT
