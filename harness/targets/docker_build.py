"""``python -m harness.targets.docker_build`` (``make images``): what has to be there for ``--target docker``.

An image is pulled where that works and built from Debian's packages where it does not; an unchanged one costs nothing.
What we built and no checkout needs any more is taken away (:mod:`harness.targets.docker_superseded`).

Everything is bounded in time; what was begun and not finished leaves no image of the final name.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker.errors
import requests

from harness.errors import EXIT_OK, EnvironmentUnusable, HarnessError
from harness.targets import docker_images as images
from harness.targets import docker_superseded
from harness.targets.docker_engine import (
    GRAFANA_DEFAULT,
    GRAFANA_VARIABLE,
    NO_IMAGE,
    PROMETHEUS_DEFAULT,
    PROMETHEUS_VARIABLE,
    Say,
    engine,
    explained,
    has_image,
    pull,
)

DEBIAN_S = 480.0  # a minimal Debian takes half a minute on a near mirror
BUILD_S = 600.0
WHEELS_S = 300.0
PULL_BASE_S = 300.0
PULL_MONITORING_S = 600.0
MIRROR = "http://deb.debian.org/debian"  # signed, so plain http does
MIRROR_VARIABLE = "ENGRAM_DEBIAN_MIRROR"
_SUITE = "bookworm"
_PYTHON = "3.11"  # bookworm's
_LEFT_OUT = ("./var/lib/apt/lists/*", "./var/cache/apt/*", "./usr/share/doc/*", "./usr/share/man/*", "./dev/*")


def build_all(client: Any, say: Say) -> dict[str, str]:
    """See that every image is there; answers what each part runs on. Raises :class:`EnvironmentUnusable`."""
    found = {"engram": _reference(client, say)}
    found["prometheus"] = _prometheus(client, say)
    found["grafana"] = _grafana(client, say)
    removed, left = docker_superseded.remove_superseded(client)
    for name in removed:
        say(f"removed {name}: no checkout needs it any more")
    for why in left:
        say(f"left {why}")
    return found


def _reference(client: Any, say: Say) -> str:
    tag = images.reference_tag()
    if _held(client, tag):
        return tag
    base = _base(client, say)
    root = images.checkout()
    sources = images.reference_sources(root)
    with tempfile.TemporaryDirectory(prefix=f"{images.NAME}-wheels-") as folder:
        wheels = _wheels(root, Path(folder), _architecture(client), say)
        _build(client, tag, images.REFERENCE_FILE, images.context(sources, wheels), base, say)
    return tag


def _prometheus(client: Any, say: Say) -> str:
    named = os.environ.get(PROMETHEUS_VARIABLE, "").strip()
    if named:
        return named  # whoever names one sees to it; a run says where it is missing
    if has_image(client, PROMETHEUS_DEFAULT):
        return PROMETHEUS_DEFAULT
    if _held(client, images.local_prometheus_tag()):
        return images.local_prometheus_tag()
    why = pull(client, PROMETHEUS_DEFAULT, say, PULL_MONITORING_S)
    if not why:
        return PROMETHEUS_DEFAULT
    say(f"{PROMETHEUS_DEFAULT} cannot be pulled ({why}): building one from Debian's package")
    tag = images.local_prometheus_tag()
    sources = {images.PROMETHEUS_FILE: (images.checkout() / images.PROMETHEUS_FILE).read_bytes()}
    _build(client, tag, images.PROMETHEUS_FILE, images.context(sources), _base(client, say), say)
    return tag


def _grafana(client: Any, say: Say) -> str:
    named = os.environ.get(GRAFANA_VARIABLE, "").strip()
    if named:
        return named
    if has_image(client, GRAFANA_DEFAULT):
        return GRAFANA_DEFAULT
    why = pull(client, GRAFANA_DEFAULT, say, PULL_MONITORING_S)
    return GRAFANA_DEFAULT if not why else f"{NO_IMAGE}: {GRAFANA_DEFAULT} cannot be pulled: {why}"


def _held(client: Any, tag: str) -> bool:
    """Whether the image of ours is here; this checkout holds it then. Raises :class:`EnvironmentUnusable`."""
    if not has_image(client, tag):
        return False
    try:
        docker_superseded.hold(client, tag, tag)
    except docker.errors.ImageNotFound:
        return False  # taken away since
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EnvironmentUnusable(f"the image cannot be held: {explained(error)}", where=tag) from error
    return True


def _build(client: Any, tag: str, dockerfile: str, packed: Any, base: str, say: Say) -> None:
    """Build one image, tagged only when it is whole. Raises :class:`EnvironmentUnusable` with its last words."""
    say(f"building {tag} from {base}")
    deadline = time.monotonic() + BUILD_S
    words: list[str] = []
    made = ""
    try:
        lines = client.api.build(
            fileobj=packed,
            custom_context=True,
            dockerfile=dockerfile,
            buildargs={"BASE": base},
            labels=docker_superseded.labels(),
            rm=True,
            forcerm=True,
            decode=True,
        )
        for line in lines:
            if "error" in line:
                raise EnvironmentUnusable(_last(words, str(line["error"])), where=dockerfile)
            if time.monotonic() > deadline:
                raise EnvironmentUnusable(f"the build is not done after {BUILD_S:g} s", where=dockerfile)
            words += str(line.get("stream", "")).splitlines()
            made = (line.get("aux") or {}).get("ID", made)
        docker_superseded.hold(client, made, tag)  # first: what nobody holds is taken away
        client.images.get(made).tag(tag)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EnvironmentUnusable(f"the image cannot be built: {explained(error)}", where=dockerfile) from error


def _last(words: list[str], error: str) -> str:
    tail = "\n".join(line for line in words if line.strip()).splitlines()[-6:]
    return "\n".join([f"the image cannot be built: {error.strip()}", *tail])


def _architecture(client: Any) -> str:
    try:
        machine = str(client.version().get("Arch", "amd64"))
    except (docker.errors.DockerException, requests.RequestException):
        machine = "amd64"
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _wheels(root: Path, folder: Path, machine: str, say: Say) -> dict[str, Path]:
    """The reference's wheels for bookworm, as the host's pip gets them; none where it gets none (the image's pip asks
    its index then).
    """
    say("getting the reference's wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", _PYTHON, "--dest", str(folder)]
    for glibc in range(17, 37):  # bookworm has 2.36
        command += ["--platform", f"manylinux_2_{glibc}_{machine}"]
    command += ["--platform", f"manylinux2014_{machine}", *images.pins(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WHEELS_S, check=False)
        why = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    if why:
        say(f"the host's pip gets no wheels ({why[:160]}): the image's own will ask its index")
        return {}
    return {f"build/wheels/{path.name}": path for path in sorted(folder.glob("*.whl"))}


def _base(client: Any, say: Say) -> str:
    """Debian bookworm: here already, pulled, or built. Raises :class:`EnvironmentUnusable`."""
    for name in (images.BASE_DEFAULT, images.BASE_LOCAL):
        if has_image(client, name):
            return name
    why = pull(client, images.BASE_DEFAULT, say, PULL_BASE_S)
    if not why:
        return images.BASE_DEFAULT
    say(f"{images.BASE_DEFAULT} cannot be pulled ({why}): building {images.BASE_LOCAL} with debootstrap")
    with tempfile.TemporaryDirectory(prefix=f"{images.NAME}-debian-") as folder:
        archive = _debian(Path(folder), say)
        repository, tag = images.BASE_LOCAL.split(":")
        try:
            client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=['CMD ["bash"]'])
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EnvironmentUnusable(f"Debian cannot be imported: {explained(error)}") from error
    return images.BASE_LOCAL


def _debian(folder: Path, say: Say) -> Path:
    if os.geteuid() != 0:
        raise EnvironmentUnusable(
            f"{images.BASE_DEFAULT} cannot be pulled, and building it takes root", hint="run `make images` once as root"
        )
    program = shutil.which("debootstrap") or _install_debootstrap(say)
    root, archive = folder / "root", folder / "debian.tar"
    mirror = os.environ.get(MIRROR_VARIABLE, MIRROR)
    started = time.monotonic()
    _bounded([program, "--variant=minbase", "--include=ca-certificates", _SUITE, str(root), mirror], DEBIAN_S)
    _bounded(["tar", "-C", str(root), *(f"--exclude={path}" for path in _LEFT_OUT), "-cf", str(archive), "."], 120.0)
    say(f"Debian {_SUITE} is ready after {time.monotonic() - started:.0f} s")
    return archive


def _install_debootstrap(say: Say) -> str:
    apt = shutil.which("apt-get")
    if apt is None:
        raise EnvironmentUnusable("debootstrap is not installed, and there is no apt-get", hint="install debootstrap")
    say("installing debootstrap")
    _bounded([apt, "update", "-qq"], 120.0)
    _bounded([apt, "install", "-y", "-qq", "--no-install-recommends", "debootstrap"], 120.0)
    return shutil.which("debootstrap") or "debootstrap"


def _bounded(command: Sequence[str], limit_s: float) -> None:
    """Run a command with everything it starts; ended as a whole after ``limit_s``, or when we are interrupted."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvironmentUnusable(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        said, _ = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise EnvironmentUnusable(f"{Path(command[0]).name} is not done after {limit_s:g} s") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    if child.returncode != 0:
        tail = " | ".join(line for line in said.strip().splitlines()[-4:])
        raise EnvironmentUnusable(f"{Path(command[0]).name} failed: {tail[-400:]}")


def main(arguments: list[str]) -> int:
    """Build what is missing, or with ``--engine`` only say whether an engine answers; 3 where that does not work."""
    parser = argparse.ArgumentParser(prog="python -m harness.targets.docker_build")
    parser.add_argument("--engine", action="store_true", help="only see whether an engine answers")
    options = parser.parse_args(arguments)

    def say(text: str) -> None:
        sys.stderr.write(f"images: {text}\n")
        sys.stderr.flush()

    try:
        with engine() as client:
            if not options.engine:
                for part, image in build_all(client, say).items():
                    say(f"{part}: {image}")
    except HarnessError as error:
        say(str(error))
        return error.exit_code
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
