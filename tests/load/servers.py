"""Servers for the tests: the stub in a process of its own, and raw ones that misbehave on purpose."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.scenario.arrival import Constant
from harness.scenario.workload import Clustered, Data, Operations, Workload

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def small_workload(rate: float = 200.0, *, items: int = 40, spaces: int = 1, timeout_ms: float = 1000.0) -> Workload:
    """A workload that a test can afford."""
    return Workload(
        name="small",
        description="",
        duration_s=5.0,
        arrival=Constant(rate),
        operations=Operations(0.3, 0.5, 0.2),
        data=Data(items, 64, spaces, Clustered(4, 0.1)),
        users=10,
        request_timeout_ms=timeout_ms,
    )


def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> bool:
    """Poll until ``condition`` holds; False where it did not within ``deadline_s``."""
    pause = threading.Event()
    for _ in range(int(deadline_s / 0.01)):
        if condition():
            return True
        pause.wait(0.01)
    return condition()


@contextmanager
def stub(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The stub Engram in its own process: (base URL, process)."""
    port_file = folder / "stub.port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.bench.stub", "--port-file", str(port_file), "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        assert until(port_file.exists)
        yield f"http://127.0.0.1:{json.loads(port_file.read_text())['port']}", process
    finally:
        process.kill()
        process.wait()


class Peer:
    """One accepted connection of a :class:`RawServer`."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing

    def request(self) -> bytes:
        """Read one request, body included; empty where the client has gone."""
        data, whole = b"", -1
        while whole < 0 or len(data) < whole:
            part = self.sock.recv(65536)
            if not part:
                return b""
            data += part
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                size = _LENGTH.search(data[:end])
                whole = end + 4 + (int(size[1]) if size else 0)
        return data

    def send(self, data: bytes) -> None:
        """Send everything."""
        self.sock.sendall(data)

    def hold(self, seconds: float = 30.0) -> None:
        """Do nothing until the server closes or ``seconds`` have passed."""
        self.closing.wait(seconds)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


class RawServer:
    """Accepts connections and lets ``behave`` do what it likes with each, in a thread."""

    def __init__(self, behave: Callable[[Peer], None]) -> None:
        self._behave = behave
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.accepted = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5.0)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(10.0)
        with sock, suppress(OSError):
            self._behave(Peer(sock, self._closing))


def answer(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """One whole HTTP answer with its length."""
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


def always(reply: bytes) -> Callable[[Peer], None]:
    """A behaviour: the same answer to every request."""

    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(reply)

    return behave
