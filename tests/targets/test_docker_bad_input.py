"""Engines and images that will not do, by every command that starts a container: one message, code 3, nothing left.

What ``harness up`` and a drill session say besides stands in ``tests/test_exploring.py`` and
``tests/drills/test_never_ready.py``; what is no Prometheus, Grafana or Engram in ``tests/test_starting.py``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker.errors
import pytest

from harness.cli import main
from harness.errors import EnvironmentUnusable, TargetError
from harness.targets.docker import DockerTarget
from harness.targets.docker_engine import GRAFANA_VARIABLE, NO_IMAGE, PROMETHEUS_VARIABLE, Images, resolve_images
from harness.targets.docker_images import BASE_LOCAL, reference_tag
from tests.drills.session import ROOT
from tests.targets.docker_here import left_of

COMMANDS = {
    "up": ["up"],
    "soak": ["soak", "--target", "docker", "--profile", "quick"],
    "perf": ["perf", "001", "before", "--target", "docker", "--seconds", "1"],
    "validate-monitoring": ["validate-monitoring", "--target", "docker"],
}


@pytest.fixture(params=COMMANDS)
def refusal(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[[], str]]:
    """Runs a command in this process: it must refuse with one message, which is the answer, and leave no result."""
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv(PROMETHEUS_VARIABLE, NO_IMAGE)
    monkeypatch.setenv(GRAFANA_VARIABLE, NO_IMAGE)
    before = signal.getsignal(signal.SIGTERM)

    def refuse() -> str:
        assert main([*COMMANDS[request.param], "--results-dir", str(tmp_path / "results")]) == 3
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert len([line for line in said.splitlines() if not line.endswith("…")]) == 1, said
        return said

    yield refuse
    signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "results").exists()


@contextmanager
def not_root() -> Iterator[None]:
    """As another user, who may not open what is root's alone."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_engine_this_user_may_not_use(refusal: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is there, where everybody may look, and is not ours to open."""
    with (
        tempfile.TemporaryDirectory(prefix="engine-", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server,
    ):
        Path(folder).chmod(0o755)
        path = Path(folder) / "docker.sock"
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        with not_root():
            said = refusal()
    assert "this user may not use the Docker engine" in said
    assert "group docker" in said
    assert str(path) in said


@pytest.mark.docker
def test_a_reference_that_is_not_built(
    images: Images, refusal: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.targets.docker_engine.reference_tag", lambda: "engram-harness/reference:000000000000")
    said = refusal()
    assert "engram-harness/reference:000000000000: the image of the reference Engram is not built" in said
    assert "make images" in said


@pytest.mark.docker
@pytest.mark.parametrize(
    ("image", "words"),
    [("Not An Image", "is no image name"), ("engram-harness/nowhere:x", "is not here and cannot be pulled")],
)
def test_an_engram_image_that_cannot_be_had(
    images: Images, refusal: Callable[[], str], monkeypatch: pytest.MonkeyPatch, image: str, words: str
) -> None:
    monkeypatch.setenv("ENGRAM_IMAGE", image)
    said = refusal()
    assert words in said
    assert "$ENGRAM_IMAGE" in said


class Empty:
    """An engine that has no image at all."""

    def __init__(self) -> None:
        self.images = self

    def get(self, name: str) -> object:
        raise docker.errors.ImageNotFound("No such image")


def test_an_image_that_is_not_built_is_told_without_an_engine_to_ask() -> None:
    with pytest.raises(EnvironmentUnusable, match="is not built, or of an older state") as raised:
        resolve_images(Empty(), {})
    assert raised.value.where == reference_tag()
    assert (raised.value.hint, raised.value.exit_code) == ("make images", 3)


@contextmanager
def own_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A state directory of our own; answers, at the end, the environments that were started."""
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv(PROMETHEUS_VARIABLE, NO_IMAGE)
    monkeypatch.setenv(GRAFANA_VARIABLE, NO_IMAGE)
    before, found = signal.getsignal(signal.SIGTERM), list[str]()
    yield found
    signal.signal(signal.SIGTERM, before)
    ledgers = "".join(path.read_text("utf-8") for path in (folder / "results").rglob("ledger.jsonl"))
    found += set(re.findall(r'docker_reap", ?"([^"]+)"', ledgers))


@pytest.mark.docker
def test_a_port_that_is_taken(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_state(tmp_path, monkeypatch) as started, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["up", "--port", port, "--results-dir", str(tmp_path / "results")]) == 3
    said = capsys.readouterr().err
    assert f"port {port} cannot be used" in said
    assert "Traceback" not in said
    assert len(started) == 1
    assert left_of(started[0]) == []


@pytest.mark.docker
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "up" else pytest.mark.long) for n in COMMANDS])
def test_an_image_that_runs_no_server(
    name: str,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Debian's own: its shell ends at once."""
    with own_state(tmp_path, monkeypatch) as started:
        monkeypatch.setenv("ENGRAM_IMAGE", BASE_LOCAL)
        assert main([*COMMANDS[name], "--results-dir", str(tmp_path / "results")]) == 3
    said = capsys.readouterr().err
    assert f"{BASE_LOCAL}: engram exited with status 0 before it was ready; its log is empty" in said
    assert "Traceback" not in said
    assert len(started) == 1
    assert left_of(started[0]) == []


@pytest.mark.docker
def test_an_engram_that_wants_another_key(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGRAM_API_KEY", raising=False)
    alone = Images(images.engram, is_reference=True)
    with DockerTarget(tmp_path, alone, start_timeout_s=10.0) as target:
        target._environment._timeout_s = 1.0  # type: ignore[union-attr]
        with pytest.raises(TargetError, match=r"engram is not ready after 1 s: .*401") as raised:
            target.restart_with(env={"ENGRAM_API_KEY": "another"})
        environment = target.describe()["environment"]
    assert raised.value.exit_code == 3
    assert left_of(environment) == []


def test_drills_without_an_engine(tmp_path: Path) -> None:
    words = ["drill", "-k", "control", "--target", "docker", "--results-dir", str(tmp_path / "results")]
    env = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock", "ENGRAM_STATE_DIR": str(tmp_path / "s")}
    command = [sys.executable, "-m", "harness.cli", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert said.count("no Docker engine answers: there is no such socket") == 1
    assert "Traceback" not in said
