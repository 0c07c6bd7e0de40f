"""HTTP/1.1 on asyncio and httptools: keep-alive, pipelining, long request lines, a drain that loses nothing.

Not an ASGI server: embeddings travel in URLs of 10 KB and more at a thousand requests a second on one core, and the
service must know for certain which requests are still in flight when it is told to stop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

MAX_URL_BYTES = 256 * 1024
MAX_BODY_BYTES = 4 * 1024 * 1024
_BACKUPS = (b"/api/v1/admin/restore", b"/api/v1/admin/migrate")
_MAX_BACKUP_BYTES = 256 * 1024 * 1024
_PIPELINE_DEPTH = 16


@dataclass(slots=True)
class Request:
    """One request, complete."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool = True
    problem: str | None = None
    """Why it cannot be served at all, if so."""


@dataclass(slots=True)
class Response:
    """What is sent back."""

    body: bytes = b""
    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


@dataclass(slots=True)
class Connections:
    """All open connections, and the requests being answered."""

    handler: Handler
    open: set[HttpProtocol] = field(default_factory=set)
    running: set[asyncio.Task[None]] = field(default_factory=set)
    draining: bool = False

    async def drain(self, timeout_s: float) -> bool:
        """Answer what has begun, close the rest; tell whether all was answered within ``timeout_s``."""
        self.draining = True
        for connection in list(self.open):
            connection.close_if_idle()
        if self.running:
            await asyncio.wait(set(self.running), timeout=timeout_s)
        clean = not self.running
        for connection in list(self.open):
            connection.close()
        return clean


class HttpProtocol(asyncio.Protocol):
    """One connection; requests on it are answered in order."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._paused = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._problem: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        self._connections.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what it asked is still carried out, and answered to nobody."""
        del exc
        self._connections.open.discard(self)
        self._transport = None
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("protocol upgrades are not supported")
        except httptools.HttpParserError as error:
            self._refuse(f"not an HTTP request: {error}")

    def on_message_begin(self) -> None:
        """The parser starts a request."""
        self._url, self._headers, self._body, self._body_bytes = b"", {}, [], 0
        self._problem = None

    def on_url(self, url: bytes) -> None:
        """The parser has read (a part of) the request line."""
        self._url += url
        if len(self._url) > MAX_URL_BYTES:
            self._url, self._problem = b"/", "the request line is too long"

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has read a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The parser has read all headers."""
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """The parser has read a piece of the body."""
        self._body_bytes += len(body)
        limit = _MAX_BACKUP_BYTES if self._url.startswith(_BACKUPS) else MAX_BODY_BYTES
        if self._body_bytes > limit:
            self._body.clear()
            self._problem = "the body is too large"
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The parser has read a whole request."""
        path, _, query = self._url.partition(b"?")
        request = Request(
            self._parser.get_method().decode("ascii"),
            path.decode("latin-1"),
            query,
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive(),
            self._problem,
        )
        # An idle connection holds nothing: else memory would grow with every client that a stall makes connect.
        self._url, self._headers, self._body = b"", {}, []
        self._enqueue(request)

    def close_if_idle(self) -> None:
        """Close unless a request is being answered; then the answer closes it."""
        if not self._busy:
            self.close()

    def close(self) -> None:
        """Close once everything written is sent."""
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, problem: str) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        self._enqueue(Request("GET", "/", b"", {}, b"", keep_alive=False, problem=problem))

    def _enqueue(self, request: Request) -> None:
        if self._busy:
            self._waiting.append(request)
            if len(self._waiting) >= _PIPELINE_DEPTH and not self._paused and self._transport is not None:
                self._transport.pause_reading()
                self._paused = True
            return
        self._busy = True
        running = self._connections.running
        task = asyncio.get_running_loop().create_task(self._serve(request))
        running.add(task)
        task.add_done_callback(running.discard)

    async def _serve(self, request: Request) -> None:
        response = await self._connections.handler(request)
        self._busy = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        closing = not request.keep_alive or self._connections.draining
        transport.write(_rendered(response, closing, head_only=request.method == "HEAD"))
        if closing:
            transport.close()
        elif self._waiting:
            self._enqueue(self._waiting.popleft())
            if self._paused and len(self._waiting) < _PIPELINE_DEPTH // 2:
                self._paused = False
                transport.resume_reading()


def _rendered(response: Response, closing: bool, *, head_only: bool) -> bytes:
    parts = [
        _STATUS_LINES[response.status],
        b"content-type: ",
        response.content_type,
        b"\r\ncontent-length: ",
        str(len(response.body)).encode(),
    ]
    for name, value in response.headers:
        parts += (b"\r\n", name, b": ", value)
    parts.append(b"\r\nconnection: close\r\n\r\n" if closing else b"\r\n\r\n")
    if not head_only:
        parts.append(response.body)
    return b"".join(parts)
