"""What the tests of the Docker target share: an engine with images, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from harness.errors import HarnessError
from harness.targets.docker_engine import GRAFANA_VARIABLE, NO_IMAGE, Images, engine, resolve_images
from harness.targets.docker_reap import ENVIRONMENT


@lru_cache(maxsize=1)
def images_here() -> Images | str:
    """The images of an environment without Grafana, or why there are none. Nothing is pulled that is not named."""
    try:
        with engine() as client:
            return resolve_images(client, {GRAFANA_VARIABLE: NO_IMAGE})
    except HarnessError as error:
        return str(error)


def left_of(environment: str) -> list[str]:
    """Containers, networks and volumes that carry an environment's name."""
    only = {"label": f"{ENVIRONMENT}={environment}"}
    with engine() as client:
        found = [str(one["Names"]) for one in client.api.containers(all=True, filters=only)]
        found += [str(one["Name"]) for one in client.api.networks(filters=only)]
        return found + [str(one["Name"]) for one in client.api.volumes(filters=only).get("Volumes") or []]


@contextmanager
def inspected(name: str) -> Iterator[dict[str, Any]]:
    """What the engine says of a container."""
    with engine() as client:
        yield client.api.inspect_container(name)
