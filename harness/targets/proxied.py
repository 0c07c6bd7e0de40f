"""A target behind the network fault proxy: load, probes and faults reach it through the proxy's port."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.clock import Clock, SystemClock
from harness.engram import Capabilities, EngramClient
from harness.errors import EnvironmentUnusable, TargetError
from harness.targets.base import (
    Frontend,
    Register,
    Target,
    identify,
    package_environment,
    unregistered,
)
from harness.targets.wrapped import WrappedTarget

_START_S = 15.0
_POLL_S = 0.02
PROXY = ("-m", "harness.faults.proxy")


class ProxiedTarget(WrappedTarget):
    """``inner`` with a proxy of ours in front of it; everything but the way to it is the inner target's."""

    def __init__(
        self, inner: Target, folder: Path, *, register: Register = unregistered, clock: Clock | None = None
    ) -> None:
        super().__init__(inner)
        self._folder = folder
        self._register = register
        self._clock = clock or SystemClock()
        self._child: subprocess.Popen[bytes] | None = None
        self._released: Callable[[], None] = lambda: None
        self._url: str | None = None
        self._frontend: Frontend | None = None

    @property
    def base_url(self) -> str:
        if self._url is None:
            raise TargetError("the proxied target is not started")
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities.plus("proxy")

    @property
    def frontend(self) -> Frontend | None:
        return self._frontend

    def start(self) -> None:
        """Start the inner target, then the proxy. Raises what the inner raises, or :class:`EnvironmentUnusable`."""
        self._inner.start()
        try:
            self._launch()
        except BaseException:  # Ctrl-C included: whatever was started ends here
            self.stop()
            raise

    def stop(self) -> None:
        self._end()
        self._inner.stop()

    def client(self, timeout_s: float = 5.0) -> EngramClient:
        return EngramClient(self.base_url, timeout_s=timeout_s)

    def describe(self) -> dict[str, Any]:
        return {**self._inner.describe(), "proxy": self._url}

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None and self._inner.alive()

    def _launch(self) -> None:
        parts = urlsplit(self._inner.base_url)
        if parts.scheme != "http":
            raise EnvironmentUnusable("the fault proxy speaks plain http only", where=self._inner.base_url)
        port_file = self._folder / "proxy.ports"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, *PROXY, "--upstream-host", parts.hostname or "127.0.0.1"]
        command += ["--upstream-port", str(parts.port or 80), "--port-file", str(port_file)]
        log_path = self._folder / "proxy.log"
        try:
            with log_path.open("ab") as log:
                self._child = child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=package_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            raise EnvironmentUnusable(f"the fault proxy cannot be started: {error}", where=str(log_path)) from error
        identity = identify(child.pid)
        if identity is None:
            raise EnvironmentUnusable("the fault proxy died at once", where=str(log_path))
        self._released = self._register(identity, "network fault proxy", None)
        ports = self._wait_for(port_file, child, log_path)
        self._url = f"http://127.0.0.1:{ports['port']}"
        self._frontend = Frontend(f"http://127.0.0.1:{ports['control']}", identity)

    def _wait_for(self, port_file: Path, child: subprocess.Popen[bytes], log_path: Path) -> dict[str, int]:
        never, deadline = threading.Event(), self._clock.now() + _START_S
        while self._clock.now() < deadline and child.poll() is None:
            try:
                found: dict[str, int] = json.loads(port_file.read_text(encoding="ascii"))
                return found
            except FileNotFoundError:
                self._clock.wait(never, _POLL_S)
        raise EnvironmentUnusable("the fault proxy did not start", where=str(log_path), hint="its log says why")

    def _end(self) -> None:
        child, self._child = self._child, None
        self._url = self._frontend = None
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()  # which it takes as its end
        try:
            child.wait(2.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._released()
