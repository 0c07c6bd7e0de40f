"""The Docker engine: reached, or a clear word why not; and which images an environment is made of.

Only the modules ``harness.targets.docker*`` import Docker's libraries, and they are imported where a Docker target is
asked for.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import docker
import docker.errors
import requests
from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient, get_docker_host

from harness.errors import EnvironmentUnusable, HarnessError, UsageError
from harness.targets.docker_images import local_prometheus_tag, reference_tag

# Its reaper is a privileged container of a foreign image; ours is harness/targets/docker_reap.py, and needs none.
testcontainers_config.ryuk_disabled = True

ENGRAM_VARIABLE = "ENGRAM_IMAGE"
PROMETHEUS_VARIABLE = "ENGRAM_PROMETHEUS_IMAGE"
GRAFANA_VARIABLE = "ENGRAM_GRAFANA_IMAGE"
PROMETHEUS_DEFAULT = "prom/prometheus:v2.55.1"
GRAFANA_DEFAULT = "grafana/grafana:11.3.0"
NO_IMAGE = "none"
PULL_S = 600.0
_LOOK_S = 10.0
Say = Callable[[str], None]


def quiet(text: str) -> None:
    """Says nothing."""


def engine_url() -> str:
    """Where the engine is looked for, as Docker's own tools do."""
    return get_docker_host() or "unix:///var/run/docker.sock"


@contextmanager
def engine(url: str | None = None) -> Iterator[Any]:
    """A client of the engine (``docker.DockerClient``), closed afterwards. Raises :class:`EnvironmentUnusable`."""
    client = connect(url)
    try:
        yield client
    finally:
        client.close()


def connect(url: str | None = None) -> Any:
    """A client of an engine that answers, at ``url`` or where Docker's tools look for it; the caller closes it.

    Raises :class:`EnvironmentUnusable`.
    """
    where, usual = url or engine_url(), engine_url()
    _look(where)
    try:
        # The usual one with its certificates, or whatever else Docker's own tools would take.
        client = DockerClient().client if where == usual else docker.DockerClient(base_url=where)
    except (docker.errors.DockerException, requests.RequestException, ValueError) as error:
        raise unusable(error, where) from error
    try:
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        client.close()
        raise unusable(error, where) from error
    return client


def _look(url: str) -> None:
    """See who answers before the client library does, which leaves its connections open where it fails.

    Raises :class:`EnvironmentUnusable`. What is neither a socket nor plain http is left to the library.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("unix", "tcp", "http") or os.environ.get("DOCKER_TLS_VERIFY"):
        return
    connection = http.client.HTTPConnection(parts.hostname or "localhost", parts.port or 2375, timeout=_LOOK_S)
    try:
        if parts.scheme == "unix":
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(_LOOK_S)
            connection.sock.connect(parts.path)
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
        if answer.status != 200 or not answer.headers.get("Api-Version"):
            raise unusable(ConnectionError(f"what answers is no Docker engine (status {answer.status})"), url)
    except (OSError, http.client.HTTPException) as error:
        raise unusable(error, url) from error
    finally:
        connection.close()


def unusable(error: BaseException, url: str | None = None) -> EnvironmentUnusable:
    """What stands between us and the engine, in a sentence."""
    text = " ".join(_chain(error))
    if "Permission denied" in text or "PermissionError" in text:
        return EnvironmentUnusable(
            "this user may not use the Docker engine",
            where=url or engine_url(),
            hint="add the user to the group docker",
        )
    reason = "no Docker engine answers"
    for sign, said in (
        ("FileNotFoundError", "there is no such socket"),
        ("Connection refused", "connection refused"),
        ("timed out", "no answer in time"),
    ):
        if sign in text:
            reason += f": {said}"
            break
    else:
        reason += f": {str(error)[:160]}"
    return EnvironmentUnusable(reason, where=url or engine_url(), hint="start Docker, or set DOCKER_HOST")


def _chain(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def explained(error: Exception) -> str:
    """What the engine said, in one line."""
    said = getattr(error, "explanation", None) or str(error) or type(error).__name__
    return " ".join(str(said).split())[:600]


@dataclass(frozen=True)
class Images:
    """What an environment is made of; ``absent`` says of Prometheus and Grafana why there is none."""

    engram: str
    is_reference: bool
    prometheus: str | None = None
    grafana: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def resolve_images(client: Any, environment: Mapping[str, str] | None = None, *, say: Say = quiet) -> Images:
    """The images of an environment, each of them there (pulled where it is not).

    An image that is named in the environment must be had, and so must Engram's; Prometheus' and Grafana's own are left
    out with the reason where they cannot be. ``none`` leaves one out on purpose. Raises :class:`EnvironmentUnusable`.
    """
    variables = os.environ if environment is None else environment
    named = variables.get(ENGRAM_VARIABLE, "").strip()
    engram = named or reference_tag()
    if named:
        require_image(client, named, ENGRAM_VARIABLE, say)
    elif not has_image(client, engram):
        raise EnvironmentUnusable(
            "the image of the reference Engram is not built, or of an older state", where=engram, hint="make images"
        )
    absent: dict[str, str] = {}
    found: dict[str, str | None] = {"prometheus": None, "grafana": None}
    for what, variable, usual, built in (
        ("prometheus", PROMETHEUS_VARIABLE, PROMETHEUS_DEFAULT, local_prometheus_tag()),
        ("grafana", GRAFANA_VARIABLE, GRAFANA_DEFAULT, None),
    ):
        wanted = variables.get(variable, "").strip()
        if wanted == NO_IMAGE:
            absent[what] = f"left out (${variable} is {NO_IMAGE})"
        elif wanted:
            require_image(client, wanted, variable, say)
            found[what] = wanted
        else:
            found[what], absent[what] = _usual(client, usual, built, say)
    reasons = {what: why for what, why in absent.items() if why}
    return Images(engram, not named, found["prometheus"], found["grafana"], reasons)


def _usual(client: Any, usual: str, built: str | None, say: Say) -> tuple[str | None, str]:
    if has_image(client, usual):
        return usual, ""
    if built is not None and has_image(client, built):
        return built, ""
    why = pull(client, usual, say)
    return (usual, "") if not why else (None, f"the image {usual} cannot be had: {why}")


def require_image(client: Any, image: str, variable: str, say: Say = quiet) -> None:
    """See that a named image is there, pulling it if need be. Raises :class:`EnvironmentUnusable`."""
    if not re.fullmatch(r"[a-z0-9][\w.\-/:@]*", image):
        raise UsageError(f"{image!r} is no image name", where=f"${variable}", hint="repository/name:tag")
    try:
        if has_image(client, image):
            return
    except UsageError as error:
        raise UsageError(f"{image!r} {error.what}", where=f"${variable}", hint=error.hint) from error
    why = pull(client, image, say)
    if why:
        raise EnvironmentUnusable(
            f"the image {image} is not here and cannot be pulled: {why}", where=f"${variable}", hint="build or pull it"
        )


def has_image(client: Any, image: str) -> bool:
    """Whether the engine has it. Raises :class:`EnvironmentUnusable`, :class:`UsageError` for an impossible name."""
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    except docker.errors.APIError as error:
        if "invalid reference" in explained(error):
            raise UsageError("is no image name", where=image, hint="repository/name:tag") from error
        raise EnvironmentUnusable(f"the engine does not say: {explained(error)}", where=image) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise unusable(error) from error
    return True


def pull(client: Any, image: str, say: Say = quiet, limit_s: float = PULL_S) -> str:
    """Pull an image; answers why that did not work, empty where it did."""
    say(f"pulling {image}")
    repository, tag = _name_and_tag(image)
    deadline = time.monotonic() + limit_s
    try:
        for line in client.api.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in line:
                return " ".join(str(line["error"]).split())[:240]
            if time.monotonic() > deadline:
                return f"not done after {limit_s:g} s"
    except docker.errors.APIError as error:
        return explained(error)
    except (docker.errors.DockerException, requests.RequestException, HarnessError) as error:
        return str(error)[:240]
    return "" if has_image(client, image) else "the engine pulled something else"


def _name_and_tag(image: str) -> tuple[str, str | None]:
    if "@" in image:
        return image, None
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
