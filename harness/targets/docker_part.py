"""One container of an environment: started, followed into a log file, known by the process that serves, removed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import docker.errors
import requests
from testcontainers.core.container import DockerContainer
from testcontainers.core.exceptions import ContainerStartException
from testcontainers.core.network import Network

from harness.errors import EnvironmentUnusable, PortTaken, TargetError
from harness.targets.base import ProcessIdentity, identify
from harness.targets.docker_engine import explained, unusable
from harness.targets.docker_usage import UsageStream

HOST = "127.0.0.1"  # nothing is published anywhere else
_TAIL_BYTES = 16 * 1024
_LOG_END_S = 3.0
_ENGINE_ERRORS = (docker.errors.DockerException, requests.RequestException, ContainerStartException)
_LISTEN = "0A"


@dataclass(frozen=True)
class Mount:
    """A file or directory of this machine (or a volume, by name) inside a container."""

    source: str
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class Recipe:
    """How to start a container. ``host_port`` 0: any free one."""

    image: str
    alias: str
    port: int
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    host_port: int = 0


class Part:
    """A container from creation to removal. Not for two threads at once, but for its own log's."""

    def __init__(self, recipe: Recipe, name: str, labels: Mapping[str, str], network: Network, log_path: Path) -> None:
        self.recipe = recipe
        self.name = name
        self.log_path = log_path
        self._follower: threading.Thread | None = None
        self._usage: UsageStream | None = None
        self._container: Any = None
        self._host_port = 0
        self._started_at = ""
        made = DockerContainer(recipe.image, name=name).with_network(network).with_network_aliases(recipe.alias)
        made.ports = {f"{recipe.port}/tcp": (HOST, recipe.host_port) if recipe.host_port else (HOST,)}  # type: ignore[dict-item]
        made.env = dict(recipe.env)
        made.tmpfs = dict(recipe.tmpfs)
        for mount in recipe.mounts:
            made.with_volume_mapping(mount.source, mount.inside, "rw" if mount.writable else "ro")
        if recipe.command is not None:
            made.with_command(list(recipe.command))
        more: dict[str, Any] = {"labels": dict(labels)}
        if recipe.entrypoint is not None:
            more["entrypoint"] = list(recipe.entrypoint)
        if recipe.user is not None:
            more["user"] = recipe.user
        made.with_kwargs(**more)
        self._made = made

    def start(self) -> None:
        """Create and start it, and follow its log. Raises :class:`EnvironmentUnusable`."""
        try:
            self._made.start()
            self._container = self._made.get_wrapped_container()
            self._started_at = self._inspect().get("State", {}).get("StartedAt", "")
            self._follow()
        except docker.errors.APIError as error:
            raise self._refused(explained(error)) from error
        except _ENGINE_ERRORS as error:
            raise unusable(error) from error

    def _refused(self, said: str) -> EnvironmentUnusable:
        port = self.recipe.host_port
        if port and any(sign in said.lower() for sign in ("already allocated", "already in use", "cannot expose port")):
            return PortTaken(f"port {port} cannot be used: {said}", hint="give another one, or 0 for any")
        return EnvironmentUnusable(f"the container {self.name} cannot be started: {said}", where=self.recipe.image)

    @property
    def url(self) -> str:
        """Where it is published. Raises :class:`TargetError` where it is not (any more)."""
        if not self._host_port:
            published = self._inspect().get("NetworkSettings", {}).get("Ports", {}).get(f"{self.recipe.port}/tcp")
            if not published:
                raise TargetError(
                    f"{self.name} publishes no port; {self.ended() or 'it runs'}", where=self.recipe.image
                )
            self._host_port = int(published[0]["HostPort"])
        return f"http://{HOST}:{self._host_port}"

    def require_same(self) -> None:
        """Raise :class:`TargetError` where it is gone, or others started it again (and the engine moved its port)."""
        state = self._inspect().get("State", {})
        if state.get("StartedAt") != self._started_at:
            raise TargetError(
                f"the container {self.name} was started again by somebody else: a fault would go to what nobody "
                f"looked at",
                where=self.recipe.image,
            )

    @property
    def image_id(self) -> str:
        """What the image's name stood for."""
        return str(self._inspect().get("Image", ""))

    def running(self) -> bool:
        """Whether it runs; False where the engine does not say."""
        try:
            return bool(self._inspect().get("State", {}).get("Running"))
        except TargetError:
            return False

    def ended(self) -> str:
        """How it ended, empty while it runs."""
        state = self._inspect().get("State", {})
        if state.get("Running") or state.get("Status") == "created":
            return ""
        code = int(state.get("ExitCode", 0))
        if state.get("OOMKilled"):
            return "was killed for want of memory"
        return f"ended by signal {code - 128}" if code > 128 else f"exited with status {code}"

    def _inspect(self) -> dict[str, Any]:
        if self._container is None:
            raise TargetError(f"{self.name} is not started")
        try:
            found: dict[str, Any] = self._container.client.api.inspect_container(self._container.id)
        except docker.errors.NotFound as error:
            raise TargetError(f"the container {self.name} is gone") from error
        except _ENGINE_ERRORS as error:
            raise TargetError(f"the engine does not say how {self.name} is: {error}") from error
        return found

    def process(self) -> ProcessIdentity | None:
        """The process that serves its port, where this machine's /proc shows which it is; None where it does not."""
        first = int(self._inspect().get("State", {}).get("Pid", 0))
        if first <= 0 or not self._is_inside(first):
            return None
        listening = _listening(first, self.recipe.port)
        pids = sorted(_tree(first))
        serving = next((pid for pid in pids if listening & _sockets(pid)), None)
        if serving is None and len(pids) > 1:
            return None  # of another user: the first may be a shell that waits for the service
        return identify(serving or first)

    def usage(self) -> dict[str, Any]:
        """What all its processes use, as the engine says, and which start of the container that is.

        Raises :class:`TargetError` where the engine does not answer, or the container has ended.
        """
        state = self._inspect().get("State", {})
        if self._usage is None:
            container = self._container
            follow = partial(container.client.api.stats, container.id, decode=True)
            self._usage = UsageStream(follow, self.name)
        return {"identity": f"{self._container.id} {state.get('StartedAt', '')}", **self._usage.latest()}

    def _is_inside(self, pid: int) -> bool:
        """Whether ``pid`` is in this container here, and not another process of a machine without the engine."""
        try:
            return str(self._container.id) in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        except OSError:
            return False

    def tail(self, lines: int) -> str:
        """The end of its log."""
        if self._follower is not None and not self.running():
            self._follower.join(_LOG_END_S)
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                raw = file.read()
        except OSError:
            return ""
        return "\n".join(raw.decode("utf-8", "replace").splitlines()[-lines:])

    def end(self, *, grace_s: float | None) -> None:
        """Stop it (SIGTERM, SIGKILL after ``grace_s``; at once where None) and remove it.

        Raises :class:`TargetError` where it stays.
        """
        container, self._container = self._container or self._created(), None
        try:
            if container is not None:
                if grace_s is not None:
                    with suppress(docker.errors.NotFound, docker.errors.APIError):  # it has ended already
                        container.stop(timeout=max(1, round(grace_s)))
                with suppress(docker.errors.NotFound):
                    container.remove(force=True, v=True)
        except docker.errors.APIError as error:
            if "already in progress" not in explained(error):
                raise TargetError(f"the container {self.name} cannot be removed: {explained(error)}") from error
        except _ENGINE_ERRORS as error:
            raise TargetError(f"the container {self.name} cannot be removed: {error}") from error
        finally:
            if self._follower is not None:
                self._follower.join(_LOG_END_S)
            if self._usage is not None:
                self._usage.join(_LOG_END_S)
            self._made.get_docker_client().client.close()

    def _created(self) -> Any:
        """What was created and not started, a taken port for instance: it has our name."""
        try:
            return self._made.get_docker_client().client.containers.get(self.name)
        except _ENGINE_ERRORS:
            return None

    def _follow(self) -> None:
        lines = self._container.logs(stream=True, follow=True)
        log = self.log_path.open("ab")

        def run() -> None:
            with log, suppress(*_ENGINE_ERRORS, OSError, ValueError):  # it ends with its container
                for line in lines:
                    log.write(line)
                    log.flush()

        self._follower = threading.Thread(target=run, name=f"log-{self.recipe.alias}", daemon=True)
        self._follower.start()


def _listening(pid: int, port: int) -> set[str]:
    """Inodes of the sockets that listen on ``port`` in the network namespace of ``pid``."""
    found: set[str] = set()
    for family in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/{pid}/net/{family}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(fields[9])
    return found


def _sockets(pid: int) -> set[str]:
    """Inodes of the sockets ``pid`` has open."""
    found: set[str] = set()
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):  # closed meanwhile
                name = str(Path(entry.path).readlink())
                if name.startswith("socket:["):
                    found.add(name[8:-1])
    return found


def _tree(pid: int) -> set[int]:
    """``pid`` and its descendants."""
    found, fresh = {pid}, [pid]
    while fresh:
        try:
            children = Path(f"/proc/{fresh[0]}/task/{fresh[0]}/children").read_text(encoding="ascii").split()
        except OSError:
            children = []
        new = {int(child) for child in children} - found
        found |= new
        fresh = [*fresh[1:], *new]
    return found
