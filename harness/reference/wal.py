"""The write-ahead log: group commit, fdatasync before anybody is told, rotation for compaction."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.reference.failures import StorageError
from harness.reference.frames import MAGIC


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def create_log(path: Path) -> int:
    """A new, durable, empty log file; answers its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, MAGIC)
        os.fsync(descriptor)
        sync_directory(path.parent)
    except OSError:
        os.close(descriptor)
        path.unlink()  # half a log would be in the way of the next attempt
        raise
    return descriptor


Rotated = Callable[[OSError | None], None]


@dataclass(slots=True)
class _Write:
    data: bytes
    apply: Callable[[], None]
    done: asyncio.Future[None]


class LogWriter:
    """Appends frames; a write is applied and acknowledged only once it is on the disk, in the order of the log.

    One thread writes. While it syncs, the next group gathers; an idle writer waits ``window_s`` for company first.
    """

    def __init__(
        self,
        descriptor: int,
        size_bytes: int,
        window_s: float,
        on_commit: Callable[[], None],
        *,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.size_bytes = size_bytes
        self.broken: str | None = None
        """Why the log cannot be written any more, once it cannot."""
        self._descriptor = descriptor
        self._window_s = window_s
        self._sync = sync
        self._on_commit = on_commit
        self._pending: list[_Write] = []
        self._busy = False
        self._rotate_to: tuple[Path, Rotated] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Writes not yet handed to the disk."""
        return len(self._pending)

    def append(self, data: bytes, apply: Callable[[], None]) -> asyncio.Future[None]:
        """Queue one frame; the future ends when it is durable and applied, or raises StorageError."""
        done: asyncio.Future[None] = self._loop.create_future()
        if self.broken is not None:
            done.set_exception(StorageError(self.broken))
            return done
        self._pending.append(_Write(data, apply, done))
        if not self._busy and self._timer is None:
            self._timer = self._loop.call_later(self._window_s, self._start)
        return done

    def rotate(self, path: Path, then: Rotated) -> None:
        """Go on in a new file at ``path``; ``then`` runs when all that is applied is in older files."""
        self._rotate_to = (path, then)
        if not self._busy and self._timer is None:
            self._start()

    async def drain(self) -> None:
        """Wait until all that is queued is written."""
        while self._busy or self._pending:
            if not self._busy:
                self._start()
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Write what is queued, then close."""
        await self.drain()
        self._thread.shutdown(wait=True)
        os.close(self._descriptor)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy or not (self._pending or self._rotate_to):
            return
        self._busy = True
        task = self._loop.create_task(self._rotated() if self._rotate_to else self._commit())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _commit(self) -> None:
        group, self._pending = self._pending, []
        data = b"".join([write.data for write in group])
        try:
            await self._loop.run_in_executor(self._thread, self._write, data, self.size_bytes)
        except OSError as error:
            reason = f"the log cannot be written: {error.strerror or error}"
            for write in group:
                if not write.done.done():
                    write.done.set_exception(StorageError(reason))
        else:
            self.size_bytes += len(data)
            for write in group:
                write.apply()
                if not write.done.done():
                    write.done.set_result(None)
            self._on_commit()
        self._busy = False
        self._start()

    def _write(self, data: bytes, offset: int) -> None:
        try:
            write_all(self._descriptor, data)
            self._sync(self._descriptor)
        except OSError as error:
            # What was not acknowledged must not come back at the next start either.
            try:
                os.ftruncate(self._descriptor, offset)
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                os.fdatasync(self._descriptor)
            except OSError:
                self.broken = f"the log is beyond repair until a restart: {error.strerror or error}"
            raise

    async def _rotated(self) -> None:
        if self._rotate_to is None:
            raise RuntimeError("rotation without a destination")
        path, then = self._rotate_to
        self._rotate_to = None
        try:
            descriptor = await self._loop.run_in_executor(self._thread, create_log, path)
        except OSError as error:
            then(error)
        else:
            os.close(self._descriptor)
            self._descriptor, self.size_bytes = descriptor, len(MAGIC)
            then(None)
        self._busy = False
        self._start()
