"""``harness up`` as a stranger uses it: URLs that answer, a load that goes on, and nothing left after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from harness.cli import main
from harness.targets.docker_engine import Images
from tests.faults.conftest import wait_for
from tests.targets.docker_here import images_here, left_of

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def up(folder: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "harness.cli", "up", "--results-dir", str(folder / "results"), *options]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ENGRAM_")}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**clean, "ENGRAM_STATE_DIR": str(folder / "state"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def places(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What ``--json`` prints once all is ready."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    found: dict[str, Any] = json.loads(line)
    return found


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=10.0, trust_env=False)


def rows(page: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(f"{page}/stats/requests").json()["stats"]
    return found


def test_an_embedded_engram_stays_up_under_load_until_ctrl_c(tmp_path: Path) -> None:
    options = ("--target", "embedded", "--load", "drill", "--rate", "80", "--locust-web", "--json")
    with up(tmp_path, *options) as process:
        found = places(process)
        urls = found["urls"]
        assert get(f"{urls['engram']}/health").status_code == 200
        assert (urls["prometheus"], urls["grafana"]) == (None, None)
        assert "Locust" in get(urls["locust"]).text
        wait_for("the page counts", lambda: sum(row["num_requests"] for row in rows(urls["locust"])) > 100, 60.0)
        assert {row["name"] for row in rows(urls["locust"])} >= {"store", "recall"}
        assert get(f"{urls['engram']}/api/v1/admin/features").json()["blended_recall"] is True
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Engram healthy" in said
    assert "storing the load's memories" in said
    assert "Traceback" not in said
    assert not psutil.pid_exists(found["pid"])
    assert list((tmp_path / "state").glob("**/*.jsonl")) == []


def test_it_ends_by_itself_when_asked_to(tmp_path: Path) -> None:
    with up(tmp_path, "--target", "embedded", "--duration", "1s") as process:
        said, trouble = process.communicate(timeout=60)
    assert (process.returncode, trouble) == (0, "")
    assert "Engram      http://127.0.0.1:" in said
    assert "up 0:00:0" in said


Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs the command in this process; it must refuse with one clear message, which is the answer."""

    def refuse(*options: str, **variables: str) -> str:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        assert main(["up", "--results-dir", str(tmp_path), *options]) == 3
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert len(said.err.strip().splitlines()) == 1
        return said.err

    return refuse


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--locust-web",), "--locust-web shows a load, and there is none"),
        (("--rate", "5"), "--rate is of a load"),
        (("--load", "nowhere"), "nowhere: cannot read"),
        (("--load", "drill", "--rate", "-1"), "--rate -1 is not above 0"),
        (("--duration", "soon"), "--duration 'soon' is no duration"),
        (("--port", "70000"), "--port 70000 is not from 0 to 65535"),
        (("--cohort-rate", "2"), "--cohort-rate 2 is not from 0 to 1"),
        (("--time-scale", "nan"), "--time-scale nan is not from 1 to 60"),
        (("--time-scale", "0"), "--time-scale 0 is not from 1 to 60"),
        (("--target", "embedded", "--time-scale", "-3"), "--time-scale -3 is not from 1 to 60"),
        (("--target", "embedded", "--engram-config", "/no/such/engram.toml"), "/no/such/engram.toml: cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_one_clear_message(refusal: Refusal, options: tuple[str, ...], said: str) -> None:
    assert said in refusal(*options)


def test_no_engine(refusal: Refusal) -> None:
    assert "no Docker engine answers: there is no such socket" in refusal(DOCKER_HOST="unix:///no/such/engine.sock")


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with up(tmp_path, "--target", "embedded", "--port", port) as process:
            _, trouble = process.communicate(timeout=60)
    assert process.returncode == 3
    assert f"port {port} cannot be used" in trouble
    assert "Traceback" not in trouble


@pytest.mark.docker
def test_containers_stay_up_until_they_are_told_to_end(images: Images, tmp_path: Path) -> None:
    variables = {"ENGRAM_GRAFANA_IMAGE": "none"}
    with up(tmp_path, "--json", "--time-scale", "15", **variables) as process:
        found = places(process)
        assert get(f"{found['urls']['engram']}/health").status_code == 200
        rules = get(f"{found['urls']['prometheus']}/api/v1/rules").json()["data"]["groups"]
        assert {group["name"] for group in rules} >= {"dual_memory"}
        assert found["absent"] == {"grafana": "left out ($ENGRAM_GRAFANA_IMAGE is none)"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not psutil.pid_exists(found["pid"])
    assert left_of(found["environment"]) == []


@pytest.mark.docker
@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("Not An Image", "is no image name"),
        ("engram-harness/nowhere:x", "is not here and cannot be pulled"),
    ],
)
def test_a_bad_image(images: Images, refusal: Refusal, image: str, said: str) -> None:
    trouble = refusal(ENGRAM_IMAGE=image)
    assert said in trouble
    assert "$ENGRAM_IMAGE" in trouble


@pytest.fixture
def images() -> Images:
    found = images_here()
    if isinstance(found, str):
        pytest.skip(f"Docker: {found}")
    return found
