"""The pytest side of :mod:`harness.cores`."""

from __future__ import annotations

import pytest

from harness.cores import keep_to_share


def pytest_collection_finish(session: pytest.Session) -> None:
    """A worker that has drills to run keeps to its share before it starts the first target."""
    given = getattr(session.config, "workerinput", None)
    if given and any(item.get_closest_marker("drill") for item in session.items):
        keep_to_share(int(given["workerid"].removeprefix("gw")), given["workercount"])
