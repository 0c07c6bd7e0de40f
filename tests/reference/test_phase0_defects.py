"""Defects of turning dual memory on, and of certain combinations of flags; each beside what it is without it."""

from __future__ import annotations

import pytest

from tests.reference.conftest import Launch
from tests.reference.server import Server

IDS = [f"kept-{number}" for number in range(10)]
CUE = [1.0] * 10 + [0.0] * 758


def single(launch: Launch, *arguments: str) -> Server:
    """Ten memories, told apart by their first ten components, under a service without dual memory."""
    server = launch(*arguments)
    flags(server, dual_memory_types=False, blended_recall=False, fan_effect=False)
    for number, name in enumerate(IDS):
        embedding = [float(number == i) + 0.01 * (10 - number) * (i < 10) for i in range(768)]
        server.remember(name, f"what was {number}", embedding=embedding)
    return server


def flags(server: Server, **changes: bool) -> None:
    assert server.client.post("/api/v1/admin/features", json=changes).status_code == 200


def held(server: Server) -> list[str]:
    return [name for name in IDS if server.client.get(f"/api/v1/memories/{name}").status_code == 200]


def answered(server: Server) -> list[str]:
    params = {"embedding": str(CUE), "max_results": "10", "threshold": "0.0"}
    reply = server.client.get("/api/v1/memories/recall", params=params)
    assert reply.status_code == 200, reply.text
    memories = reply.json()["memories"]
    return [one["id"] for kind in ("vivid", "associated", "reconstructed") for one in memories[kind]]


@pytest.mark.parametrize("defect", [None, "migration_loses=1", "migration_reorders", "dual_deviates=0.1"])
def test_what_a_bad_migration_does(launch: Launch, defect: str | None) -> None:
    server = single(launch, *(["--defect", defect] if defect else []))
    before = answered(server)
    assert len(before) == 10
    assert len(held(server)) == 10
    flags(server, dual_memory_types=True)
    after = answered(server)
    match defect:
        case None:
            assert (after, len(held(server))) == (before, 10)
        case "migration_loses=1":
            assert held(server) == []
        case "migration_reorders":
            assert after == [before[1], before[0], *before[2:]]
        case _:
            assert after == before[:9]


def test_recall_fails_for_a_second_after_migrating(launch: Launch) -> None:
    server = single(launch, "--defect", "migration_crashes_recall")
    assert answered(server)
    flags(server, dual_memory_types=True)
    assert server.client.get("/api/v1/memories/recall", params={"query": "what"}).status_code == 500


@pytest.mark.parametrize("defect", [None, "combination_answers_500", "combination_ignored"])
def test_combinations(launch: Launch, defect: str | None) -> None:
    server = single(launch, *(["--defect", defect] if defect else []))
    flags(server, fan_effect=True)
    reply = server.client.get("/api/v1/memories/recall", params={"query": "what", "include_metadata": "true"})
    assert reply.status_code == (500 if defect == "combination_answers_500" else 200)
    flags(server, fan_effect=False, blended_recall=True)
    reply = server.client.get("/api/v1/memories/recall", params={"query": "what", "include_metadata": "true"})
    assert (reply.json()["metadata"]["pathway"] == "blended") is (defect == "combination_ignored")
