"""Services for the tests, each stopped when its test or module is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reference.server import VECTORS, Server, wait_for

Launch = Callable[..., Server]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start services that live as long as the test."""
    servers: list[Server] = []

    def start(*arguments: str, **options: Any) -> Server:
        server = Server(tmp_path / f"server{len(servers)}", *arguments, **options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One populated service without defects for a whole module."""
    server = Server(tmp_path_factory.mktemp("shared")).start()
    try:
        server.populate()
        yield server
    finally:
        server.close()


@pytest.fixture
def healthy(shared: Server) -> Iterator[Server]:
    """The shared service, without faults and with its first flags before and after the test."""
    wait_for(lambda: shared.stats()["bindings"] >= len(VECTORS), "all episodes bound")
    yield shared
    shared.heal()
    shared.flags(blended_recall=True, fan_effect=True, monitoring=True, cohort_sampling_rate=1.0, cohort=None)
