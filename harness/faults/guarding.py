"""The harness' side of the guardian: start it, keep its lease, start it again when it dies."""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

from harness.errors import FaultError
from harness.faults import state
from harness.targets.base import this_process

_BEAT_S = 0.4
_START_S = 15.0
_LOG = "guardian.log"
_LOG_BYTES = 1024 * 1024


class Guarding:
    """One guardian process per harness process and state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state = state_dir
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The guardian's pid, while it lives."""
        with self._lock:
            return self._child.pid if self._child is not None and self._child.poll() is None else None

    def ensure(self) -> None:
        """See that a guardian watches us now. Raises :class:`FaultError` where none can be started."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._replace()
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._keep, name="guardian-lease", daemon=True)
            self._thread.start()

    def dismiss(self, patience_s: float = 5.0) -> None:
        """Tell the guardian to go once nothing is open, and wait for that; idempotent."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(patience_s)
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        try:
            os.write(child.stdin.fileno(), b"q")
            child.stdin.close()
        except OSError:
            pass  # it is gone already
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            # Something is still open. It stays to heal that after us; the warning about a living child is not due.
            child.returncode = 0

    def _keep(self) -> None:
        while not self._stop.wait(_BEAT_S):
            with self._lock:
                child = self._child
                if child is None or child.stdin is None:
                    continue
                try:
                    os.write(child.stdin.fileno(), b".")
                except BlockingIOError:
                    continue  # its pipe is full: it stands still, and will read when it wakes
                except OSError:
                    self._replace_quietly()

    def _replace_quietly(self) -> None:
        try:
            self._replace()
        except FaultError:
            self._child = None  # the next injection asks again, and is refused where it still cannot start

    def _replace(self) -> None:
        if self._child is not None:
            self.restarts += 1
            if self._child.stdin is not None:
                self._child.stdin.close()
            self._child.wait()
        self._child = _start(self._state)


def _start(state_dir: Path) -> subprocess.Popen[bytes]:
    me = this_process()
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "harness.faults.guardian", "--pid", str(me.pid)]
    command += ["--start-time", str(me.start_time), "--state-dir", str(state_dir)]
    log_path = state_dir / _LOG
    try:
        if log_path.exists() and log_path.stat().st_size > _LOG_BYTES:
            log_path.unlink()
        with log_path.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
    except OSError as error:
        raise FaultError(f"the guardian cannot be started: {error}", where=str(log_path)) from error
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdout:
        ready, _, _ = select.select([child.stdout], [], [], _START_S)
        said = os.read(child.stdout.fileno(), 64) if ready else b""
    if said != b"ready\n":
        child.kill()
        child.wait()
        child.stdin.close()
        raise FaultError("the guardian did not start", where=str(log_path), hint="its log says why; no fault goes in")
    os.set_blocking(child.stdin.fileno(), False)
    return child


_guards: dict[tuple[int, Path], Guarding] = {}
_guards_lock = threading.Lock()


def guarding(state_dir: Path | None = None) -> Guarding:
    """This process' link to its guardian; not started until :meth:`Guarding.ensure`."""
    folder = state_dir if state_dir is not None else state.state_dir()
    with _guards_lock:
        key = (os.getpid(), folder)
        if key not in _guards:
            _guards[key] = Guarding(folder)
            atexit.register(_guards[key].dismiss, 0.5)
        return _guards[key]
