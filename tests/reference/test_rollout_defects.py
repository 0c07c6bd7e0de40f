"""Each defect that a rehearsal injects shows in a service born with it, and not in a healthy one."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.reference.conftest import Launch
from tests.reference.server import Server, items

Look = Callable[[Server], bool]


def recall_takes_long(server: Server) -> bool:
    took = []
    for _ in range(3):  # one alone a busy machine can hold up
        began = time.monotonic()
        server.metadata()
        took.append(time.monotonic() - began)
    return min(took) > 0.05


def incoherent_concepts(server: Server) -> bool:
    return server.metrics()["engram_concept_coherence"] < 0.55


def runs_fail_without_a_fault(server: Server) -> bool:
    server.runs(2)
    return bool(server.stats()["failed_consolidations"] > 0)


def dual_memory_not_exported(server: Server) -> bool:
    return "engram_blended_recall_total" not in server.metrics()


def less_sure_than_its_best_memory(server: Server) -> bool:
    reply = server.recall()
    best = max(item["confidence"]["value"] for item in items(reply))
    return "recall_confidence" in reply.json() and reply.json()["recall_confidence"]["value"] < 0.7 * best


def says_not_how_sure(server: Server) -> bool:
    return "recall_confidence" not in server.recall().json()


LOOKS: dict[str, tuple[str, Look]] = {
    "canary_slower": ("canary_slower=400", recall_takes_long),
    "coherence_low": ("coherence_low=0.5", incoherent_concepts),
    "consolidation_fails": ("consolidation_fails=0.5", runs_fail_without_a_fault),
    "metrics_gone": ("metrics_gone", dual_memory_not_exported),
    "canary_unsure": ("canary_unsure=0.5", less_sure_than_its_best_memory),
    "confidence_gone": ("confidence_gone", says_not_how_sure),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_defect_is_seen(launch: Launch, name: str) -> None:
    argument, look = LOOKS[name]
    server = launch("--defect", argument)
    server.populate()
    assert look(server)


@pytest.mark.parametrize("look", [look for _, look in LOOKS.values()], ids=lambda look: look.__name__)
def test_a_healthy_service_shows_none(healthy: Server, look: Look) -> None:
    assert not look(healthy)
