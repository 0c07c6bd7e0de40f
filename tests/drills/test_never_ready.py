"""An image whose server never becomes ready is an unusable environment: one message, exit code 3, nothing left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import EXIT_UNUSABLE
from harness.targets.docker_engine import ENGRAM_VARIABLE, GRAFANA_VARIABLE, NO_IMAGE, PROMETHEUS_VARIABLE
from tests.drills.session import DrillRun
from tests.targets.docker_here import images_here, left_of


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
