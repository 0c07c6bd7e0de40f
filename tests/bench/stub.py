"""A stub of Engram's memory API for benchmarks and tests: as fast as Python serves, and able to stall on schedule.

``python -m tests.bench.stub --port-file F [--port N] [--stall-s 1 --every-s 10]``. A stall begins half a
period after the first request and every period from then on, and holds every answer that would leave during it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import orjson

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_EMPTY: dict[str, list[object]] = {"vivid": [], "associated": [], "reconstructed": []}
_KEY_BYTES = 64


class Memory:
    """What the stub remembers: the last content of each id per space, and which id an embedding belongs to."""

    def __init__(self) -> None:
        self.contents: dict[tuple[bytes, str], str] = {}
        self.owners: dict[str, str] = {}
        self.requests = 0


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, memory: Memory, stall_s: float, every_s: float) -> None:
        self._memory = memory
        self._stall_s = stall_s
        self._every_s = every_s
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end]
            size = _LENGTH.search(head)
            whole = end + 4 + (int(size[1]) if size else 0)
            if len(self._data) < whole:
                return
            body, self._data = self._data[end + 4 : whole], self._data[whole:]
            status, answer = self._answer(head, body)
            reply = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
                status,
                len(answer),
                answer,
            )
            delay = self._stalled_for()
            if delay > 0:
                asyncio.get_running_loop().call_later(delay, self._transport.write, reply)
            else:
                self._transport.write(reply)

    def _stalled_for(self) -> float:
        """Seconds until the present stall ends, 0 outside of one."""
        memory = self._memory
        now = time.monotonic()
        if memory.requests == 1:
            STARTED.append(now)
        if not self._stall_s or not STARTED:
            return 0.0
        into = (now - STARTED[0] + self._every_s / 2) % self._every_s
        return self._stall_s - into if into < self._stall_s else 0.0

    def _answer(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        memory = self._memory
        memory.requests += 1
        line = head[: head.find(b"\r\n")]
        at = head.find(b"x-memory-space: ")
        space = head[at + 16 : head.find(b"\r\n", at)] if at >= 0 else b"default"
        if line.startswith(b"POST /api/v1/memories/remember"):
            return self._store(space, body)
        if line.startswith(b"GET /api/v1/memories/recall?"):
            return self._recall(space, line)
        if line.startswith(b"GET /api/v1/memories/"):
            name = line[21 : line.find(b" ", 21)].decode()
            content = memory.contents.get((space, name))
            if content is None:
                return b"404 Not Found", b'{"error":{"code":"not_found","message":"no such memory"}}'
            return b"200 OK", orjson.dumps({"id": name, "content": content, "confidence": 0.9})
        if line.startswith((b"POST /api/v1/complete", b"GET /health")):
            return b"200 OK", b'{"status":"healthy"}'
        return b"404 Not Found", b'{"error":{"code":"not_found","message":"no such route"}}'

    def _store(self, space: bytes, body: bytes) -> tuple[bytes, bytes]:
        # Cut out of the text instead of parsed: the stub's CPU must not be what a benchmark measures.
        name = body[7 : body.index(b'"', 7)].decode()
        at = body.index(b'"content":"') + 11
        self._memory.contents[space, name] = body[at : body.index(b'"', at)].decode()
        at = body.index(b'"embedding":[') + 13
        self._memory.owners[body[at : at + _KEY_BYTES].decode()] = name
        return (
            b"201 Created",
            b'{"memory_id":"%b","storage_confidence":{"value":0.9,"category":"high"}}' % name.encode(),
        )

    def _recall(self, space: bytes, line: bytes) -> tuple[bytes, bytes]:
        memory = self._memory
        at = line.find(b"embedding=%5B")
        if at >= 0:
            name = memory.owners.get(line[at + 13 : at + 13 + _KEY_BYTES].decode())
        else:
            at = line.index(b"query=") + 6
            name = unquote(line[at : line.index(b"&", at)].decode()).split(" ", 1)[0]
        content = memory.contents.get((space, name)) if name else None
        found = [
            {
                "id": name,
                "content": content,
                "confidence": {"value": 0.9},
                "activation_level": 0.8,
                "similarity_score": 1.0,
            }
        ]
        metadata = {"cohort": "canary", "pathway": "blended", "semantic_missing": None, "bindings_filtered": 0}
        memories = {**_EMPTY, "vivid": found} if content is not None else _EMPTY
        return b"200 OK", orjson.dumps({"memories": memories, "recall_confidence": 0.9, "metadata": metadata})


STARTED: list[float] = []


async def serve(port: int, port_file: Path, stall_s: float, every_s: float) -> None:
    """Serve until SIGTERM, or until the process that started the stub is gone."""
    loop = asyncio.get_running_loop()
    memory = Memory()
    server = await loop.create_server(lambda: Stub(memory, stall_s, every_s), "127.0.0.1", port, backlog=4096)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    scratch = port_file.with_suffix(".tmp")
    scratch.write_text(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    scratch.replace(port_file)
    parent = os.getppid()
    while not ended.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(ended.wait(), 1.0)
        except TimeoutError:
            continue
    server.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--stall-s", type=float, default=0.0)
    parser.add_argument("--every-s", type=float, default=10.0)
    options = parser.parse_args()
    import uvloop

    uvloop.run(serve(options.port, options.port_file, options.stall_s, options.every_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
