"""One environment: a private network, its containers, their scratch directory, and its entry in the ledger.

What is made is removed again, in this order: containers, network, volumes, scratch, entry. Where something stays, the
entry stays too, and the guardian or the next run goes on.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker.errors
import httpx
import requests
from testcontainers.core.network import Network

from harness.clock import Clock
from harness.errors import (
    EnvironmentUnusable,
    HarnessError,
    PortTaken,
    TargetAnswerInvalid,
    TargetError,
    TargetRefused,
    TargetUnreachable,
)
from harness.targets.base import RegisterEnvironment, scratch_prefix, this_process
from harness.targets.docker_engine import connect, engine_url, explained
from harness.targets.docker_part import Part, Recipe
from harness.targets.docker_reap import labels, named_by, reap_abandoned, remove_environment

SCRATCH = ("data", "shim", "config")
_POLL_S = 0.05
_REBIND_S = 5.0

# Why a part does not serve yet at that URL, empty where it does; may raise what says so.
Unready = Callable[[str, str], str]
# The parts by name, given the scratch directory and the environment's name; may raise OSError.
Recipes = Callable[[Path, str], Mapping[str, Recipe]]


def unregistered(what: str, command: Sequence[str], scratch: Path | None) -> Callable[[], None]:
    """Nobody cleans up after us."""
    return lambda: None


class Environment:
    """Up and down once. ``folder`` takes the parts' logs; ``unready`` asks a part whether it serves."""

    def __init__(
        self, folder: Path, unready: Unready, *, timeout_s: float, register: RegisterEnvironment, clock: Clock
    ) -> None:
        self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.urls: dict[str, str] = {}
        self.described: dict[str, dict[str, str]] = {}
        self._folder = folder
        self._unready = unready
        self._timeout_s = timeout_s
        self._register = register
        self._clock = clock
        self._client: Any = None
        self._network: Network | None = None
        self._scratch: Path | None = None
        self._parts: dict[str, Part] = {}
        self._release: Callable[[], None] = lambda: None
        self._ending = threading.Event()

    @property
    def scratch(self) -> Path:
        """A directory of ours, below which data and configuration lie. Raises :class:`TargetError` before it is up."""
        if self._scratch is None:
            raise TargetError("the docker target is not started")
        return self._scratch

    def part(self, name: str) -> Part | None:
        """The container of that part as it is now, if there is one."""
        return self._parts.get(name)

    def up(self, recipes: Recipes) -> None:
        """Start the parts side by side and wait until each serves; what dead harnesses left on the engine goes first.

        Raises :class:`EnvironmentUnusable` where engine, image or port will not do, :class:`TargetError` with the end
        of a part's log where it dies or never gets ready; nothing is left then.
        """
        self._client = connect()
        try:
            reap_abandoned(self._client)
            wanted = self._prepare(recipes)
            self._network = self._make_network()
            self._make_volumes(wanted)
            self._parts = {name: self._part(name, recipe) for name, recipe in wanted.items()}
            with ThreadPoolExecutor(max_workers=3, thread_name_prefix="start") as pool:
                started = [pool.submit(self._start, name) for name in self._parts]
                try:
                    for future in started:
                        future.result()
                except BaseException:  # Ctrl-C included: the others need not get ready any more
                    self._ending.set()
                    raise
        except BaseException as error:
            try:
                self.down(grace_s=0.0)
            except TargetError as left:
                error.add_note(str(left))
            raise

    def _prepare(self, recipes: Recipes) -> Mapping[str, Recipe]:
        """Scratch and ledger entry, which have to be there before anything else is."""
        command = [sys.executable, "-m", "harness.targets.docker_reap", self.name, "--engine", engine_url()]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._scratch = scratch = Path(tempfile.mkdtemp(prefix=scratch_prefix(this_process())))
            self._release = self._register(f"docker environment {self.name}", command, scratch)
            for part in SCRATCH:
                (scratch / part).mkdir(mode=0o755)
            return recipes(scratch, self.name)
        except OSError as error:
            raise EnvironmentUnusable(
                f"cannot prepare the target: {error.strerror}", where=str(error.filename or self._folder)
            ) from error

    def _make_network(self) -> Network:
        network = Network(docker_network_kw={"driver": "bridge", "labels": labels(self.name)})
        network.name = named_by(self.name)
        try:
            return network.create()
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EnvironmentUnusable(f"no network can be made: {explained(error)}", where=engine_url()) from error

    def _make_volumes(self, recipes: Mapping[str, Recipe]) -> None:
        """Those that are mounted by name: one the engine made by itself would carry no owner."""
        names = {mount.source for recipe in recipes.values() for mount in recipe.mounts if "/" not in mount.source}
        try:
            for name in sorted(names):
                self._client.volumes.create(name=name, labels=labels(self.name))
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EnvironmentUnusable(f"no volume can be made: {explained(error)}", where=engine_url()) from error

    def _part(self, name: str, recipe: Recipe) -> Part:
        assert self._network is not None
        log = self._folder / ("target.log" if name == "engram" else f"{name}.log")
        return Part(recipe, named_by(self.name, name), labels(self.name), self._network, log)

    def _start(self, name: str, cancel: threading.Event | None = None) -> None:
        part = self._parts[name]
        part.start()
        self._wait_until_ready(name, part, cancel or threading.Event())
        self.urls[name] = part.url
        self.described[name] = {"image": part.recipe.image, "id": part.image_id, "container": part.name}

    def _wait_until_ready(self, name: str, part: Part, cancel: threading.Event) -> None:
        deadline = self._clock.now() + self._timeout_s
        why = "it was not asked yet"
        while self._clock.now() < deadline and not self._ending.is_set():
            if cancel.is_set():
                raise _failed(name, part, "is not waited for: its start was given up")
            ended = part.ended()
            if ended:
                raise _failed(name, part, f"{ended} before it was ready")
            url = _url_of(name, part)
            try:
                why = self._unready(name, url)
            except (TargetUnreachable, TargetRefused, TargetAnswerInvalid) as error:
                why = error.what
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
            if not why:
                return
            self._clock.wait(self._ending, _POLL_S)
        if not self._ending.is_set():
            raise _failed(name, part, f"is not ready after {self._timeout_s:g} s: {why}")

    def again(self, name: str, recipe: Recipe, *, grace_s: float | None, cancel: threading.Event | None = None) -> None:
        """End a part and start it anew by ``recipe``; where it does not start, it is down and may be started again.

        ``cancel``, once set, ends the waiting for it; it is down then.
        """
        self.stop_part(name, grace_s=grace_s)
        deadline = self._clock.now() + _REBIND_S
        while True:
            self._parts[name] = self._part(name, recipe)
            try:
                self._start(name, cancel)
                return
            except HarnessError as error:
                self.stop_part(name, grace_s=None)
                # The engine may take a moment to let go of the port.
                if not isinstance(error, PortTaken) or self._clock.now() > deadline:
                    raise
                self._clock.wait(self._ending, _POLL_S)

    def stop_part(self, name: str, *, grace_s: float | None) -> None:
        """End one part; its log stays. Raises :class:`TargetError`."""
        self._parts[name].end(grace_s=grace_s)

    def down(self, *, grace_s: float) -> None:
        """Engram in order (SIGTERM, SIGKILL after ``grace_s``), the others at once, then all that was made. Idempotent.

        Raises :class:`TargetError` naming what could not be removed.
        """
        if self._client is None:
            return
        self._ending.set()
        problems: list[str] = []
        with ThreadPoolExecutor(max_workers=3, thread_name_prefix="stop") as pool:
            grace = {"engram": grace_s or None}
            for future in [pool.submit(part.end, grace_s=grace.get(n)) for n, part in self._parts.items()]:
                try:
                    future.result()
                except TargetError as error:
                    problems.append(str(error))
        problems += remove_environment(self._client, self.name).problems
        if self._network is not None:
            self._network._docker.client.close()
        self._client.close()
        self._client = self._network = None
        self._parts, self.urls = {}, {}
        if problems:
            raise TargetError(f"not everything could be removed: {'; '.join(problems)}", where=engine_url())
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        release, self._release = self._release, lambda: None
        release()


def _url_of(name: str, part: Part) -> str:
    """Where it is published; one that ended in this moment is told as such, and not as one without a port."""
    try:
        return part.url
    except TargetError as error:
        if ended := part.ended():
            raise _failed(name, part, f"{ended} before it was ready") from error
        raise


def _failed(name: str, part: Part, what: str) -> TargetError:
    tail = part.tail(12)
    text = f"{name} {what}" + (f"; its log ends:\n{tail}" if tail else "; its log is empty")
    return TargetError(text, where=part.recipe.image)
