"""One HTTP/1.1 exchange on a gevent socket, as cheaply as Python can do it and as strictly as a checker must.

Connections are kept alive and the most recently used one is taken first, so their number follows the concurrency the
target needs and not the number of slots. Every exchange ends by its deadline with an answer or with one
:class:`ExchangeFailed`. Only the load process imports this.
"""

from __future__ import annotations

import errno
import re
import select
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from gevent import socket

from harness.errors import ExchangeFailed, LoadError
from harness.model import Outcome

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_RECEIVE = 256 * 1024
# A connection idle for longer is looked at before it is used: the target may have closed it meanwhile.
_LOOK_AFTER_S = 0.05

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_KEEP = re.compile(rb"\r\nconnection:[ \t]*keep-alive", re.IGNORECASE)


@dataclass(frozen=True)
class Endpoint:
    """Where a base URL leads: host, port, whether TLS, and the path before every request's own."""

    host: str
    port: int
    tls: bool
    prefix: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def endpoint_of(base_url: str) -> Endpoint:
    """Take a base URL apart. Raises :class:`LoadError` where it is no http(s) URL."""
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise LoadError("not an http:// or https:// URL", where=base_url)
    tls = parts.scheme == "https"
    return Endpoint(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))


class _Connection:
    __slots__ = ("last_used", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.last_used = 0.0


class HttpPool:
    """Keep-alive connections to one endpoint."""

    def __init__(self, endpoint: Endpoint, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._endpoint = endpoint
        self._max_answer = max_answer_bytes
        self._free: list[_Connection] = []
        self._context = ssl.create_default_context() if endpoint.tls else None
        self._address: tuple[int, tuple[object, ...]] | None = None
        self.connects = 0

    def exchange(self, request: bytes, timeout_s: float) -> tuple[int, bytes, bool]:
        """Send one request, wait for its answer: (status, body, whether a connection was opened for it).

        Raises :class:`ExchangeFailed` where no whole answer came within ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        status = 0
        connection = self._take()
        fresh = connection is None
        try:
            if connection is None:
                connection = self._connect(timeout_s)
            sock = connection.sock
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.sendall(request)
            status, body, keep = self._receive(sock, deadline)
        except ExchangeFailed:
            self._drop(connection)
            raise
        except OSError as error:
            self._drop(connection)
            raise _failed(error, status) from error
        except BaseException:
            # A killed greenlet: the connection is in the middle of an answer and must not be used again.
            self._drop(connection)
            raise
        if keep:
            connection.last_used = time.monotonic()
            self._free.append(connection)
        else:
            connection.sock.close()
        return status, body, fresh

    def close(self) -> None:
        """Close the connections nobody uses."""
        while self._free:
            self._free.pop().sock.close()

    def _take(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if time.monotonic() - connection.last_used < _LOOK_AFTER_S or _still_open(connection.sock):
                return connection
            connection.sock.close()
        return None

    def _connect(self, timeout_s: float) -> _Connection:
        if self._address is None:
            self._address = self._resolve()
        family, address = self._address
        self.connects += 1
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._endpoint.host)
        except BaseException:
            sock.close()
            self._address = None  # the name may lead elsewhere by now
            raise
        return _Connection(sock)

    def _resolve(self) -> tuple[int, tuple[object, ...]]:
        found = socket.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return family, address

    @staticmethod
    def _drop(connection: _Connection | None) -> None:
        if connection is not None:
            connection.sock.close()

    def _receive(self, sock: socket.socket, deadline: float) -> tuple[int, bytes, bool]:
        data = _more(sock, deadline, 0)
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _MAX_HEAD_BYTES:
                raise ExchangeFailed(Outcome.TOO_LARGE, "an endless head")
            data += _more(sock, deadline, 0)
        head = data[: end + 2]
        status = _status_of(head)
        if 100 <= status < 200:
            raise ExchangeFailed(Outcome.UNEXPECTED_STATUS, f"an interim answer {status}", status)
        keep = not _CLOSE.search(head) and (head.startswith(b"HTTP/1.1") or _KEEP.search(head) is not None)
        body = data[end + 4 :]
        if status in {204, 304}:
            return status, b"", keep and not body
        length = _LENGTH.search(head)
        if length is not None and not _CHUNKED.search(head):
            return self._with_length(sock, deadline, status, body, int(length[1]), keep)
        if _CHUNKED.search(head):
            body, rest = self._dechunk(sock, deadline, status, body)
            return status, body, keep and not rest
        return status, self._until_close(sock, deadline, status, body), False

    def _with_length(
        self, sock: socket.socket, deadline: float, status: int, body: bytes, size: int, keep: bool
    ) -> tuple[int, bytes, bool]:
        if size > self._max_answer:
            raise ExchangeFailed(Outcome.TOO_LARGE, f"an answer of {size} bytes", status)
        if len(body) < size:
            parts, have = [body], len(body)
            while have < size:
                part = _more(sock, deadline, status)
                parts.append(part)
                have += len(part)
            body = b"".join(parts)
        # More than was announced: the two sides no longer agree where answers begin.
        return (status, body, keep) if len(body) == size else (status, body[:size], False)

    def _until_close(self, sock: socket.socket, deadline: float, status: int, body: bytes) -> bytes:
        parts, have = [body], len(body)
        while True:
            sock.settimeout(_left(deadline, status))
            part = sock.recv(_RECEIVE)
            if not part:
                return b"".join(parts)
            parts.append(part)
            have += len(part)
            if have > self._max_answer:
                raise ExchangeFailed(Outcome.TOO_LARGE, "an answer without end", status)

    def _dechunk(self, sock: socket.socket, deadline: float, status: int, data: bytes) -> tuple[bytes, bytes]:
        parts: list[bytes] = []
        total = 0
        while True:
            while (line_end := data.find(b"\r\n")) < 0:
                if len(data) > _MAX_HEAD_BYTES:
                    raise ExchangeFailed(Outcome.OTHER, "a chunk without a size", status)
                data += _more(sock, deadline, status)
            size = _chunk_size(data[:line_end], status)
            total += size
            if total > self._max_answer:
                raise ExchangeFailed(Outcome.TOO_LARGE, "a chunked answer too large", status)
            data = _at_least(sock, deadline, status, data, line_end + 2 + size + 2)
            if data[line_end + 2 + size : line_end + 4 + size] != b"\r\n":
                raise ExchangeFailed(Outcome.OTHER, "a chunk longer than its size", status)
            parts.append(data[line_end + 2 : line_end + 2 + size])
            data = data[line_end + 4 + size :]
            if size == 0:
                return b"".join(parts), data


def _at_least(sock: socket.socket, deadline: float, status: int, data: bytes, size: int) -> bytes:
    if len(data) >= size:
        return data
    parts, have = [data], len(data)
    while have < size:
        part = _more(sock, deadline, status)
        parts.append(part)
        have += len(part)
    return b"".join(parts)


def _left(deadline: float, status: int) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ExchangeFailed(Outcome.TIMEOUT, "no whole answer in time", status)
    return left


def _more(sock: socket.socket, deadline: float, status: int) -> bytes:
    sock.settimeout(_left(deadline, status))
    try:
        part: bytes = sock.recv(_RECEIVE)
    except TimeoutError as error:
        raise ExchangeFailed(Outcome.TIMEOUT, "no whole answer in time", status) from error
    if not part:
        raise ExchangeFailed(Outcome.RESET, "closed in the middle", status)
    return part


def _status_of(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
        raise ExchangeFailed(Outcome.OTHER, "not HTTP")
    return int(head[9:12])


def _chunk_size(line: bytes, status: int) -> int:
    try:
        size = int(line.split(b";", 1)[0], 16)
    except ValueError as error:
        raise ExchangeFailed(Outcome.OTHER, "a chunk without a size", status) from error
    if size < 0:
        raise ExchangeFailed(Outcome.OTHER, "a chunk of negative size", status)
    return size


_RESETS = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN, errno.EBADF, errno.ESHUTDOWN}


def _failed(error: OSError, status: int) -> ExchangeFailed:
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return ExchangeFailed(Outcome.TIMEOUT, "timed out", status)
    if error.errno == errno.ECONNREFUSED:
        return ExchangeFailed(Outcome.REFUSED, "refused", status)
    if error.errno in _RESETS:
        return ExchangeFailed(Outcome.RESET, "reset", status)
    return ExchangeFailed(Outcome.OTHER, str(error), status)


def _still_open(sock: socket.socket) -> bool:
    """Whether an idle connection has nothing to say: neither its end nor bytes nobody asked for."""
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return not poller.poll(0)
