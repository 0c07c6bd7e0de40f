"""A stub Engram whose fault ends a known, secret time after the heal: what recovery intervals are measured against.

``python -m tests.calibration.stub`` prints its port. ``POST /fault`` turns the fault on; ``POST /heal?delay_s=X``
answers at once and ends it ``X`` seconds later; ``GET /true`` answers the monotonic instant at which it ended (or
null). A recall answers with ``metadata.semantic_missing`` of the moment it was served.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit


class State:
    """The fault's state; times on the monotonic clock."""

    def __init__(self) -> None:
        self.on = False
        self.ends: float | None = None

    def affected(self) -> bool:
        """Whether the fault acts now."""
        if self.ends is not None and time.monotonic() >= self.ends:
            self.on = False
        return self.on

    def answer(self, method: str, target: str) -> dict[str, Any]:
        """The JSON for one request."""
        parts = urlsplit(target)
        if parts.path == "/fault":
            self.on, self.ends = True, None
        elif parts.path == "/heal":
            self.ends = time.monotonic() + float(parse_qs(parts.query)["delay_s"][0])
        elif parts.path == "/true":
            return {"ended": self.ends}
        return {"affected": self.affected()}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: State) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            body = json.dumps(state.answer(method, target)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.close()


async def main() -> None:
    """Serve until killed."""
    state = State()
    server = await asyncio.start_server(lambda r, w: _serve(r, w, state), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
