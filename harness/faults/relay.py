"""One relayed connection: two directions, each a queue of data with the instants from which it may go on."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

from harness.faults.toxics import TO_CLIENT, TO_SERVER, Toxics

_HIGH_BYTES = 1024 * 1024
_ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Connection:
    """A client's connection and ours to the target, tied together."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        toxics: Toxics,
        upstream: tuple[str, int],
        gone: Callable[[Connection], None],
    ) -> None:
        self.loop = loop
        self.toxics = toxics
        self._upstream = upstream
        self._gone = gone
        self.client = _Side(self, TO_SERVER)
        self._server = _Side(self, TO_CLIENT)
        ends = {TO_SERVER: self._server, TO_CLIENT: self.client}
        self._streams = {toward: _Stream(self, end, toward) for toward, end in ends.items()}
        self._task: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        """The client is there: connect to the target, unless nothing gets through to it now."""
        if self._task is not None or self.toxics.any("half_open") or self.toxics.holds(TO_SERVER):
            return
        if self._streams[TO_SERVER].ended:
            self.close()  # the client has given up before its connection was through
        else:
            self._task = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: self._server, *self._upstream)
        except OSError:
            self.reset()  # refused upstream is refused here, as nearly as an accepted connection can be
            return
        if self.client.transport is None:
            self.reset()
        self._streams[TO_SERVER].pump()

    def arrived(self, toward: str, data: bytes | None) -> None:
        """Data, or its end (None), on the way ``toward`` an end."""
        if data is not None and self.toxics.resets(toward):
            self.reset()
            return
        late_s = self.toxics.cuts(data) if data is not None and toward == TO_SERVER else None
        if late_s == math.inf:
            self.reset()
            return
        self._streams[toward].put(data, late_s or 0.0)

    def lost(self, side: _Side) -> None:
        """One end is gone for good: so is the other, once what is on its way has arrived (or may never)."""
        other = self._server if side is self.client else self.client
        if other.transport is None and (side is self._server or self._task is None):
            self.close()
            return
        self._streams[side.away].put(None, 0.0)
        if side.transport is None and other.transport is None:
            self.close()

    def reconsider(self) -> None:
        """The toxics have changed: what was held back or late goes on its way."""
        if self.client.transport is not None:
            self.accepted()
        for stream in self._streams.values():
            stream.hurry()

    def reset(self) -> None:
        """Break both ends with a reset."""
        for side in (self.client, self._server):
            side.abort()
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        for stream in self._streams.values():
            stream.cancel()
        for side in (self.client, self._server):
            if side.transport is not None:
                side.transport.close()
        self._gone(self)

    def source_of(self, toward: str) -> _Side:
        """Who sends in that direction."""
        return self.client if toward == TO_SERVER else self._server


class _Stream:
    """Data in one direction, in order."""

    def __init__(self, connection: Connection, to: _Side, toward: str) -> None:
        self._connection = connection
        self._to = to
        self._toward = toward
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._bytes = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False

    def put(self, data: bytes | None, late_s: float) -> None:
        """Queue data or the end."""
        if self.ended:
            return
        self.ended = data is None
        toxics, now = self._connection.toxics, self._connection.loop.time()
        if data is None:
            due = max(self._free_at, now) + toxics.close_delay_s(self._toward)
        else:
            due = max(now + late_s + toxics.delay_s(self._toward), self._free_at)
            due += toxics.transfer_s(self._toward, len(data))
            self._bytes += len(data)
        self._free_at = due
        self._queue.append((due, data))
        if self._bytes > _HIGH_BYTES:
            self._connection.source_of(self._toward).pause()
        self.pump()

    def pump(self) -> None:
        """Send on what is due."""
        loop = self._connection.loop
        while self._queue and self._timer is None:
            if self._to.transport is None or self._connection.toxics.holds(self._toward):
                return
            due, data = self._queue[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self._woken)
                return
            self._queue.popleft()
            if data is None:
                self._to.end()
            else:
                self._bytes -= len(data)
                self._to.transport.write(self._connection.toxics.corrupted(self._toward, data))
        if self._bytes <= _HIGH_BYTES // 2:
            self._connection.source_of(self._toward).resume()

    def hurry(self) -> None:
        """Nothing queued is late any more."""
        self.cancel()
        now = self._connection.loop.time()
        self._free_at = now
        self._queue = deque((now, data) for _, data in self._queue)
        self.pump()

    def cancel(self) -> None:
        """No timer from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _woken(self) -> None:
        self._timer = None
        self.pump()


class _Side(asyncio.Protocol):
    """One end; ``away`` is the direction of what it sends."""

    def __init__(self, connection: Connection, away: str) -> None:
        self._connection = connection
        self.away = away
        self.transport: asyncio.Transport | None = None
        self._ended = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        _no_delay(self.transport)
        if self.away == TO_SERVER:
            self._connection.accepted()

    def data_received(self, data: bytes) -> None:
        self._connection.arrived(self.away, data)

    def eof_received(self) -> bool:
        self._connection.arrived(self.away, None)
        return True  # the other direction may go on

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._connection.lost(self)

    def end(self) -> None:
        """Nothing more will be sent to this end."""
        if self.transport is None or self._ended:
            return
        self._ended = True
        self.transport.close()

    def abort(self) -> None:
        """Reset."""
        if self.transport is None:
            return
        found = self.transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
        self.transport.abort()

    def pause(self) -> None:
        """Read no more from this end for now."""
        if self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.transport is not None and self._paused:
            self._paused = False
            self.transport.resume_reading()


def _no_delay(transport: asyncio.Transport) -> None:
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
