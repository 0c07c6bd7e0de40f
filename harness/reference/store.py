"""The data directory: recovery at start, durable writes, compaction; and the spaces that all of it is about."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.reference.config import Storage
from harness.reference.defects import Defects
from harness.reference.failures import StartupRefusedError, StorageError
from harness.reference.forgetful import Forgetful
from harness.reference.frames import MAGIC, Scan, frame, read_frames
from harness.reference.memory import Deletion, Memory, decode, encode
from harness.reference.space import Space
from harness.reference.wal import LogWriter, create_log, sync_directory, write_all

_COMPACT_AT_MOST_EVERY_S = 1.0
_FOOTER = b"\xffend of snapshot"


class Store:
    """Spaces backed by snapshot and log. Files are numbered by generation: log G holds what snapshot G lacks."""

    def __init__(
        self, directory: Path, settings: Storage, say: Callable[[str], None], defects: Defects | None = None
    ) -> None:
        self.spaces: dict[str, Space] = {}
        self.writer: LogWriter | None = None
        self.snapshot_bytes = 0
        self._nowhere = Space("nowhere")
        self._directory = directory
        self._settings = settings
        self._say = say
        self._forgetful = Forgetful(defects or Defects(), directory / "clean")
        self._generation = 0
        self._compacting = False
        self._restoring = False
        self._compact_after = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._lock = self._take_lock()

    def space(self, name: str) -> Space:
        """The space called ``name``, created on first use."""
        space = self.spaces.get(name)
        if space is None:
            space = self.spaces[name] = Space(name)
        return space

    def peek(self, name: str) -> Space:
        """The space called ``name`` for reading; one that nobody wrote to is empty, and asking does not create it."""
        return self.spaces.get(name) or self._nowhere

    def recover(self, *, accept_damage: bool) -> None:
        """Read snapshot and logs into memory; damage refuses the start unless ``accept_damage``."""
        snapshots = self._numbered("snapshot-")
        first = max(snapshots, default=0)
        logs = sorted(n for n in self._numbered("log-") if n >= first)
        if logs != list(range(first, first + len(logs))) or (snapshots and not logs):
            raise StartupRefusedError(f"{self._directory}: a log file is missing (found {logs} from {first} on)")
        self._generation = logs[-1] if logs else first
        self._forgetful.before_recovery(self._path("log-", self._generation))
        if snapshots:
            self._load(self._path("snapshot-", first), accept_damage, may_be_torn=False)
            self.snapshot_bytes = self._path("snapshot-", first).stat().st_size
        for number in logs:
            self._load(self._path("log-", number), accept_damage, may_be_torn=number == logs[-1])
        self._remove_older_than(first)

    def open(self) -> None:
        """Begin to accept writes; needs a running event loop."""
        path = self._path("log-", self._generation)
        if path.exists():
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            size = os.lseek(descriptor, 0, os.SEEK_END)
        else:
            descriptor, size = create_log(path), len(MAGIC)
        window_s = self._settings.commit_window_ms / 1000.0
        sync = self._forgetful.sync_of(os.fdatasync)
        self.writer = LogWriter(descriptor, size, window_s, self._after_commit, sync=sync)

    async def remember(self, memory: Memory) -> None:
        """Store ``memory``; on return it is durable and can be found."""
        await self._append(memory, lambda: self.space(memory.space).put(memory))

    async def forget(self, memory_id: str, space: str) -> None:
        """Delete a memory; on return that is durable."""

        def apply() -> None:
            self.space(space).delete(memory_id)

        if self._forgetful.skips_deletes:
            apply()
            return
        await self._append(Deletion(memory_id, space), apply)

    async def restore(self, memories: list[Memory]) -> None:
        """Remember exactly ``memories``; on return that is durable. A crash before leaves what was.

        Raises StorageError, with nothing changed; writes are refused meanwhile, so that none is acknowledged and lost.
        """
        if self.writer is None or self._compacting or self._restoring:
            raise StorageError("the store is busy: a compaction or another restore is under way")
        loop = asyncio.get_running_loop()
        self._compacting = self._restoring = True
        try:
            await self.writer.drain()
            turned: asyncio.Future[OSError | None] = loop.create_future()
            self.writer.rotate(self._path("log-", self._generation + 1), turned.set_result)
            if (problem := await turned) is not None:
                raise problem
            self._generation += 1
            fresh = await loop.run_in_executor(self._thread, _spaces_of, memories)
            self.snapshot_bytes = await loop.run_in_executor(
                self._thread, self._write_snapshot, self._generation, memories
            )
            self.spaces = fresh
            self._remove_older_than(self._generation)
        except OSError as error:
            raise StorageError(f"the backup cannot be written: {error.strerror or error}") from error
        finally:
            self._compacting = self._restoring = False

    def rewrite(self, memories: list[Memory]) -> None:
        """:meth:`restore` without a service: what the directory held, damaged or not, is replaced. Raises OSError."""
        generation = max([*self._numbered("snapshot-"), *self._numbered("log-")], default=-1) + 1
        os.close(create_log(self._path("log-", generation)))
        self._write_snapshot(generation, memories)
        self._remove_older_than(generation)

    async def close(self) -> None:
        """Finish what is queued and let go of the directory."""
        if self.writer is not None:
            await self.writer.close()
        self._thread.shutdown(wait=True)
        self._forgetful.stopped_in_order()
        os.close(self._lock)

    async def _append(self, record: Memory | Deletion, apply: Callable[[], None]) -> None:
        if self.writer is None:
            raise RuntimeError("the store is not open")
        if self._restoring:
            raise StorageError("a restore is under way")
        await self.writer.append(frame(encode(record)), apply)

    def _after_commit(self) -> None:
        if self._compacting or self.writer is None or time.monotonic() < self._compact_after:
            return
        limit = max(self._settings.compact_min_mb * 1e6, self._settings.compact_ratio * self.snapshot_bytes)
        if self.writer.size_bytes > limit:
            self._compacting = True
            self._compact_after = time.monotonic() + _COMPACT_AT_MOST_EVERY_S
            self.writer.rotate(self._path("log-", self._generation + 1), self._rotated)

    def _rotated(self, problem: OSError | None) -> None:
        if problem is not None:
            self._say(f"compaction put off: {problem.strerror or problem}")
            self._compacting = False
            return
        self._generation += 1
        # Memories are replaced, never changed: holding the references is a consistent picture of this moment.
        memories = [memory for space in self.spaces.values() for memory in space]
        self._thread.submit(self._compact, self._generation, memories)

    def _compact(self, generation: int, memories: list[Memory]) -> None:
        try:
            self.snapshot_bytes = self._write_snapshot(generation, memories)
            self._remove_older_than(generation)
        except OSError as error:
            self._say(f"compaction failed, the older log is kept: {error.strerror or error}")
        finally:
            self._compacting = False

    def _write_snapshot(self, generation: int, memories: Iterable[Memory]) -> int:
        final = self._path("snapshot-", generation)
        draft = final.with_suffix(".tmp")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, MAGIC)
            for memory in memories:
                write_all(descriptor, frame(encode(memory)))
            write_all(descriptor, frame(_FOOTER))
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        draft.rename(final)
        sync_directory(self._directory)
        return size

    def _load(self, path: Path, accept_damage: bool, *, may_be_torn: bool) -> None:
        data, scan = path.read_bytes(), Scan()
        complete = may_be_torn or not path.name.startswith("snapshot-")
        for payload in read_frames(data, scan):
            if payload == _FOOTER:
                complete = True
                continue
            try:
                record = decode(payload)
            except (ValueError, KeyError) as error:
                raise StartupRefusedError(f"{path}: a record with a good checksum makes no sense: {error}") from None
            space = self.space(record.space)
            if isinstance(record, Memory):
                space.put(record)
            else:
                space.delete(record.id)
        if scan.torn_bytes and not may_be_torn:
            scan.damage.append((len(data) - scan.torn_bytes, scan.torn_bytes))
        for offset, length in scan.damage:
            what = f"{path}: {length} damaged bytes at offset {offset}"
            if not accept_damage:
                raise StartupRefusedError(f"{what}; refusing to start (--accept-damaged-log goes on without them)")
            self._say(f"{what}; passed over as asked")
        if not complete and not accept_damage:
            raise StartupRefusedError(f"{path}: the snapshot is incomplete; refusing to start")
        if may_be_torn and scan.torn_bytes:
            self._say(f"{path}: dropped an unfinished record of {scan.torn_bytes} bytes at the end of the log")
            self._truncate(path, len(data) - scan.torn_bytes)

    def _truncate(self, path: Path, size: int) -> None:
        with path.open("r+b") as file:
            file.truncate(size)
            if size == 0:
                file.write(MAGIC)
            file.flush()
            os.fsync(file.fileno())

    def _take_lock(self) -> int:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartupRefusedError(f"--data-dir {self._directory}: {error.strerror or error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupRefusedError(f"--data-dir {self._directory}: in use by another process") from None
        return descriptor

    def _numbered(self, prefix: str) -> list[int]:
        names = [p.name for p in self._directory.glob(f"{prefix}*.bin")]
        return [int(digits) for name in names if (digits := name[len(prefix) : -4]).isdigit()]

    def _path(self, prefix: str, number: int) -> Path:
        return self._directory / f"{prefix}{number:08d}.bin"

    def _remove_older_than(self, generation: int) -> None:
        for prefix in ("snapshot-", "log-"):
            for number in self._numbered(prefix):
                if number < generation:
                    self._path(prefix, number).unlink()
        for draft in self._directory.glob("snapshot-*.tmp"):
            draft.unlink()


def _spaces_of(memories: Iterable[Memory]) -> dict[str, Space]:
    found: dict[str, Space] = {}
    for memory in memories:
        found.setdefault(memory.space, Space(memory.space)).put(memory)
    return found
