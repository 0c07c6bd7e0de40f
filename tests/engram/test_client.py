"""Every wrong answer ends in one clear error; no secret is shown; nothing grows without bound."""

from __future__ import annotations

import pickle
import socket
import struct
import threading

import pytest

from harness.engram import EngramClient, Secret, secret_from_environment
from harness.engram.transport import check_base_url, shown_url
from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused, TargetUnreachable, UsageError
from tests.engram.stub import Stub, always, http, routes

RECALL = (
    b'{"memories":{"vivid":[{"id":"a"}],"associated":[],"reconstructed":[{"id":"b"}]},'
    b'"metadata":{"cohort":"canary","pathway":"blended","semantic_missing":null,"bindings_filtered":2,'
    b'"convergent":1,"pattern_completed":false,"server_ms":1.5}}'
)


def test_a_recall_is_read_in_rank_order_with_its_metadata() -> None:
    with Stub(always(http(200, RECALL))) as stub, EngramClient(stub.url, api_key=None) as client:
        recalled = client.recall("x", user="user-1", space="some-space")
        assert [m["id"] for m in recalled.memories] == ["a", "b"]
        assert recalled.metadata.cohort == "canary"
        assert recalled.metadata.bindings_filtered == 2
        assert recalled.service_s > 0
        assert b"x-user-id: user-1" in stub.requests[0]
        assert b"x-memory-space: some-space" in stub.requests[0]


WRONG = {
    "html": (http(200, b"<!DOCTYPE html><html>login</html>", "text/html"), TargetAnswerInvalid, "HTML"),
    "not json": (http(200, b"{"), TargetAnswerInvalid, "not valid JSON"),
    "nan": (http(200, b'{"stats":{"successful_consolidations":NaN}}'), TargetAnswerInvalid, "not valid JSON"),
    "wrong shape": (http(200, b'{"stats":[]}'), TargetAnswerInvalid, "no 'stats' object"),
    "a list": (http(200, b"[]"), TargetAnswerInvalid, "not a JSON object"),
    "negative": (http(200, b'{"stats":{"successful_consolidations":-1}}'), TargetAnswerInvalid, "not a count"),
    "deep": (http(200, b'{"stats":' * 5000), TargetAnswerInvalid, "not valid JSON"),
    "401": (http(401), TargetRefused, r"set the bearer key in \$ENGRAM_API_KEY"),
    "403": (http(403), TargetRefused, "forbidden"),
    "500": (http(500, b'{"error":{"code":"x","message":"broken inside"}}'), TargetRefused, "broken inside"),
    "redirect": (http(302, extra="location: http://elsewhere/\r\n"), TargetRefused, "not followed"),
    "gzip": (http(200, b"\x1f\x8b", extra="content-encoding: gzip\r\n"), TargetAnswerInvalid, "encoding"),
    "no http": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", TargetAnswerInvalid, "does not speak HTTP"),
    "cut off": (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", TargetUnreachable, "in the middle"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_one_clear_error(name: str) -> None:
    answer, error, said = WRONG[name]

    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    with Stub(serve) as stub, EngramClient(stub.url, api_key=None, timeout_s=2.0) as client:
        with pytest.raises(error, match=said) as raised:
            client.consolidations()
        assert stub.url in str(raised.value)
        assert len(str(raised.value)) < 600


def test_a_large_answer_is_refused_before_it_is_whole() -> None:
    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with (
        Stub(serve) as stub,
        EngramClient(stub.url, api_key=None, max_answer_bytes=1_000_000) as client,
        pytest.raises(TargetAnswerInvalid, match="larger than 1,000,000"),
    ):
        client.system_info()


def test_an_answer_that_drips_ends_with_the_deadline() -> None:
    stop = threading.Event()

    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not stop.wait(0.02):
            connection.sendall(b" ")

    with Stub(serve) as stub, EngramClient(stub.url, api_key=None, timeout_s=0.2) as client:
        with pytest.raises(TargetUnreachable, match="does not end"):
            client.system_info()
        stop.set()


def test_silence_and_a_closed_port_are_unreachable() -> None:
    with Stub(lambda c, line, r: None) as stub, EngramClient(stub.url, api_key=None, timeout_s=0.1) as client:
        with pytest.raises(TargetUnreachable, match=r"no answer in 0\.1 s"):
            client.health()
        assert not client.alive()
    with EngramClient(stub.url, api_key=None) as client, pytest.raises(TargetUnreachable, match="refused"):
        client.health()


def test_a_connection_reset_between_requests_costs_a_read_nothing() -> None:
    seen = []

    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        seen.append(line)
        if len(seen) == 1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        else:
            connection.sendall(http(200, b"{}"))

    with Stub(serve) as stub, EngramClient(stub.url, api_key=None) as client:
        assert client.features() == {}
        assert len(seen) == 2
        seen.clear()
        with pytest.raises(TargetUnreachable):
            client.set_features(blended_recall=True)
        assert len(seen) == 1, "a write is never sent twice"


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", "s3cr3t-key")
    with Stub(always(http(500, b"you sent Bearer s3cr3t-key"))) as stub, EngramClient(stub.url) as client:
        with pytest.raises(TargetRefused) as raised:
            client.system_info()
        assert b"authorization: bearer s3cr3t-key" in stub.requests[0].lower()
        assert "s3cr3t" not in str(raised.value)
        assert "s3cr3t" not in repr(vars(client))
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))
    monkeypatch.setenv("ENGRAM_API_KEY", "two\nlines")
    with pytest.raises(UsageError, match="ENGRAM_API_KEY"):
        secret_from_environment()


@pytest.mark.parametrize(
    "url", ["localhost:7432", "ftp://x", "http://", "http://u:p@h:1", "http://h:99999", "http://h/?q=1"]
)
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        EngramClient(url, api_key=None)
    assert "u:p" not in str(raised.value)


def test_chaos_and_flags_send_the_documented_bodies() -> None:
    with Stub(always(http(200, b"{}"))) as stub, EngramClient(stub.url, api_key=None) as client:
        client.chaos_semantic_latency(50, ttl_s=30)
        client.chaos_binding_restore()
        client.set_features(blended_recall=True, cohort_sampling_rate=0.25)
    bodies = [request.split(b"\r\n\r\n")[1] for request in stub.requests]
    assert bodies == [
        b'{"latency_ms":50,"ttl_s":30}',
        b"{}",
        b'{"blended_recall":true,"cohort_sampling_rate":0.25}',
    ]
    assert stub.requests[0].startswith(b"POST /api/v1/admin/chaos/semantic_pathway/latency ")


def test_a_memory_that_is_not_there_is_none() -> None:
    with Stub(always(http(404, b"{}"))) as stub, EngramClient(stub.url, api_key=None) as client:
        assert client.memory("some-id", space="a-space") is None
        assert client.delete("some-id") is False


def test_metrics_of_the_public_build_come_from_where_it_has_them() -> None:
    text = http(200, b'# HELP x y\nengram_recall_total{cohort="canary"} 3\n', "text/plain")
    json_metrics = http(200, b'{"spreading":{"activations":7},"ok":true}')
    both = routes({"GET /metrics": json_metrics, "GET /metrics/prometheus": text}, http(404))
    with Stub(both) as stub, EngramClient(stub.url, api_key=None) as client:
        assert client.metrics().value("engram_recall_total") == 3
    only_json = routes({"GET /metrics": json_metrics}, http(404))
    with Stub(only_json) as stub, EngramClient(stub.url, api_key=None) as client:
        scraped = client.metrics()
        assert (scraped.source, scraped.value("spreading.activations")) == ("json", 7.0)
    html = always(http(200, b"<html>", "text/html"))
    with (
        Stub(html) as stub,
        EngramClient(stub.url, api_key=None) as client,
        pytest.raises(TargetError, match="not Prometheus text"),
    ):
        client.metrics()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hush@host:1", "http://…@host:1"),
        ("http://me:hu/sh?ed#@host:1/x", "http://…@host:1/x"),
        ("me:hush@host", "…@host"),
        ("http://host:1/path?key=hush", "http://host:1/path?…"),
        ("http://host/#hush", "http://host/#…"),
        ("http://host:1/path", "http://host:1/path"),
        ("nope", "nope"),
    ],
)
def test_a_message_shows_no_part_of_a_url_that_may_be_a_key(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    if url != shown:
        with pytest.raises(UsageError) as caught:
            check_base_url(url)
        assert "hush" not in str(caught.value)
