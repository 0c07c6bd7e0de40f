"""Docker tests are skipped, with the reason, where no engine answers or ``make images`` was not run."""

from __future__ import annotations

import pytest

from harness.targets.docker_engine import Images
from tests.targets.docker_here import images_here


@pytest.fixture
def images() -> Images:
    """The reference and Prometheus; no Grafana."""
    found = images_here()
    if isinstance(found, str):
        pytest.skip(f"Docker: {found}")
    return found
