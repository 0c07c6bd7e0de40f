"""Prometheus as a child process, beside an Engram that was started here, where its program is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.engram import Capabilities
from harness.engram.transport import secret_from_environment
from harness.errors import EnvironmentUnusable, TargetAnswerInvalid, TargetError, TargetRefused, TargetUnreachable
from harness.prometheus import PrometheusClient
from harness.targets.base import (
    Register,
    Target,
    identify,
    scratch_prefix,
    this_process,
    unregistered,
)
from harness.targets.embedded import GATE
from harness.targets.wrapped import WrappedTarget

_LISTENING = re.compile(r'msg="Listening on" address=(?:\[?[0-9a-f.:]+\]?):(\d+)')
_START_S = 20.0
_STOP_S = 5.0
_POLL_S = 0.02
# Writes prometheus.yml and rules below a folder: (folder, host:port of Engram, file with its bearer key or None).
WriteAssets = Callable[[Path, str, str | None], object]


def prometheus_program() -> str | None:
    """Where the program ``prometheus`` is, or None."""
    return shutil.which("prometheus")


class PrometheusProcess:
    """One Prometheus on a free loopback port. ``folder`` takes its log; its data are in scratch that goes with it."""

    def __init__(
        self,
        folder: Path,
        config: Path,
        *,
        lookback_s: float = 300.0,
        scratch: Path | None = None,
        register: Register = unregistered,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder
        self._config = config
        self._lookback_s = lookback_s
        self._scratch = scratch
        self._register = register
        self._clock = clock or SystemClock()
        self._child: subprocess.Popen[bytes] | None = None
        self._released: Callable[[], None] = lambda: None
        self.url: str | None = None

    @property
    def log_path(self) -> Path:
        """Its output."""
        return self._folder / "prometheus.log"

    def start(self) -> str:
        """Start it and wait until it serves; answers its URL.

        Raises :class:`EnvironmentUnusable` where the program is missing, refuses its configuration or never gets
        ready, with the end of its log; nothing is left running then.
        """
        program = prometheus_program()
        if program is None:
            raise EnvironmentUnusable("prometheus is not installed", hint="on Debian: apt-get install prometheus")
        try:
            self._launch(program)
            self._wait_until_ready()
        except BaseException:  # Ctrl-C included: whatever was started ends here
            self.stop()
            raise
        assert self.url is not None
        return self.url

    def stop(self) -> None:
        """End it and remove its data; idempotent."""
        child, self._child, self.url = self._child, None, None
        if child is not None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        released, self._released = self._released, lambda: None
        released()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    def _launch(self, program: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._scratch is None:
                self._scratch = scratch_folder()
            log = self.log_path.open("wb")
        except OSError as error:
            raise EnvironmentUnusable(
                f"cannot prepare Prometheus: {error.strerror}", where=str(error.filename or self._folder)
            ) from error
        command = [
            program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._scratch / 'prometheus'}",
            "--web.listen-address=127.0.0.1:0",
            "--web.enable-lifecycle",
            f"--query.lookback-delta={round(self._lookback_s * 1000)}ms",
        ]
        with log:
            self._child = child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", GATE, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "GOMAXPROCS": "1"},  # it is an observer: it must not take the machine from Engram
                start_new_session=True,
            )
        identity = identify(child.pid)
        if identity is not None:
            self._released = self._register(identity, "Prometheus", self._scratch)
        assert child.stdin is not None
        try:
            child.stdin.write(b"\n")
            child.stdin.close()
        except BrokenPipeError:
            pass  # it died already; the wait for readiness says so with its log

    def _wait_until_ready(self) -> None:
        never = threading.Event()
        deadline = self._clock.now() + _START_S
        while self._clock.now() < deadline:
            if not self.alive():
                raise self._failed("ended before it was ready")
            found = _LISTENING.search(self.log_tail(200))
            if found is not None:
                url = f"http://127.0.0.1:{found.group(1)}"
                try:
                    with PrometheusClient(url, timeout_s=1.0) as client:
                        if client.ready():
                            self.url = url
                            return
                except (TargetUnreachable, TargetRefused, TargetAnswerInvalid):
                    pass  # not yet; the deadline tells
            self._clock.wait(never, _POLL_S)
        raise self._failed(f"not ready after {_START_S:g} s")

    def log_tail(self, lines: int = 20) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log_path.read_text("utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _failed(self, what: str) -> EnvironmentUnusable:
        return EnvironmentUnusable(f"Prometheus {what}; its log ends:\n{self.log_tail(6)}", where="prometheus")


def scratch_folder() -> Path:
    """A scratch directory that tells who made it."""
    return Path(tempfile.mkdtemp(prefix=scratch_prefix(this_process())))


class MonitoredTarget(WrappedTarget):
    """``inner`` with a Prometheus of ours that scrapes it; everything else is the inner target's."""

    def __init__(
        self,
        inner: Target,
        folder: Path,
        write: WriteAssets,
        *,
        lookback_s: float = 300.0,
        register: Register = unregistered,
    ) -> None:
        super().__init__(inner)
        self._folder = folder
        self._write = write
        self._lookback_s = lookback_s
        self._register = register
        self._prometheus: PrometheusProcess | None = None

    @property
    def capabilities(self) -> Capabilities:
        found = self._inner.capabilities
        return found.plus("prometheus_through_proxy") if "proxy" in found else found

    @property
    def prometheus_url(self) -> str | None:
        return self._prometheus.url if self._prometheus is not None else None

    def start(self) -> None:
        """Start the inner target, then Prometheus. Raises what the inner raises, or :class:`EnvironmentUnusable`."""
        self._inner.start()
        try:
            scratch = scratch_folder()
            key = _key_file(scratch)
            folder = self._folder / "monitoring"
            self._write(folder, self._inner.base_url.split("://", 1)[1], key)
            self._prometheus = PrometheusProcess(
                self._folder,
                folder / "prometheus" / "prometheus.yml",
                lookback_s=self._lookback_s,
                scratch=scratch,
                register=self._register,
            )
            self._prometheus.start()
        except BaseException:  # Ctrl-C included: whatever was started ends here
            self.stop()
            raise

    def stop(self) -> None:
        if self._prometheus is not None:
            self._prometheus.stop()
        self._inner.stop()

    def describe(self) -> dict[str, Any]:
        return {**self._inner.describe(), "prometheus_url": self.prometheus_url}


def _key_file(scratch: Path) -> str | None:
    """Engram's bearer key where only we may read it, and where it goes with the scratch; None where there is none."""
    secret = secret_from_environment()
    if secret is None:
        return None
    file = scratch / "engram.key"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secret.reveal())
    except OSError as error:
        raise TargetError(f"cannot write the key for Prometheus: {error.strerror}", where=str(file)) from error
    return str(file)
