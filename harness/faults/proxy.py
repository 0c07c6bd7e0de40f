"""The network fault proxy: ``python -m harness.faults.proxy``, a TCP relay in front of the target that can misbehave.

It needs neither root nor netem. What it does to the bytes is a set of named *toxics*, put in and taken out over HTTP on
a loopback port of its own: ``PUT /toxics/NAME``, ``DELETE /toxics/NAME``, ``GET /toxics`` (``{"active": [...]}``). It
ends when its standard input does, so no fault outlives its harness.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.faults.relay import Connection
from harness.faults.toxics import Toxic, Toxics

_MAX_CONTROL_BYTES = 64 * 1024
_BACKLOG = 1024


class Proxy:
    """The relay with its toxics."""

    def __init__(self, host: str, upstream: tuple[str, int]) -> None:
        self._host = host
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self.port = 0
        self.toxics = Toxics()
        self.connections: set[Connection] = set()

    async def open(self) -> None:
        """Begin to relay."""
        self._reserved = self._bound(0)
        self.port = int(self._reserved.getsockname()[1])
        await self._listen()

    async def put(self, name: str, toxic: Toxic) -> None:
        """Put a toxic in; one that closes or refuses connections acts on those that are open too."""
        self.toxics.put(name, toxic)
        if toxic.type in ("refuse", "reset"):
            for connection in list(self.connections):
                connection.reset()
        await self._changed()

    async def remove(self, name: str) -> bool:
        """Take a toxic out; whether it was there. What it held back goes on its way."""
        found = self.toxics.remove(name)
        await self._changed()
        return found

    async def _changed(self) -> None:
        refusing = self.toxics.any("refuse")
        if refusing and self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = self._bound(self.port)  # taken but not listening: refused, and nobody else's
        elif not refusing and self._server is None:
            await self._listen()
        for connection in list(self.connections):
            connection.reconsider()

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self._host, port))
        return bound

    async def _listen(self) -> None:
        def accept() -> asyncio.Protocol:
            connection = Connection(self._loop, self.toxics, self._upstream, self.connections.discard)
            self.connections.add(connection)
            return connection.client

        reserved, self._reserved = self._reserved or self._bound(self.port), None
        self._server = await self._loop.create_server(accept, sock=reserved, backlog=_BACKLOG)


class Control:
    """The control port: tiny HTTP, one request a connection."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            status, answer = await asyncio.wait_for(self._answer(reader), 5.0)
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked has gone away, or never said what it wanted
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, *_ = [*head[0].split(" "), "", ""]
        length = next((int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:")), 0)
        if not 0 <= length <= _MAX_CONTROL_BYTES:
            return 413, {"error": "too large"}
        body = await reader.readexactly(length)
        routes: dict[str, Callable[[str, bytes], Awaitable[tuple[int, dict[str, Any]]]]]
        routes = {"GET": self._list, "PUT": self._put, "DELETE": self._delete}
        if method not in routes or not path.startswith("/toxics"):
            return 404, {"error": "no such route"}
        return await routes[method](path.removeprefix("/toxics").strip("/"), body)

    async def _list(self, _: str, __: bytes) -> tuple[int, dict[str, Any]]:
        return 200, {"active": self._proxy.toxics.listing(), "connections": len(self._proxy.connections)}

    async def _put(self, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if not name:
            return 400, {"error": "a toxic needs a name"}
        try:
            toxic = Toxic.from_json(json.loads(body))
        except (UsageError, ValueError) as error:
            return 400, {"error": str(error)}
        await self._proxy.put(name, toxic)
        return 200, {"put": name}

    async def _delete(self, name: str, _: bytes) -> tuple[int, dict[str, Any]]:
        return 200, {"removed": name, "was_there": await self._proxy.remove(name)}


async def run(host: str, upstream: tuple[str, int], port_file: Path) -> None:
    """Relay until standard input ends."""
    proxy = Proxy(host, upstream)
    await proxy.open()
    control = await asyncio.start_server(Control(proxy).serve, "127.0.0.1", 0)
    ports = {"port": proxy.port, "control": control.sockets[0].getsockname()[1]}
    draft = port_file.with_name(f"{port_file.name}.new")
    draft.write_text(json.dumps(ports), encoding="ascii")
    draft.replace(port_file)
    ended = asyncio.Event()

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 64):
            ended.set()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), heard)
    await ended.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run as a process."""
    parser = argparse.ArgumentParser(prog="harness.faults.proxy")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--upstream-host", default="127.0.0.1")
    parser.add_argument("--upstream-port", type=int, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # what is held back keeps its connections
    asyncio.run(run(options.host, (options.upstream_host, options.upstream_port), options.port_file))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
