"""The memory API: what is answered, and what is refused how."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any
from urllib.parse import quote

import pytest

from tests.reference.conftest import Launch
from tests.reference.server import VECTORS, Server, items

REMEMBER = "/api/v1/memories/remember"
RECALL = "/api/v1/memories/recall"


def test_a_stored_memory_is_found_by_id_words_and_embedding(healthy: Server) -> None:
    vector = [float(i % 7 - 3) for i in range(768)]
    reply = healthy.remember("found", "a quetzal crossed the valley", embedding=vector, space="birds", confidence=0.9)
    assert reply["memory_id"] == "found"
    assert reply["storage_confidence"] == {"value": 0.9, "category": "high"}
    in_birds = {"x-memory-space": "birds"}
    got = healthy.client.get("/api/v1/memories/found", headers=in_birds).json()
    assert (got["id"], got["content"], got["confidence"]) == ("found", "a quetzal crossed the valley", 0.9)
    assert got["memory_type"] == "episodic"
    assert healthy.recalled("quetzal", space="birds")[0]["id"] == "found"
    by_vector = healthy.client.get(RECALL, params={"embedding": json.dumps(vector), "space": "birds"})
    assert items(by_vector)[0]["id"] == "found"
    assert items(by_vector)[0]["similarity_score"] == pytest.approx(1.0, abs=1e-5)


def test_an_id_is_made_up_when_none_is_given(healthy: Server) -> None:
    reply = healthy.client.post(REMEMBER, json={"content": "nameless thing", "memory_space_id": "nameless"})
    assert reply.status_code == 201
    found = healthy.client.get(f"/api/v1/memories/{reply.json()['memory_id']}", params={"space": "nameless"})
    assert found.json()["content"] == "nameless thing"


def test_an_episode_keeps_its_fields(healthy: Server) -> None:
    episode = {"id": "ep", "when": "2025-11-20T10:00:00Z", "what": "tea was spilt", "who": ["Ada"], "importance": 0.4}
    assert healthy.client.post("/api/v1/episodes/remember", json=episode).status_code == 201
    got = healthy.client.get("/api/v1/memories/ep").json()
    assert (got["content"], got["timestamp"], got["who"]) == ("tea was spilt", "2025-11-20T10:00:00Z", ["Ada"])
    assert healthy.client.post("/api/v1/episodes/remember", json={"what": "undated"}).status_code == 400


def test_the_same_id_replaces(healthy: Server) -> None:
    healthy.remember("twice", "about walruses", space="versions")
    healthy.remember("twice", "about narwhals", space="versions")
    assert healthy.recalled("walruses", space="versions") == []
    assert [i["content"] for i in healthy.recalled("narwhals", space="versions")] == ["about narwhals"]


def test_a_deleted_memory_is_gone_from_recall_and_from_its_concept(launch: Launch) -> None:
    server = launch()
    server.populate()
    assert server.client.delete("/api/v1/memories/m3").status_code == 200
    assert server.client.delete("/api/v1/memories/m3").status_code == 404
    assert server.client.get("/api/v1/memories/m3").status_code == 404
    assert "m3" not in [item["id"] for item in server.recalled("number3 topic1")]
    bound = server.client.get("/api/v1/admin/bindings").json()["bindings"]
    assert "m3" not in [binding["episode_id"] for binding in bound]
    assert len(bound) == len(VECTORS) - 1


def test_spaces_are_told_apart_by_header_query_and_body(healthy: Server) -> None:
    body = {"id": "s", "content": "header wins", "memory_space_id": "from-body"}
    healthy.client.post(REMEMBER, json=body, params={"space": "from-query"}, headers={"x-memory-space": "from-header"})
    healthy.client.post(REMEMBER, json={**body, "content": "query wins"}, params={"space": "from-query"})
    healthy.client.post(REMEMBER, json={**body, "content": "body counts"})
    for space, content in (("from-header", "header wins"), ("from-query", "query wins"), ("from-body", "body counts")):
        assert healthy.client.get("/api/v1/memories/s", params={"space": space}).json()["content"] == content
    assert healthy.client.get("/api/v1/memories/s").status_code == 404
    assert healthy.recalled("header", space="from-query") == []


def test_asking_about_a_space_does_not_create_it(healthy: Server) -> None:
    assert healthy.recalled("anything", space="never-written") == []
    names = [space["name"] for space in healthy.client.get("/api/v1/system/health").json()["spaces"]]
    assert "never-written" not in names


def _vector(**changes: Any) -> list[Any]:
    values: list[Any] = [0.5] * 768
    for index, value in changes.items():
        values[int(index[1:])] = value
    return values


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": "  "},
        {"content": 7},
        {"content": "x" * 100_001},
        {"content": "x", "embedding": [1.0] * 767},
        {"content": "x", "embedding": _vector(_5="0.5")},
        {"content": "x", "embedding": _vector(_5=None)},
        {"content": "x", "embedding": _vector(_5=1e300)},
        {"content": "x", "embedding": "no"},
        {"content": "x", "confidence": 1.1},
        {"content": "x", "confidence": True},
        {"content": "x", "memory_type": "vague"},
        {"content": "x", "tags": "no"},
        {"content": "x", "timestamp": "yesterday"},
        {"content": "x", "timestamp": "2025-11-20T10:00:00"},
        {"content": "x", "memory_space_id": "No Such"},
        {"content": "x", "id": ""},
        {"content": "x", "id": "a/b"},
        [],
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_a_bad_memory_is_refused_with_the_envelope(healthy: Server, body: Any) -> None:
    reply = healthy.client.post(REMEMBER, json=body)
    assert reply.status_code == 400
    assert reply.json()["error"].keys() == {"code", "message"}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"query": " "},
        {"embedding": "[1,2]"},
        {"embedding": "nonsense"},
        {"query": "x", "max_results": "0"},
        {"query": "x", "max_results": "many"},
        {"query": "x", "threshold": "nan"},
        {"query": "x", "threshold": "1.5"},
        {"query": "x", "space": "NO"},
        {"query": "x", "include_metadata": "maybe"},
    ],
    ids=str,
)
def test_a_bad_recall_is_refused_with_the_envelope(healthy: Server, params: dict[str, str]) -> None:
    reply = healthy.client.get(RECALL, params=params)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", REMEMBER, 405), ("GET", "/api/v1/memories/none", 404), ("GET", "/health", 200)],
)
def test_routes(healthy: Server, method: str, path: str, status: int) -> None:
    assert healthy.client.request(method, path).status_code == status


def test_malformed_json_and_malformed_http(healthy: Server) -> None:
    assert healthy.client.post(REMEMBER, content=b"{not json").json()["error"]["code"] == "invalid_json"
    with socket.create_connection((healthy.client.base_url.host, healthy.client.base_url.port or 0)) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(healthy: Server) -> None:
    paths = ["/health/alive", "/nowhere"] * 30
    with socket.create_connection((healthy.client.base_url.host, healthy.client.base_url.port or 0)) as raw:
        raw.sendall(b"".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() for path in paths))
        received = b""
        while received.count(b"HTTP/1.1 ") < len(paths):
            received += raw.recv(65536)
    codes = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"200", b"404"] * 30


def test_a_very_long_request_line_is_accepted(healthy: Server) -> None:
    text = quote(json.dumps([x + 1e-9 for x in VECTORS[0]]))
    padding = "&pad=" + "x" * 80_000  # more than httpx would send
    connection = http.client.HTTPConnection(healthy.client.base_url.host, healthy.client.base_url.port)
    with contextlib.closing(connection):
        connection.request("GET", f"{RECALL}?embedding={text}{padding}")
        reply = connection.getresponse()
        assert reply.status == 200
        assert json.loads(reply.read())["memories"]["vivid"][0]["id"] == "m0"
        connection.request("GET", f"{RECALL}?query=x&pad={'x' * 300_000}")
        assert connection.getresponse().status == 400


def test_completion(healthy: Server) -> None:
    known = [x if i < 200 else None for i, x in enumerate(VECTORS[4])]
    partial = {"known_fields": {}, "partial_embedding": known, "cue_strength": 0.8}
    reply = healthy.client.post("/api/v1/complete", json={"partial_episode": partial})
    assert reply.json()["completed_episode"]["id"] == "m4"
    weak = {"partial_episode": {**partial, "cue_strength": 0.05}}
    assert healthy.client.post("/api/v1/complete", json=weak).status_code == 422
    nothing = {"partial_episode": {"known_fields": {}, "partial_embedding": [None] * 768}}
    assert healthy.client.post("/api/v1/complete", json=nothing).status_code == 422


def test_the_bearer_key_is_asked_for_everywhere(launch: Launch) -> None:
    server = launch(env={"ENGRAM_API_KEY": "sesame"})
    for path in ("/health", "/metrics", "/api/v1/system/info", "/nowhere"):
        assert server.client.get(path).status_code == 401
        assert server.client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert server.client.get("/health", headers={"authorization": "Bearer sesame"}).status_code == 200
    assert "sesame" not in server.output


def test_system_pages(healthy: Server) -> None:
    info = healthy.client.get("/api/v1/system/info").json()
    assert info["milestone"] == "17"
    health = healthy.client.get("/api/v1/system/health").json()
    assert health["uptime_seconds"] > 0
    assert 0 <= health["slo_compliance"] <= 1
    assert {"storage", "recall", "consolidation"} <= {check["name"] for check in health["checks"]}
    default = next(space for space in health["spaces"] if space["name"] == "default")
    assert default["memories"] >= len(VECTORS)
    assert default["concepts"] >= 2
