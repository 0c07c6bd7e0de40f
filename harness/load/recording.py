"""The load process' sample file: buffered in memory, written whole records at a time."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from harness.errors import RecordError
from harness.timeline import answers
from harness.timeline.samples import MAGIC, PACKER


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


class AnswerWriter(SampleWriter):
    """Appends which memories an answer named (:mod:`harness.timeline.answers`)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, answers.MAGIC, answers.PACKER)

    def answer(self, sequence: int, items: tuple[int, ...]) -> None:
        """One answer: its request's place in the schedule, and the first results."""
        kept = items[: answers.KEPT]
        self.append(sequence, len(kept), *kept, *_FILL[len(kept) :])


_FILL = (answers.NONE,) * answers.KEPT
