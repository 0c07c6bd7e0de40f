"""The disk shim: ``python -m harness.faults.disk_shim CONTROL -m MODULE ...`` runs a server on a disk that fails.

It stands between the server's system calls on its files and the kernel, so it needs no privileges, no FUSE and no
device: ``CONTROL`` (JSON, read again whenever it changes) says what they are to answer. It also keeps, in
``CONTROL.synced``, how much of each file a successful ``fsync`` covers: what a power cut would leave of it.

What it cannot model: writes that do not go through ``os.write`` (none of the log's do), reordering below the file
system, and renames that a power cut undoes.
"""

from __future__ import annotations

import errno
import json
import os
import runpy
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

READ_ONLY, SYNC_ERROR, SLOW, FULL = "read_only", "sync_error", "slow", "full"
HEALTHY = "{}"
_FIRST_FILE = 3  # below are standard input, output and error


class Shim:
    """Takes the place of a few functions of :mod:`os`."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._seen = 0
        self._orders: dict[str, Any] = {}
        self._synced: dict[str, int] = _account(control)  # an earlier process' files are still there
        self._never = threading.Event()
        self._write, self._fsync, self._fdatasync = os.write, os.fsync, os.fdatasync
        self._open, self._ftruncate = os.open, os.ftruncate

    def install(self) -> None:
        """From now on."""
        os.write = self.write
        os.fsync = lambda fd: self.sync(fd, self._fsync)
        os.fdatasync = lambda fd: self.sync(fd, self._fdatasync)
        os.open = self.open
        os.ftruncate = self.ftruncate

    def write(self, fd: int, data: Any) -> int:
        """As :func:`os.write`."""
        if self._is_file(fd):
            self._refuse({READ_ONLY: errno.EROFS, FULL: errno.ENOSPC})
        return self._write(fd, data)

    def ftruncate(self, fd: int, length: int) -> None:
        """As :func:`os.ftruncate`."""
        self._refuse({READ_ONLY: errno.EROFS})
        self._ftruncate(fd, length)

    def open(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        """As :func:`os.open`."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._refuse({READ_ONLY: errno.EROFS})
        return self._open(path, flags, *rest, **named)

    def sync(self, fd: Any, real: Any) -> None:
        """As :func:`os.fsync` and :func:`os.fdatasync`."""
        self._refuse({SYNC_ERROR: errno.EIO, READ_ONLY: errno.EROFS})
        late_s = float(self._orders.get("latency_ms", 0.0)) / 1000.0
        if self._orders.get("mode") == SLOW and late_s > 0:
            self._never.wait(late_s)
        size = os.fstat(fd).st_size
        real(fd)
        if self._is_file(fd):
            self._note(fd, size)

    def _refuse(self, codes: dict[str, int]) -> None:
        self._read_orders()
        code = codes.get(str(self._orders.get("mode")))
        if code is not None:
            raise OSError(code, os.strerror(code))

    def _read_orders(self) -> None:
        try:
            changed = self._control.stat().st_mtime_ns
            if changed != self._seen:
                self._orders, self._seen = json.loads(self._control.read_text(encoding="utf-8")), changed
        except (OSError, ValueError):
            self._orders = {}

    def _is_file(self, fd: int) -> bool:
        try:
            return fd >= _FIRST_FILE and stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError:
            return False

    def _note(self, fd: int, size: int) -> None:
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        if self._synced.get(path) == size:
            return
        self._synced[path] = size
        draft = self._control.with_name(f"{self._control.name}.synced.new")
        draft.write_text(json.dumps(self._synced), encoding="utf-8")
        draft.replace(synced_file(self._control))


def _account(control: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(synced_file(control).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return {}


def synced_file(control: Path) -> Path:
    """Where the shim keeps how much of each file was synced (path -> bytes)."""
    return control.with_name(f"{control.name}.synced")


def order(control: Path, **orders: Any) -> str:
    """Tell the shim; answers the text it now reads. Raises :class:`OSError`."""
    text = json.dumps(orders)
    draft = control.with_name(f"{control.name}.new")
    draft.write_text(text, encoding="utf-8")
    # A clock too coarse to tell two orders apart must not hide the second.
    later = time.clock_gettime_ns(time.CLOCK_REALTIME) + 1_000_000
    os.utime(draft, ns=(later, later))
    draft.replace(control)
    return text


def main(arguments: list[str]) -> None:
    """Install the shim, then become the server."""
    control, module_flag, module, *rest = arguments
    if module_flag != "-m":
        raise SystemExit("usage: disk_shim CONTROL -m MODULE [ARGUMENT...]")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    path = Path(control)
    if not path.exists():
        path.write_text(HEALTHY, encoding="utf-8")
    Shim(path).install()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
