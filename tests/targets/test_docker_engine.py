"""Engines that are not there and images that are not: one clear sentence each; and how images get their names."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.errors import EnvironmentUnusable, HarnessError, UsageError
from harness.targets import docker_build, docker_images
from harness.targets.docker_engine import (
    ENGRAM_VARIABLE,
    GRAFANA_VARIABLE,
    PROMETHEUS_VARIABLE,
    Images,
    connect,
    engine,
    resolve_images,
    unusable,
)
from tests.engram.stub import Stub, always, http

NONE = {GRAFANA_VARIABLE: "none", PROMETHEUS_VARIABLE: "none"}


@pytest.mark.parametrize("where", ["unix:///no/such/engine.sock", "tcp://127.0.0.1:9"])
def test_no_engine(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", where)
    with pytest.raises(EnvironmentUnusable, match="no Docker engine answers") as raised:
        connect()
    assert "DOCKER_HOST" in raised.value.hint
    assert raised.value.exit_code == 3


def test_what_answers_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stub(always(http(200, b"<html>hello</html>", "text/html"))) as stub:
        monkeypatch.setenv("DOCKER_HOST", stub.url.replace("http", "tcp"))
        with pytest.raises(EnvironmentUnusable, match="no Docker engine answers"):
            connect()


def test_an_engine_one_may_not_use() -> None:
    refused = RuntimeError("('Connection aborted.', PermissionError(13, 'Permission denied'))")
    assert "may not use the Docker engine" in unusable(refused).what
    assert "group docker" in unusable(refused).hint


@pytest.mark.docker
@pytest.mark.parametrize(
    ("variable", "name", "error", "said"),
    [
        (ENGRAM_VARIABLE, "No Such Image", UsageError, "is no image name"),
        (ENGRAM_VARIABLE, "engram:a:b", UsageError, "is no image name"),
        (ENGRAM_VARIABLE, "engram-harness/nowhere:x", EnvironmentUnusable, "is not here and cannot be pulled"),
        (GRAFANA_VARIABLE, "engram-harness/nowhere:x", EnvironmentUnusable, "is not here and cannot be pulled"),
    ],
)
def test_a_named_image_must_be_had(
    images: Images, variable: str, name: str, error: type[HarnessError], said: str
) -> None:
    with engine() as client, pytest.raises(error, match=said) as raised:
        resolve_images(client, {**NONE, ENGRAM_VARIABLE: images.engram, variable: name})
    assert f"${variable}" in str(raised.value)
    assert name in str(raised.value)


@pytest.mark.docker
def test_what_is_left_out_says_why(images: Images) -> None:
    with engine() as client:
        found = resolve_images(client, {**NONE, ENGRAM_VARIABLE: images.engram})
    assert (found.prometheus, found.grafana, found.is_reference) == (None, None, False)
    assert set(found.absent) == {"prometheus", "grafana"}


def test_an_image_is_named_after_its_sources_alone() -> None:
    root = docker_images.checkout()
    sources = docker_images.reference_sources(root)
    assert "harness/reference/service.py" in sources
    assert docker_images.reference_tag().endswith(docker_images.digest(sources))
    assert docker_images.digest({**sources, "harness/reference/wal.py": b"changed"}) != docker_images.digest(sources)
    assert docker_images.digest(dict(reversed(sources.items()))) == docker_images.digest(sources)
    pins = docker_images.pins(root)
    assert [pin.partition("==")[0] for pin in pins] == ["httptools", "numpy", "orjson", "prometheus_client", "uvloop"]


def test_every_file_the_dockerfile_copies_is_in_the_context_and_nothing_else_is_needed() -> None:
    root = docker_images.checkout()
    sources = docker_images.reference_sources(root)
    copied = [
        word
        for line in (root / docker_images.REFERENCE_FILE).read_text().splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
        if not word.startswith("build/wheels")
    ]
    for word in copied:
        assert any(path == word or path.startswith(word) for path in sources), word
    with tarfile.open(fileobj=docker_images.context(sources)) as packed:
        assert set(packed.getnames()) == set(sources)
        assert packed.getmember("images/reference-entrypoint.sh").mode == 0o755


def test_the_reference_needs_what_the_image_has() -> None:
    """The image holds the reference, the disk shim and two package files: nothing else of the harness is imported."""
    code = "import sys, harness.reference.cli, harness.reference.service, harness.faults.disk_shim; print(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {word.strip("'") for word in done.stdout.split() if word.startswith("'harness")}
    names = {word.rstrip(":").strip("'") for word in loaded}
    kept = ("harness.reference",)
    assert {n for n in names if not n.startswith(kept)} == {"harness", "harness.faults", "harness.faults.disk_shim"}


def test_a_build_step_ends_in_time_with_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}; sleep 30"
    with pytest.raises(EnvironmentUnusable, match=r"sh is not done after 0\.5 s"):
        docker_build._bounded(["sh", "-c", script], 0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    with pytest.raises(EnvironmentUnusable, match="sh failed: no mirror"):
        docker_build._bounded(["sh", "-c", "echo no mirror; exit 1"], 5.0)
    with pytest.raises(EnvironmentUnusable, match="cannot be started"):
        docker_build._bounded(["/no/such/program"], 5.0)
