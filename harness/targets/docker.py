"""Engram in a container, with Prometheus and Grafana beside it, in a network of their own; gone when the harness is.

What the embedded target offers, this one offers too where the containers run on this machine: their processes are
seen, their data are a directory of ours, and they are started again on it at the same address.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from harness.clock import Clock, SystemClock
from harness.engram import Capabilities, EngramClient, probe_capabilities
from harness.engram.transport import secret_from_environment
from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused, UsageError
from harness.targets.base import DOCKER, ProcessIdentity, RegisterEnvironment, Target
from harness.targets.docker_engine import Images
from harness.targets.docker_environment import Environment, unregistered
from harness.targets.docker_part import Recipe
from harness.targets.docker_reap import named_by
from harness.targets.docker_recipes import (
    CONFIG_INSIDE,
    ENGRAM,
    GRAFANA,
    PROMETHEUS,
    SHIM_CONTROL,
    engram_recipe,
    grafana_recipe,
    minimal_monitoring,
    prometheus_recipe,
    readable,
)

_READY_PATHS = {PROMETHEUS: "/-/ready", GRAFANA: "/api/health"}
_ASK_S = 2.0


class DockerTarget(Target):
    """One environment: a private network with Engram, and Prometheus and Grafana where their images are there.

    ``folder`` takes logs and what was mounted. ``monitoring`` holds ``prometheus/prometheus.yml`` (and rules) and
    ``grafana/provisioning``, ``grafana/dashboards``; without it Prometheus scrapes Engram and nothing else.
    ``register`` makes the environment known to whoever cleans up after us, before anything of it exists. The
    reference's data lie in ``data_dir`` where one is given, and stay there when all else goes.
    """

    name = DOCKER
    owned = True

    def __init__(
        self,
        folder: Path,
        images: Images,
        *,
        config_text: str | None = None,
        defects: Sequence[str] = (),
        disk_shim: bool = False,
        data_dir: Path | None = None,
        monitoring: Path | None = None,
        prometheus_flags: Sequence[str] = (),
        port: int = 0,
        start_timeout_s: float = 30.0,
        stop_grace_s: float = 5.0,
        register: RegisterEnvironment = unregistered,
        clock: Clock | None = None,
    ) -> None:
        if defects and not images.is_reference:
            raise UsageError("--defect works on the reference Engram only", hint="not with $ENGRAM_IMAGE")
        self._folder = folder
        self._images = images
        self._config_text = config_text
        self._defects = tuple(defects)
        self._shim = disk_shim and images.is_reference
        self._given_data_dir = data_dir
        self._monitoring = monitoring
        self._prometheus_flags = tuple(prometheus_flags)
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._stop_grace_s = stop_grace_s
        self._register = register
        self._clock = clock or SystemClock()
        self._environment: Environment | None = None
        self._process: ProcessIdentity | None = None
        self._capabilities: Capabilities | None = None
        self._version = "unknown"
        self._starts = 0

    # what it is

    @property
    def base_url(self) -> str:
        url = self._url(ENGRAM)
        if url is None:
            raise TargetError("the docker target is not started")
        return url

    @property
    def prometheus_url(self) -> str | None:
        return self._url(PROMETHEUS)

    @property
    def grafana_url(self) -> str | None:
        return self._url(GRAFANA)

    def _url(self, part: str) -> str | None:
        return self._environment.urls.get(part) if self._environment is not None else None

    def _running(self) -> Environment:
        if self._environment is None:
            raise TargetError("the docker target is not started")
        return self._environment

    @property
    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            with self.client() as client:
                found = probe_capabilities(client)
            lacking = self._lacking()
            offered = {"restart", "process", "data_dir"} | ({"disk_shim"} if self._shim else set())
            for name in sorted(offered - set(lacking)):
                found = found.plus(name)
            if self.prometheus_url is not None:
                found = found.plus("prometheus")
            else:
                lacking["prometheus"] = self._images.absent.get(PROMETHEUS, "there is none")
            self._capabilities = Capabilities(found.names, {**found.reasons, **lacking})
        return self._capabilities

    def _lacking(self) -> dict[str, str]:
        """What this environment cannot offer of what the embedded target does, each with its reason."""
        lacking: dict[str, str] = {}
        if self._process is None:
            lacking["process"] = "the container's process cannot be told from here (another machine, VM or user)"
        elif not _may_signal(self._process.pid):
            lacking["process"] = "the container's process belongs to another user"
        if not self._images.is_reference:
            lacking["data_dir"] = "how that image lays out its data is not known"
            lacking["disk_shim"] = "the disk shim runs in the reference's image only"
        elif not any(self._data().iterdir()):
            lacking["data_dir"] = "the container's data cannot be seen from here (another machine)"
        return lacking

    @property
    def process(self) -> ProcessIdentity | None:
        return self._process

    @property
    def data_dir(self) -> Path:
        return self._data() if self._images.is_reference else super().data_dir

    def _data(self) -> Path:
        return self._given_data_dir or self._running().scratch / "data"

    @property
    def disk_shim(self) -> Path:
        return self._running().scratch / "shim" / SHIM_CONTROL if self._shim else super().disk_shim

    def client(self, timeout_s: float = 5.0) -> EngramClient:
        return EngramClient(self.base_url, timeout_s=timeout_s)

    def describe(self) -> dict[str, Any]:
        environment = self._environment
        return {
            "target": self.name,
            "base_url": self._url(ENGRAM),
            "prometheus_url": self.prometheus_url,
            "grafana_url": self.grafana_url,
            "absent": dict(self._images.absent),
            "environment": environment.name if environment is not None else None,
            "containers": environment.described if environment is not None else {},
            "pid": self.pid,
            "starts": self._starts,
            "version": self._version,
            "defects": list(self._defects),
            "config": self._config_text,
        }

    def usage(self) -> dict[str, Any] | None:
        part = self._running().part(ENGRAM)
        return part.usage() if part is not None else None

    def alive(self) -> bool:
        if self._process is not None:
            return self._process.alive()
        part = self._environment.part(ENGRAM) if self._environment is not None else None
        return part is not None and part.running()

    def require_same(self) -> None:
        """Raise :class:`TargetError` unless Engram's container is the one started here, as it was started."""
        part = self._running().part(ENGRAM)
        if part is not None:
            part.require_same()

    def log_tail(self, lines: int = 40) -> str:
        part = self._environment.part(ENGRAM) if self._environment is not None else None
        return part.tail(lines) if part is not None else ""

    # up, down and up again

    def start(self) -> None:
        """Start everything side by side and wait until each part serves.

        Raises :class:`EnvironmentUnusable` where engine, image or port will not do, :class:`TargetError` with the end
        of a part's log where it dies or never gets ready; nothing is left then.
        """
        if self._environment is not None:
            raise TargetError("the docker target is already started", where=self._url(ENGRAM) or "")
        self._environment = environment = Environment(
            self._folder,
            self._unready,
            timeout_s=self._start_timeout_s,
            register=self._register,
            clock=self._clock,
        )
        try:
            environment.up(self._recipes)
            self._look()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Engram in order, the others at once, and everything that was made for them. Idempotent.

        Raises :class:`TargetError` naming what could not be removed: the ledger keeps it then.
        """
        environment, self._environment, self._process = self._environment, None, None
        if environment is not None:
            environment.down(grace_s=self._stop_grace_s)

    def restart(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        """End Engram's container and start another on the same data and port; where it does not start, it is down."""
        self._again(self._config_text, {}, kill=kill, cancel=cancel)

    def restart_with(
        self,
        *,
        config_text: str | None = None,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._again(self._config_text if config_text is None else config_text, env or {}, kill=False, cancel=cancel)

    def _again(
        self, config_text: str | None, env: Mapping[str, str], *, kill: bool, cancel: threading.Event | None
    ) -> None:
        environment, port = self._running(), int(self.base_url.rsplit(":", 1)[1])
        environment.stop_part(ENGRAM, grace_s=None if kill else self._stop_grace_s)
        self._process = None
        # Only now: the file is mounted into the one before.
        recipe = self._engram_recipe(environment.scratch, environment.name, config_text, env)
        environment.again(ENGRAM, replace(recipe, host_port=port), grace_s=None, cancel=cancel)
        self._look()

    def _look(self) -> None:
        """After a start of Engram: which process it is, and what it can do is to be asked again."""
        part = self._running().part(ENGRAM)
        self._process = part.process() if part is not None else None
        self._capabilities = None
        self._starts += 1

    # the parts

    def _unready(self, name: str, url: str) -> str:
        if name != ENGRAM:
            answer = httpx.get(url + _READY_PATHS[name], timeout=_ASK_S, trust_env=False)
            return "" if answer.status_code == 200 else f"{_READY_PATHS[name]} answers {answer.status_code}"
        with EngramClient(url, timeout_s=_ASK_S) as client:
            if not client.health():
                return "/health says it is unfit"
            try:
                self._version = str(client.system_info().get("version", "unknown"))
            except (TargetRefused, TargetAnswerInvalid):
                self._version = "unknown"  # the public build has no such route
        return ""

    def _recipes(self, scratch: Path, environment: str) -> Mapping[str, Recipe]:
        recipes = {ENGRAM: self._engram_recipe(scratch, environment, self._config_text, {})}
        images = self._images
        if images.prometheus is None and images.grafana is None:
            return recipes
        secret, key = secret_from_environment(), None
        if secret is not None:  # in the scratch directory, which nobody else can enter and no result holds
            key = scratch / "key"
            key.write_text(secret.reveal(), encoding="utf-8")
        folder = self._monitoring or minimal_monitoring(self._folder / "monitoring", authorised=key is not None)
        readable(folder)
        if images.prometheus is not None:
            recipes[PROMETHEUS] = prometheus_recipe(images.prometheus, folder, key, self._prometheus_flags)
        if images.grafana is not None:
            recipes[GRAFANA] = grafana_recipe(images.grafana, folder)
        return recipes

    def _engram_recipe(
        self, scratch: Path, environment: str, config_text: str | None, env: Mapping[str, str]
    ) -> Recipe:
        if self._given_data_dir is not None:
            self._given_data_dir.mkdir(parents=True, exist_ok=True)
        if config_text is not None:
            (scratch / "config" / CONFIG_INSIDE.name).write_text(config_text, encoding="utf-8")
        return engram_recipe(
            self._images,
            scratch=scratch,
            data=self._given_data_dir or scratch / "data",
            volume=named_by(environment, "data"),
            configured=config_text is not None,
            defects=self._defects,
            shim=self._shim,
            env=env,
            host_port=self._port,
        )


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
