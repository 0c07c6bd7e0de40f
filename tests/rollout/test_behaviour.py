"""Witness recalls that are asked together: each over a connection of its own, so many at once, and in their order."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from harness.engram import EngramClient
from harness.rollout import behaviour
from harness.rollout.rollback import SPLIT_USERS, PartialRollback
from harness.targets.attached import AttachedTarget
from tests.rollout.stub import listening


class Balancer:
    """A load balancer before replicas of a service that splits its users at these rates; a connection stays at one."""

    def __init__(self, rates: list[float], *, meet: int = 1) -> None:
        self.rates = rates
        self.connections = 0
        self.most = 0
        self.failing: set[str] = set()
        self._now = 0
        self._lock = threading.Lock()
        self._meeting = threading.Barrier(meet)

    def connected(self) -> float:
        with self._lock:
            self.connections += 1
            return self.rates[self.connections % len(self.rates)]

    def answer(self, user: str, rate: float) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._meeting.wait(30.0)
        with self._lock:
            self._now -= 1
        if user in self.failing:
            return 503, {"error": {"code": "unavailable", "message": "out of order"}}
        canary = int(hashlib.sha256(user.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < rate
        groups: dict[str, list[Any]] = {"vivid": [], "associated": [], "reconstructed": []}
        cohort = {"cohort": "canary" if canary else "control", "pathway": user}
        return 200, {"memories": groups, "metadata": cohort}


@contextmanager
def balancing(balancer: Balancer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.rate = balancer.connected()

        def do_GET(self) -> None:
            status, value = balancer.answer(self.headers["x-user-id"], self.rate)
            said = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with listening(Handler) as url:
        yield url


def test_every_recall_has_a_connection_and_eight_are_in_flight() -> None:
    balancer = Balancer([0.5], meet=behaviour.AT_ONCE)  # none is answered before so many have come
    users = [behaviour.witness_user(number) for number in range(5 * behaviour.AT_ONCE)]
    with balancing(balancer) as url:
        found = behaviour.ask(lambda: EngramClient(url, timeout_s=60.0), users)
    assert [answer.pathway for answer in found] == users
    assert balancer.connections == len(users)
    assert balancer.most == behaviour.AT_ONCE


@pytest.mark.parametrize(
    ("rates", "holds"),
    [([0.1], True), ([0.5], False), ([0.1, 0.5], False)],
    ids=["done", "not done", "one replica of two is left out"],
)
def test_a_split_is_what_all_replicas_do(rates: list[float], holds: bool) -> None:
    balancer = Balancer(rates)
    with balancing(balancer) as url:
        seen = PartialRollback(0.1).seen(AttachedTarget(url))
    assert seen.holds is holds, seen.evidence
    assert balancer.connections == SPLIT_USERS


def test_one_failing_recall_of_all_is_told() -> None:
    balancer = Balancer([0.1])
    balancer.failing = {behaviour.witness_user(SPLIT_USERS - 1)}
    with balancing(balancer) as url:
        seen = PartialRollback(0.1).seen(AttachedTarget(url))
    assert not seen.holds
    assert "witness recalls fail" in seen.evidence and "503" in seen.evidence
