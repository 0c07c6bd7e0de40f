"""The load process' sample file: buffered in memory, written whole records at a time."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import RecordError
from harness.timeline.samples import MAGIC, PACKER


class SampleWriter:
    """Appends samples; :meth:`flush` at least every 100 ms keeps what a SIGKILL can cost to that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer = bytearray(MAGIC)
        self._pack = PACKER.pack
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
