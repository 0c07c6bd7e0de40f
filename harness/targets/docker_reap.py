"""Whose an environment's containers, networks and volumes are, and taking away those whose owner is gone.

Everything we make carries its owner's identity as labels, so that the next run finds what a killed one left, without
any file. Labels alone prove nothing: an image committed from a container of ours hands them on to whatever is run from
it. So only what also bears the name that goes with them is taken away; the rest is left alone and named.

The guardian and ``harness heal`` take one environment down by its name:
``python -m harness.targets.docker_reap ENVIRONMENT [--engine URL]``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.errors
import requests

from harness.errors import EXIT_FAILED, EXIT_OK, HarnessError
from harness.targets.base import ProcessIdentity, this_process
from harness.targets.docker_engine import engine, explained

PREFIX = "engram-harness"
ENVIRONMENT = f"{PREFIX}.environment"
OWNER = f"{PREFIX}.owner"  # pid:start time:boot
PLACE = f"{PREFIX}.place"  # machine:pid namespace:user, without which a pid means nothing
_PATIENCE_S = 10.0
_PAUSE_S = 0.2
# A request that was on its way when its harness died may make a container after we looked; so we look again.
_QUIET_S = 1.0


def labels(environment: str) -> dict[str, str]:
    """What everything of an environment of ours carries."""
    me = this_process()
    return {ENVIRONMENT: environment, OWNER: f"{me.pid}:{me.start_time}:{me.boot}", PLACE: place()}


def place() -> str:
    """Where a pid of ours means something: this machine, this pid namespace, this user."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = ""
    named = hashlib.sha256(f"{machine}\0{platform.node()}".encode()).hexdigest()[:16]
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = "?"
    return f"{named}:{namespace.strip('pid:[]')}:{os.getuid()}"


def abandoned(found: Mapping[str, str]) -> bool:
    """Whether the owner named by these labels is dead for sure. Who cannot be seen from here is taken to live."""
    pid, start_time, boot = (*found.get(OWNER, "").split(":"), "", "", "")[:3]
    if found.get(PLACE) != place() or not (pid + start_time).isdigit():
        return False
    return not ProcessIdentity(int(pid), int(start_time), boot).alive()


def named_by(environment: str, part: str = "") -> str:
    """The name of an environment's network or, with ``part``, of its container or volume."""
    return f"{PREFIX}-{environment}-{part}" if part else f"{PREFIX}-{environment}"


def genuine(name: str, found: Mapping[str, str]) -> bool:
    """Whether what is called so is of our making, and its labels were not handed on to it."""
    environment = found.get(ENVIRONMENT, "")
    return bool(environment) and (name == named_by(environment) or name.startswith(named_by(environment) + "-"))


@dataclass
class Reaped:
    """Names of what was removed, of what has our labels and is not ours, and what could not be with its reason."""

    removed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def reap_abandoned(client: Any) -> Reaped:
    """Remove whatever dead owners of this machine left. Never raises for what cannot be removed."""
    return _reap(client, abandoned)


def remove_environment(client: Any, environment: str) -> Reaped:
    """Remove whatever is of this environment, whoever owns it. Never raises for what cannot be removed."""
    return _reap(client, lambda found: found.get(ENVIRONMENT) == environment)


def _reap(client: Any, ours: Callable[[Mapping[str, str]], bool]) -> Reaped:
    """Containers first: networks and volumes are free only then."""
    done = Reaped()
    for what, listed, remove in _kinds(client):
        try:
            there = [one for one in listed() if ours(one[1])]
        except (docker.errors.DockerException, requests.RequestException) as error:
            done.problems.append(f"{what}s cannot be listed: {explained(error)}")
            continue
        for name, found, handle in there:
            if not genuine(name, found):
                done.foreign.append(f"{what} {name}")
                continue
            why = _removed(lambda remove=remove, handle=handle: remove(handle))  # type: ignore[misc]
            if why:
                done.problems.append(f"{what} {name}: {why}")
            else:
                done.removed.append(f"{what} {name}")
    return done


Listed = Callable[[], Iterator[tuple[str, Mapping[str, str], str]]]


def _kinds(client: Any) -> Iterator[tuple[str, Listed, Callable[[str], None]]]:
    api, only = client.api, {"label": ENVIRONMENT}

    def containers() -> Iterator[tuple[str, Mapping[str, str], str]]:
        for one in api.containers(all=True, filters=only):
            yield (one.get("Names") or ["?"])[0].lstrip("/"), one.get("Labels") or {}, one["Id"]

    def networks() -> Iterator[tuple[str, Mapping[str, str], str]]:
        for one in api.networks(filters=only):
            yield one["Name"], one.get("Labels") or {}, one["Id"]

    def volumes() -> Iterator[tuple[str, Mapping[str, str], str]]:
        for one in api.volumes(filters=only).get("Volumes") or []:
            yield one["Name"], one.get("Labels") or {}, one["Name"]

    yield "container", containers, lambda handle: api.remove_container(handle, force=True, v=True)
    yield "network", networks, api.remove_network
    yield "volume", volumes, api.remove_volume


def _removed(remove: Callable[[], None]) -> str:
    """Remove one thing; answers why it stays, empty where it is gone (or going: another reaper may be at it)."""
    never, deadline = threading.Event(), time.monotonic() + _PATIENCE_S
    while True:
        try:
            remove()
            return ""
        except docker.errors.NotFound:
            return ""
        except docker.errors.APIError as error:
            why = explained(error)
            if "already in progress" not in why and time.monotonic() > deadline:
                return why
        except (docker.errors.DockerException, requests.RequestException) as error:
            return str(error)[:200]
        if time.monotonic() > deadline:
            return "its removal does not end"
        never.wait(_PAUSE_S)


def main(arguments: list[str]) -> int:
    """Take one environment down; 0 once nothing of it is left, 1 where something stays, 3 where no engine answers."""
    parser = argparse.ArgumentParser(prog="python -m harness.targets.docker_reap")
    parser.add_argument("environment")
    parser.add_argument("--engine", help="where the engine is, if not where it is looked for by default")
    options = parser.parse_args(arguments)
    never = threading.Event()
    try:
        with engine(options.engine) as client:
            done = remove_environment(client, options.environment)
            if not done.problems:
                never.wait(_QUIET_S)
                done = remove_environment(client, options.environment)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    for name in done.foreign:
        sys.stderr.write(f"left alone: {name} has the labels of {options.environment}, but not its name\n")
    for problem in done.problems:
        sys.stderr.write(f"{problem}\n")
    return EXIT_FAILED if done.problems else EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
