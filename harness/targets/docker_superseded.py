"""Images of ours that no checkout needs any more: told by their label and name, and taken away by name.

Checkouts share an engine, and the same sources are the same image for all of them. So every checkout holds the image
it needs by a tag of its own, ``engram-harness/held-PART:CHECKOUT``, which moves on when its sources change; an image
that nobody holds is superseded. Only the names we gave are removed, and never by force: an image that a container
runs, or that somebody gave a name of theirs, stays.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

import docker.errors
import requests

from harness.targets.docker_engine import ENGRAM_VARIABLE, PROMETHEUS_VARIABLE, explained
from harness.targets.docker_images import NAME, checkout
from harness.targets.docker_reap import place

BUILT = f"{NAME}.image"  # the label of what we built
HOLDABLE = (
    "held"  # its value, where checkouts hold their images; before, it was "built", and who needs those is unknown
)
_OURS = re.compile(rf"{re.escape(NAME)}/(?:reference|prometheus):[0-9a-f]{{12}}")
_HELD = f"{NAME}/held-"


def labels() -> dict[str, str]:
    """What every image we build carries; an image committed from a container of it does, too."""
    return {BUILT: HOLDABLE}


def hold(client: Any, image: str, tag: str) -> None:
    """Say that this checkout needs ``image`` (its id or a name) as ``tag``, and no longer what it held before.

    Raises Docker's ``ImageNotFound`` where it is gone.
    """
    part = tag.removeprefix(f"{NAME}/").partition(":")[0]
    client.images.get(image).tag(f"{_HELD}{part}", tag=_checkout())


def _checkout() -> str:
    """This checkout on this machine, for this user."""
    machine, user = place().partition(":")[0], os.getuid()
    return hashlib.sha256(f"{machine}\0{user}\0{checkout()}".encode()).hexdigest()[:12]


def remove_superseded(client: Any) -> tuple[list[str], list[str]]:
    """Take away what no checkout holds; answers the names removed, and those that stay with the reason.

    What the engine does not say, and an image that is named in ``ENGRAM_IMAGE`` or ``ENGRAM_PROMETHEUS_IMAGE``, stays.
    """
    wanted = {os.environ.get(variable, "").strip() for variable in (ENGRAM_VARIABLE, PROMETHEUS_VARIABLE)}
    removed: list[str] = []
    left: list[str] = []
    try:
        found = client.images.list(filters={"label": f"{BUILT}={HOLDABLE}"})
    except (docker.errors.DockerException, requests.RequestException) as error:
        return [], [f"the engine does not list its images: {explained(error)}"]
    for image in found:
        if any(tag.startswith(_HELD) for tag in image.tags):
            continue
        for tag in sorted(tag for tag in image.tags if _OURS.fullmatch(tag) and tag not in wanted):
            try:
                client.images.remove(tag, force=False)
                removed.append(tag)
            except docker.errors.ImageNotFound:
                continue  # another make images was at it
            except (docker.errors.DockerException, requests.RequestException) as error:
                left.append(f"{tag}: {explained(error)}")
    return removed, left
