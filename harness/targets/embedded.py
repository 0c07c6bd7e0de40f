"""The reference Engram as a child process: own session, own data, own log, gone when the harness is gone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.engram import Capabilities, EngramClient, probe_capabilities
from harness.errors import EnvironmentUnusable, TargetAnswerInvalid, TargetError, TargetRefused, TargetUnreachable
from harness.targets.base import ProcessIdentity, Register, Target, identify, scratch_prefix, this_process, unregistered

# The child waits for one byte before it becomes the server, so that its pid can be made durable first; where we die
# before that, it reads the end of the pipe and is gone. exec keeps pid and start time.
GATE = "import os,sys\nos.read(0,1) or os._exit(0)\nos.execv(sys.argv[1],sys.argv[1:])"
_POLL_S = 0.02
_TAIL_BYTES = 16 * 1024
SERVER = ("-m", "harness.reference")
SHIM = ("-m", "harness.faults.disk_shim")  # a program of its own, started, never imported
SHIM_CONTROL = "disk_shim.json"


class EmbeddedTarget(Target):
    """Starts ``python -m harness.reference`` (or ``server``, the arguments after the interpreter).

    ``folder`` takes log, configuration and port file. ``data_dir`` is kept where given; otherwise data live in a
    temporary directory that goes with the target. ``register`` makes the process known to whoever cleans up after us.
    """

    name = "embedded"
    owned = True

    def __init__(
        self,
        folder: Path,
        *,
        config_text: str | None = None,
        defects: Sequence[str] = (),
        data_dir: Path | None = None,
        port: int = 0,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 15.0,
        stop_grace_s: float = 5.0,
        register: Register = unregistered,
        server: Sequence[str] = SERVER,
        disk_shim: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder
        self._config_text = config_text
        self._defects = tuple(defects)
        self._given_data_dir = data_dir
        self._scratch: Path | None = None
        self._port = port
        self._env = dict(env or {})
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._register = register
        self._server = (*SHIM, str(folder / SHIM_CONTROL), *server) if disk_shim else tuple(server)
        self._offers = {"restart", "process", "data_dir"} | ({"disk_shim"} if disk_shim else set())
        self._clock = clock or SystemClock()
        self._child: subprocess.Popen[bytes] | None = None
        self._process: ProcessIdentity | None = None
        self._released: list[Callable[[], None]] = []
        self._restarting = False
        self._url: str | None = None
        self._capabilities: Capabilities | None = None
        self._version = "unknown"
        self._starts = 0

    @property
    def base_url(self) -> str:
        if self._url is None:
            raise TargetError("the embedded target is not started")
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            with self.client() as client:
                found = probe_capabilities(client)
            for name in sorted(self._offers):
                found = found.plus(name)
            self._capabilities = found
        return self._capabilities

    @property
    def process(self) -> ProcessIdentity | None:
        return self._process

    @property
    def data_dir(self) -> Path:
        """Where the server keeps its data. Raises :class:`TargetError` before it is started."""
        found = self._given_data_dir or self._scratch
        if found is None:
            raise TargetError("the embedded target is not started")
        return found

    @property
    def disk_shim(self) -> Path:
        if "disk_shim" not in self._offers:
            return super().disk_shim
        return self._folder / SHIM_CONTROL

    @property
    def log_path(self) -> Path:
        """The server's output."""
        return self._folder / "target.log"

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises :class:`EnvironmentUnusable` for a busy port or an unwritable folder, :class:`TargetError` with the end
        of the log where it dies or never gets ready; nothing is left running then.
        """
        if self._child is not None:
            raise TargetError("the embedded target is already started", where=self._url or "")
        self._up(threading.Event())

    def _up(self, cancel: threading.Event) -> None:
        self._require_free_port()
        try:
            _require_wanted(cancel)
            self._launch()
            self._wait_until_ready(cancel)
        except BaseException:  # Ctrl-C included: whatever was started ends here
            self._end(kill=True)
            if not self._restarting:  # what refuses to start on its data may still start on them when healed
                self._remove_scratch()
                self._release()
            raise

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after the grace period; temporary data are removed. Idempotent."""
        self._end()
        self._remove_scratch()
        self._release()

    def restart(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        """End it and start it again on the same data and port; where it does not start, it is down and keeps both.

        With ``cancel`` set, it is ended by SIGKILL and not waited for.
        """
        port, self._restarting = self._port, True
        self._port = self._port_now()
        cancel = cancel or threading.Event()
        try:
            self._end(kill=kill, cancel=cancel)
            self._up(cancel)
        finally:
            self._port, self._restarting = port, False

    def restart_with(
        self,
        *,
        config_text: str | None = None,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        usual = self._config_text, self._env
        if config_text is not None:
            self._config_text = config_text
        self._env = {**self._env, **(env or {})}
        try:
            self.restart(cancel=cancel)
        finally:
            self._config_text, self._env = usual

    def _port_now(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1])

    def client(self, timeout_s: float = 5.0) -> EngramClient:
        return EngramClient(self.base_url, timeout_s=timeout_s)

    def describe(self) -> dict[str, Any]:
        return {
            "target": self.name,
            "base_url": self._url,
            "pid": self.pid,
            "starts": self._starts,
            "version": self._version,
            "defects": list(self._defects),
            "config": self._config_text,
        }

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def log_tail(self, lines: int = 40) -> str:
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                raw = file.read()
        except OSError:
            return ""
        return "\n".join(raw.decode("utf-8", "replace").splitlines()[-lines:])

    def _require_free_port(self) -> None:
        if self._port == 0:
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._port))
            except OSError as error:
                raise EnvironmentUnusable(
                    f"port {self._port} cannot be used: {error.strerror}", hint="give another one, or 0 for any"
                ) from error

    def _launch(self) -> None:
        port_file = self._folder / "target.port"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            port_file.unlink(missing_ok=True)
            if self._given_data_dir is not None:
                self._given_data_dir.mkdir(parents=True, exist_ok=True)
            elif self._scratch is None:
                self._scratch = Path(tempfile.mkdtemp(prefix=scratch_prefix(this_process())))
            command = self._command(port_file)
            log = self.log_path.open("ab")
        except OSError as error:
            raise EnvironmentUnusable(
                f"cannot prepare the target: {error.strerror}", where=str(error.filename or self._folder)
            ) from error
        with log:
            self._spawn(command, log.fileno())

    def _command(self, port_file: Path) -> list[str]:
        command = [sys.executable, *self._server, "--port", str(self._port), "--data-dir", str(self.data_dir)]
        command += ["--port-file", str(port_file)]
        if self._config_text is not None:
            config = self._folder / "engram.toml"
            config.write_text(self._config_text, encoding="utf-8")
            command += ["--config", str(config)]
        for defect in self._defects:
            command += ["--defect", defect]
        return command

    def _spawn(self, command: list[str], log: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **self._env}
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", GATE, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,  # Ctrl-C is for the harness, which then stops it in order
            )
        except OSError as error:
            raise EnvironmentUnusable(f"cannot start the target: {error.strerror}") from error
        self._child = child
        self._process = identify(child.pid)
        if self._process is not None:
            # Only now is the one before let go of: its entry is what removes our data should we die in between.
            entry = self._register(self._process, "embedded Engram", self._scratch)
            self._release()
            self._released = [entry]
        assert child.stdin is not None
        try:
            child.stdin.write(b"\n")
            child.stdin.close()
        except BrokenPipeError:
            pass  # it died already; the wait for readiness says so with its log
        self._starts += 1

    def _wait_until_ready(self, cancel: threading.Event) -> None:
        port_file = self._folder / "target.port"
        deadline = self._clock.now() + self._start_timeout_s
        why = "it wrote no port file"
        while self._clock.now() < deadline:
            _require_wanted(cancel)
            self._require_running()
            port = _read_port(port_file)
            if port is not None:
                if self._port not in (0, port):
                    raise EnvironmentUnusable(f"the target took port {port}, not {self._port}: that one is busy")
                self._url = f"http://127.0.0.1:{port}"
                try:
                    if self._serves():
                        return
                    why = "/health says it is unfit"
                except (TargetUnreachable, TargetRefused, TargetAnswerInvalid) as error:
                    why = error.what
            self._clock.wait(cancel, _POLL_S)
        raise self._failed(f"not ready after {self._start_timeout_s:g} s: {why}")

    def _serves(self) -> bool:
        self._capabilities = None
        with self.client(1.0) as client:
            if not client.health():
                return False
            self._version = str(client.system_info().get("version", "unknown"))
            return True

    def _require_running(self) -> None:
        code = self._child.poll() if self._child else None
        if code is not None:
            how = f"ended by signal {-code}" if code < 0 else f"exited with status {code}"
            raise self._failed(f"{how} before it was ready")

    def _failed(self, what: str) -> TargetError:
        tail = self.log_tail(12)
        return TargetError(f"the embedded target {what}" + (f"; its log ends:\n{tail}" if tail else ""), where="start")

    def _end(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        child = self._child
        if child is None:
            return
        if child.stdin is not None and not child.stdin.closed:
            child.stdin.close()
        if child.poll() is None and not kill:
            child.terminate()
            _wait_for(child, self._stop_grace_s, cancel)
        if child.poll() is None:
            child.kill()
        child.wait()
        self._child = None
        self._process = None
        if not self._restarting:
            self._url = None

    def _release(self) -> None:
        done, self._released = self._released, []
        for release in done:
            release()

    def _remove_scratch(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


def _require_wanted(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise TargetError("the embedded target's start was given up", where="start")


def _wait_for(child: subprocess.Popen[bytes], grace_s: float, cancel: threading.Event | None) -> None:
    """Wait until it has ended, for ``grace_s`` or until ``cancel`` is set."""
    for _ in range(max(1, round(grace_s / _POLL_S))):
        if cancel is not None and cancel.is_set():
            return
        try:
            child.wait(_POLL_S)
            return
        except subprocess.TimeoutExpired:
            continue


def _read_port(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() and 0 < int(text) < 65536 else None
