"""A server that answers whatever a test tells it to, byte for byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Self


def http(status: int, body: bytes = b"", content_type: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


Serve = Callable[[socket.socket, str, bytes], None]


def always(answer: bytes) -> Serve:
    """The same bytes to every request, on one connection as long as it lasts."""
    return lambda connection, line, request: connection.sendall(answer)


def routes(table: dict[str, bytes], otherwise: bytes) -> Serve:
    """Answers by ``METHOD /path`` (the query is left out)."""

    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        method, target, *_ = line.split(" ")
        connection.sendall(table.get(f"{method} {target.split('?')[0]}", otherwise))

    return serve


class Stub:
    """Listens on a free loopback port; keeps every request it got."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            while (request := _read(connection)) is not None:
                self.requests.append(request)
                self._serve(connection, request.split(b"\r\n", 1)[0].decode(), request)
        except OSError:
            return
        finally:
            connection.close()


def _read(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    length = next((int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
