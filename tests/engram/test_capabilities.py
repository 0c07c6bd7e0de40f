"""Capabilities are found by harmless requests, and a missing one says why."""

from __future__ import annotations

import json

import pytest

from harness.engram import Capabilities, EngramClient, probe_capabilities
from harness.engram.capabilities import ALL
from harness.errors import CapabilityMissing, TargetUnreachable
from tests.engram.stub import Stub, always, http, routes

NO_ROUTE = http(404, b'{"error":{"code":"not_found","message":"no such route"}}')


def as_json(value: object) -> bytes:
    return http(200, json.dumps(value).encode())


PUBLIC = {
    "GET /api/v1/memories/recall": as_json({"memories": {"vivid": [], "associated": [], "reconstructed": []}}),
    "GET /api/v1/consolidations": as_json({"stats": {"successful_consolidations": 1, "failed_consolidations": 0}}),
    "GET /metrics": as_json({"a": 1}),
}


def probed(table: dict[str, bytes], otherwise: bytes = NO_ROUTE) -> tuple[Capabilities, list[bytes]]:
    with Stub(routes(table, otherwise)) as stub, EngramClient(stub.url, api_key=None) as client:
        return probe_capabilities(client), stub.requests


def test_the_public_build_has_memory_and_little_else() -> None:
    found, _ = probed(PUBLIC)
    assert found.names == {"memory", "consolidations"}
    assert set(found.reasons) == set(ALL) - found.names
    assert "status 404" in found.reasons["features"]
    assert "JSON only" in found.reasons["metrics.prometheus"]
    with pytest.raises(CapabilityMissing, match=r"chaos\.latency \(no such route\)"):
        found.require(("memory", "chaos.latency"))
    found.require(("memory",))


def test_probing_sends_nothing_that_could_be_obeyed() -> None:
    _, requests = probed(PUBLIC)
    for request in requests:
        head, body = request.split(b"\r\n\r\n")
        if not head.startswith(b"GET"):
            assert (b"/api/v1/admin/" in head and b"capability probe" in body) or head.startswith(b"DELETE"), head


def test_a_chaos_route_is_there_when_it_refuses_nonsense() -> None:
    refusing = http(400, b'{"error":{"code":"bad","message":"a number"}}')
    route = "POST /api/v1/admin/chaos/latency"
    assert "chaos.latency" in probed({**PUBLIC, route: refusing})[0]
    for status in (200, 404, 405, 500, 501):
        assert "chaos.latency" not in probed({**PUBLIC, route: http(status, b"{}")})[0], status
    locked = probed({**PUBLIC, route: http(403)})[0]
    assert "forbidden" in locked.reasons["chaos.latency"]


def test_ttl_and_listing_are_what_the_listing_says() -> None:
    route = "GET /api/v1/admin/chaos"
    assert probed({route: as_json({"active": [], "supports": ["ttl_s"]})})[0].names >= {"chaos.listing", "chaos.ttl"}
    bare = probed({route: as_json({"active": []})})[0]
    assert "chaos.listing" in bare
    assert "chaos.ttl" not in bare


def test_a_server_that_says_200_to_everything_has_nothing() -> None:
    assert probed({}, http(200, b"{}"))[0].names <= {"memory.delete"}


def test_a_dead_target_is_unreachable_and_not_incapable() -> None:
    with Stub(always(b"")) as stub:
        pass
    with EngramClient(stub.url, api_key=None) as client, pytest.raises(TargetUnreachable):
        probe_capabilities(client)
