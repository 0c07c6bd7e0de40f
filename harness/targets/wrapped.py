"""A target with something of ours around it: all that is not overridden is the inner target's."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.engram import Capabilities, EngramClient
from harness.targets.base import Frontend, ProcessIdentity, Target, Tunnel


class WrappedTarget(Target):
    """Passes every member of :class:`Target` on to ``inner``; a subclass overrides what is its own, and nothing else.

    Members that :class:`Target` answers by itself (a guard that asks nothing, a ``kill`` by its own process) are
    passed on too: an inner target that knows better must be asked.
    """

    def __init__(self, inner: Target) -> None:
        self._inner = inner
        self.name = inner.name
        self.owned = inner.owned

    @property
    def base_url(self) -> str:
        return self._inner.base_url

    @property
    def claimed_url(self) -> str:
        return self._inner.claimed_url

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    @property
    def frontend(self) -> Frontend | None:
        return self._inner.frontend

    @property
    def prometheus_url(self) -> str | None:
        return self._inner.prometheus_url

    @property
    def grafana_url(self) -> str | None:
        return self._inner.grafana_url

    @property
    def tunnel(self) -> Tunnel | None:
        return self._inner.tunnel

    @property
    def process(self) -> ProcessIdentity | None:
        return self._inner.process

    @property
    def pid(self) -> int | None:
        return self._inner.pid

    def usage(self) -> dict[str, Any] | None:
        return self._inner.usage()

    @property
    def data_dir(self) -> Path:
        return self._inner.data_dir

    @property
    def disk_shim(self) -> Path:
        return self._inner.disk_shim

    def start(self) -> None:
        self._inner.start()

    def stop(self) -> None:
        self._inner.stop()

    def kill(self) -> None:
        self._inner.kill()

    def restart(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        self._inner.restart(kill=kill, cancel=cancel)

    def restart_with(
        self,
        *,
        config_text: str | None = None,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._inner.restart_with(config_text=config_text, env=env, cancel=cancel)

    def client(self, timeout_s: float = 5.0) -> EngramClient:
        return self._inner.client(timeout_s)

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()

    def alive(self) -> bool:
        return self._inner.alive()

    def log_tail(self, lines: int = 40) -> str:
        return self._inner.log_tail(lines)

    def require_owned(self) -> None:
        self._inner.require_owned()

    def require_same(self) -> None:
        self._inner.require_same()


class HurriedTarget(WrappedTarget):
    """A target whose restarts are given up once ``cancel`` is set: what is to be healed at once need not get ready."""

    def __init__(self, inner: Target, cancel: threading.Event) -> None:
        super().__init__(inner)
        self._cancel = cancel

    def restart(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        self._inner.restart(kill=kill, cancel=cancel or self._cancel)

    def restart_with(
        self,
        *,
        config_text: str | None = None,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._inner.restart_with(config_text=config_text, env=env, cancel=cancel or self._cancel)
