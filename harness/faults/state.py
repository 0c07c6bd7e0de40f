"""The state directory: one per user, so that another results directory hides neither an open ledger nor a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from harness.clock import Clock, SystemClock
from harness.errors import EnvironmentUnusable, TargetBusy
from harness.targets.base import SCRATCH_PREFIX, ProcessIdentity, boot_id, this_process

STATE_VARIABLE = "ENGRAM_STATE_DIR"
UNFINISHED = ".new"  # a journal under construction
_POLL_S = 0.05


def state_dir() -> Path:
    """The state directory, made where missing.

    ``$ENGRAM_STATE_DIR``, else ``$XDG_STATE_HOME/engram-harness``, else ``~/.local/state/engram-harness``. Raises
    :class:`EnvironmentUnusable` where it cannot be written.
    """
    given = os.environ.get(STATE_VARIABLE)
    base = os.environ.get("XDG_STATE_HOME")
    if given:
        path = Path(given)
    elif base and Path(base).is_absolute():
        path = Path(base) / "engram-harness"
    else:
        path = Path.home() / ".local" / "state" / "engram-harness"
    return prepare(path)


def prepare(path: Path) -> Path:
    """``path`` as a state directory. Raises :class:`EnvironmentUnusable`."""
    try:
        for folder in (path, journals_dir(path), path / "locks"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentUnusable(
            f"cannot keep state: {error.strerror}", where=str(path), hint=f"set ${STATE_VARIABLE} to a writable one"
        ) from error
    if not os.access(journals_dir(path), os.W_OK | os.X_OK):
        raise EnvironmentUnusable(
            "cannot keep state: not writable", where=str(path), hint=f"set ${STATE_VARIABLE} to a writable one"
        )
    return path.resolve()


def journals_dir(state: Path) -> Path:
    """Where the journals of open ledgers lie."""
    return state / "open"


def journals(state: Path, owner: ProcessIdentity | None = None) -> list[Path]:
    """The journals there are, of ``owner`` alone where given, oldest first."""
    pattern = f"{owner.pid}-{owner.start_time}-*.jsonl" if owner else "*.jsonl"
    return sorted(journals_dir(state).glob(pattern))


def sync_folder(path: Path) -> None:
    """Make names in a directory durable. Raises :class:`OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def program() -> str:
    """What this process calls itself, without its arguments."""
    return Path(sys.argv[0]).name or "python"


def same_target(url: str) -> str:
    """One spelling for one target: loopback names fold into one, ports are spelled out."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if host in ("localhost", "::1", "0.0.0.0", "::") or host.startswith("127."):
        host = "127.0.0.1"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{host}:{port}"


@contextmanager
def exclusively(path: Path, wait_s: float, clock: Clock | None = None) -> Iterator[bool]:
    """Hold the file's lock, waiting up to ``wait_s``; yields whether it is held (it is not where the file is gone)."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _flock(fd, wait_s, clock or SystemClock()) and _is(fd, path)
    finally:
        os.close(fd)


def _flock(fd: int, wait_s: float, clock: Clock) -> bool:
    never = threading.Event()
    deadline = clock.now() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if clock.now() >= deadline:
                return False
            clock.wait(never, _POLL_S)


def _is(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


class TargetLock:
    """One harness per target. The kernel lets go of it when its holder dies, however it dies."""

    def __init__(self, url: str, state: Path, *, clock: Clock | None = None) -> None:
        self.url = url
        name = hashlib.sha256(same_target(url).encode()).hexdigest()[:24]
        self._path = state / "locks" / f"{name}.lock"
        self._clock = clock or SystemClock()
        self._fd = -1

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock, waiting up to ``wait_s``. Raises :class:`TargetBusy` naming the holder."""
        deadline = self._clock.now() + wait_s
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not _flock(fd, max(0.0, deadline - self._clock.now()), self._clock):
                os.close(fd)
                raise TargetBusy(
                    f"another harness holds this target: {self._holder()}",
                    where=self.url,
                    hint="wait for it to end, or ask to wait",
                )
            if _is(fd, self._path):
                break
            os.close(fd)  # its holder removed it between our open and our lock: take the new one
        holder = {"target": self.url, "program": program(), "wall": self._clock.wall(), **this_process().as_json()}
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(holder).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; idempotent."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _holder(self) -> str:
        try:
            holder: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return f"{holder['program']}, pid {holder['pid']}, since {holder['wall']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "its holder has not said who it is yet"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def sweep(state: Path) -> int:
    """Remove lock files nobody holds, and journals and empty scratch directories whose maker died making them.

    Answers how many.
    """
    swept = _sweep_scratch()
    for path in sorted(journals_dir(state).glob(f"*{UNFINISHED}")):
        pid, start_time = (*path.name.split("-"), "", "")[:2]
        if not (pid + start_time).isdigit() or not ProcessIdentity(int(pid), int(start_time), boot_id()).alive():
            path.unlink(missing_ok=True)
            swept += 1
    for path in sorted((state / "locks").glob("*.lock")):
        with exclusively(path, 0.0) as held:
            if held:
                path.unlink(missing_ok=True)
                swept += 1
    return swept


def _sweep_scratch() -> int:
    """A harness killed between making a directory and writing it down leaves it, empty, and nobody knows of it."""
    swept = 0
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*-*-*"):
        pid, start_time = (*path.name.removeprefix(SCRATCH_PREFIX).split("-"), "", "")[:2]
        if (pid + start_time).isdigit() and not ProcessIdentity(int(pid), int(start_time), boot_id()).alive():
            with suppress(OSError):  # not empty: then a ledger knows of it
                path.rmdir()
                swept += 1
    return swept
