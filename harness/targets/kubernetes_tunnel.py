"""``python -m harness.targets.kubernetes_tunnel``: a local port that leads to Engram in a pod, while we live.

A process of its own, known to the ledger before it does anything: where the harness dies, the guardian heals through
it and then ends it. The pod it leads to stands in the route file and is looked up at every new connection, so that a
replaced pod is reached at the same address.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError, RecordError
from harness.targets.kubernetes_place import place_from_json

_CHUNK = 256 * 1024
_MOST_CONNECTIONS = 256  # each is a websocket, a thread of the client library and two of ours
_MOST_OPENING = 8


def read_route(path: Path) -> str:
    """The pod's name. Raises :class:`RecordError`."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["pod"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the route cannot be read: {error}", where=str(path)) from error


def write_route(path: Path, pod: str) -> None:
    """Let new connections lead to ``pod``; whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"pod": pod}), encoding="utf-8")
    draft.rename(path)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Move bytes one way until either end closes, which closes both."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def given_up(near: socket.socket) -> bool:
    """Whether the one who connected has hung up meanwhile (its request may still lie unread)."""
    poll = select.poll()
    poll.register(near, select.POLLRDHUP)
    return bool(poll.poll(0))


def _carry(near: socket.socket, far: socket.socket) -> None:
    """Both ways, until the connection is over."""
    back = threading.Thread(target=_pump, args=(far, near), name="back", daemon=True)
    back.start()
    _pump(near, far)
    back.join()
    near.close()
    far.close()


def main(argv: list[str] | None = None) -> int:
    """Serve until ended by a signal. Exits 3 with one line where the cluster cannot be used."""
    parser = argparse.ArgumentParser(prog="kubernetes_tunnel")
    for name in ("--place", "--route", "--port-file"):
        parser.add_argument(name, required=True)
    given = parser.parse_args(argv)
    if not os.read(0, 1):
        return 0  # whoever started us died before we were known to its ledger
    try:
        from harness.targets.kubernetes_cluster import Cluster

        cluster = Cluster(place_from_json(json.loads(given.place)))
    except HarnessError as error:
        sys.stderr.write(f"tunnel: {error}\n")
        return error.exit_code
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port_file, slots = Path(given.port_file), threading.BoundedSemaphore(_MOST_CONNECTIONS)
    opening = threading.BoundedSemaphore(_MOST_OPENING)
    draft = port_file.with_suffix(".new")
    draft.write_text(str(listener.getsockname()[1]), encoding="ascii")
    draft.rename(port_file)

    def serve(near: socket.socket) -> None:
        if not slots.acquire(blocking=False):
            near.close()
            return
        try:
            # When a pod dies, all its users knock again and again: those who have given up by the time it is their turn
            # are left out, and the others go where the pod is now, or the successor would never be reached.
            with opening:
                if given_up(near):
                    near.close()
                    return
                far = cluster.tunnel(read_route(Path(given.route)))
            _carry(near, getattr(far, "_socket", far))
        except HarnessError as error:
            sys.stderr.write(f"tunnel: {error}\n")
            sys.stderr.flush()
            near.close()
        finally:
            slots.release()

    while True:
        near, _ = listener.accept()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(near,), name="serve", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
