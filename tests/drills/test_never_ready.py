"""An image whose server never becomes ready is an unusable environment: one message, exit code 3, nothing left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import EXIT_UNUSABLE
from harness.targets.docker_engine import ENGRAM_VARIABLE, GRAFANA_VARIABLE, NO_IMAGE, PROMETHEUS_VARIABLE
from tests.drills.session import ROOT, DrillRun
from tests.targets.docker_here import images_here, left_of


def test_an_engram_that_ends_at_its_start_and_its_record_judged_again(tmp_path: Path) -> None:
    """The session and the judge of its record say the same and end with the same code."""
    config = tmp_path / "engram.toml"
    config.write_text("[features]\nblended_recall = 7\n", encoding="utf-8")
    with DrillRun(tmp_path, "drills/control", "-k", "control", "--engram-config", str(config)) as run:
        assert run.wait() == EXIT_UNUSABLE, run.output
        assert "Traceback" not in run.output
        reason = run.verdict()["cases"][0]["reasons"][0]
        what = reason.splitlines()[0].removeprefix("run: ")
        assert "before it was ready" in what
        assert what in run.output
        command = [sys.executable, "-m", "harness.cli", "judge", str(run.session)]
        again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == EXIT_UNUSABLE, again.stdout
    assert reason in again.stdout


@pytest.mark.long
@pytest.mark.docker
def test_an_image_whose_server_never_becomes_ready(tmp_path: Path) -> None:
    """The image of Prometheus runs a server, and none that ever is an Engram."""
    images = images_here()
    if isinstance(images, str):
        pytest.skip(f"Docker: {images}")
    env = {ENGRAM_VARIABLE: str(images.prometheus), PROMETHEUS_VARIABLE: NO_IMAGE, GRAFANA_VARIABLE: NO_IMAGE}
    with DrillRun(tmp_path, "drills/control", "-k", "control", "--target", "docker", env=env) as run:
        assert run.wait() == EXIT_UNUSABLE, run.output
        assert "engram is not ready after 30 s" in run.output
        assert "Traceback" not in run.output
    ledgers = "".join(path.read_text("utf-8") for path in run.results.rglob("ledger.jsonl"))
    environments = set(re.findall(r'docker_reap", ?"([^"]+)"', ledgers))
    assert environments
    assert [left for environment in environments for left in left_of(environment)] == []
