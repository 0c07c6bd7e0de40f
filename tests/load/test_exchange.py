"""The HTTP client against servers as they are on bad days."""

from __future__ import annotations

import time

import pytest

from harness.errors import ExchangeFailed, LoadError
from harness.load.exchange import Endpoint, HttpPool, endpoint_of
from harness.model import Outcome
from tests.load.servers import Peer, RawServer, always, answer

REQUEST = b"GET /x HTTP/1.1\r\nHost: t\r\n\r\n"


def _ask(server: RawServer, timeout_s: float = 2.0, **options: int) -> tuple[int, bytes, bool]:
    pool = HttpPool(endpoint_of(server.url), **options)
    try:
        return pool.exchange(REQUEST, timeout_s)
    finally:
        pool.close()


def _failure(server: RawServer, timeout_s: float = 2.0, **options: int) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as caught:
        _ask(server, timeout_s, **options)
    return caught.value


def test_an_answer_with_a_length() -> None:
    with RawServer(always(answer(b'{"a":1}'))) as server:
        assert _ask(server) == (200, b'{"a":1}', True)


def test_a_connection_is_used_again_and_said_to_be() -> None:
    with RawServer(always(answer(b"{}"))) as server:
        pool = HttpPool(endpoint_of(server.url))
        assert [pool.exchange(REQUEST, 2.0)[2] for _ in range(5)] == [True, False, False, False, False]
        assert server.accepted == 1
        pool.close()


def test_chunked_answers_in_pieces() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chun")
        for piece in (b"ked\r\n", b"\r\n4\r", b'\n{"a"\r\n3;x=y\r\n', b":1}\r\n0\r\n", b"\r\n"):
            peer.hold(0.005)
            peer.send(piece)
        assert peer.request()
        peer.send(answer(b"second"))

    with RawServer(behave) as server:
        pool = HttpPool(endpoint_of(server.url))
        assert pool.exchange(REQUEST, 2.0) == (200, b'{"a":1}', True)
        assert pool.exchange(REQUEST, 2.0) == (200, b"second", False)
        pool.close()


def test_an_answer_that_ends_with_the_connection() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nhel")
        peer.send(b"lo")

    with RawServer(behave) as server:
        assert _ask(server) == (200, b"hello", True)


def test_connection_close_and_a_stale_connection_cost_no_request() -> None:
    replies = [answer(b"1", headers=b"Connection: close\r\n"), answer(b"2"), answer(b"3")]

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(replies.pop(0))  # and closes, announced or not

    with RawServer(behave) as server:
        pool = HttpPool(endpoint_of(server.url))
        assert pool.exchange(REQUEST, 2.0)[1] == b"1"
        assert pool.exchange(REQUEST, 2.0)[1:] == (b"2", True)
        pool._free[0].last_used -= 1.0
        import select

        select.select([pool._free[0].sock.fileno()], [], [], 5.0)  # the server's FIN has come
        assert pool.exchange(REQUEST, 2.0)[1:] == (b"3", True)
        pool.close()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body(status: bytes) -> None:
    with RawServer(always(b"HTTP/1.1 %b\r\n\r\n" % status)) as server:
        assert _ask(server) == (int(status[:3]), b"", True)


def test_error_statuses_are_answers() -> None:
    with RawServer(always(answer(b"<html>no</html>", b"401 Unauthorized"))) as server:
        assert _ask(server) == (401, b"<html>no</html>", True)


def test_nobody_listens() -> None:
    with RawServer(always(b"")) as server:
        url = server.url
    with pytest.raises(ExchangeFailed) as caught:
        HttpPool(endpoint_of(url)).exchange(REQUEST, 2.0)
    assert caught.value.outcome == Outcome.REFUSED


def test_a_server_that_accepts_and_says_nothing() -> None:
    with RawServer(lambda peer: peer.hold()) as server:
        start = time.monotonic()
        assert _failure(server, 0.2).outcome == Outcome.TIMEOUT
        assert 0.2 <= time.monotonic() - start < 5.0  # it would be silent for good


def test_a_dripping_answer_ends_at_the_deadline_all_the_same() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(200):
            peer.send(b"x")
            peer.hold(0.05)

    with RawServer(behave) as server:
        start = time.monotonic()
        failed = _failure(server, 0.3)
        assert (failed.outcome, failed.status) == (Outcome.TIMEOUT, 200)
        assert 0.3 <= time.monotonic() - start < 5.0  # it would drip for ten seconds


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"])
def test_closed_in_the_middle(said: bytes) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(said)

    with RawServer(behave) as server:
        assert _failure(server).outcome == Outcome.RESET


def test_reset_by_the_peer() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.reset()

    with RawServer(behave) as server:
        assert _failure(server).outcome == Outcome.RESET


def test_an_answer_of_100_mb_is_not_read() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n" + b"x" * 65536)
        peer.hold()

    with RawServer(behave) as server:
        failed = _failure(server)
        assert (failed.outcome, failed.status) == (Outcome.TOO_LARGE, 200)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: "],
)
def test_an_answer_without_end_is_cut_off(head: bytes) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(head)
        while True:
            peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n" if b"chunked" in head else b"x" * 65536)

    with RawServer(behave) as server:
        assert _failure(server, max_answer_bytes=1_000_000).outcome == Outcome.TOO_LARGE


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Outcome.OTHER),
        (b"HTTP/1.1 abc\r\n\r\n", Outcome.OTHER),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Outcome.OTHER),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n", Outcome.OTHER),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcdef\r\n", Outcome.OTHER),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Outcome.UNEXPECTED_STATUS),
    ],
)
def test_what_is_no_http(said: bytes, outcome: Outcome) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(said)
        peer.hold(0.5)

    with RawServer(behave) as server:
        assert _failure(server).outcome == outcome


def test_more_bytes_than_announced_end_the_connection_but_not_the_answer() -> None:
    with RawServer(always(answer(b"{}") + b"surplus")) as server:
        pool = HttpPool(endpoint_of(server.url))
        assert pool.exchange(REQUEST, 2.0) == (200, b"{}", True)
        assert pool.exchange(REQUEST, 2.0) == (200, b"{}", True)
        pool.close()


def test_urls() -> None:
    assert endpoint_of("http://localhost:7432/") == Endpoint("localhost", 7432, False, "")
    assert endpoint_of("https://engram.example/api") == Endpoint("engram.example", 443, True, "/api")
    assert endpoint_of("http://[::1]:80").authority == "[::1]"
    for wrong in ("localhost:7432", "ftp://x", "http://", "http://x:99999"):
        with pytest.raises(LoadError):
            endpoint_of(wrong)
