"""A flag API and recalls that misbehave as told, for what no healthy service shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


class Engram:
    """Flags in memory; ``post`` decides what a change does and answers, ``recall`` what a recall answers."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {
            "dual_memory_types": True,
            "blended_recall": True,
            "fan_effect": True,
            "monitoring": True,
            "cohort_sampling_rate": 0.5,
        }
        self.posts: list[dict[str, Any]] = []
        self.post: Callable[[Engram, dict[str, Any]], Answer] = Engram.obey
        self.metadata: Callable[[Engram, str], dict[str, Any]] = Engram.honest

    def obey(self, changes: dict[str, Any]) -> Answer:
        """Take the change."""
        self.flags.update(changes)
        return 200, self.flags

    def honest(self, user: str) -> dict[str, Any]:
        """Every user is canary; blended while the flag says so."""
        return {"cohort": "canary", "pathway": "blended" if self.flags["blended_recall"] else "episodic"}

    def answer(self, method: str, path: str, body: dict[str, Any], user: str) -> Answer:
        """One exchange."""
        if path.endswith("/admin/features"):
            if method == "GET":
                return 200, self.flags
            self.posts.append(body)
            return self.post(self, body)
        if path.endswith("/memories/recall"):
            groups: dict[str, list[Any]] = {"vivid": [], "associated": [], "reconstructed": []}
            return 200, {"memories": groups, "metadata": self.metadata(self, user)}
        if path.startswith("/health"):
            return 200, {}
        return 404, {"error": {"code": "not_found", "message": "no such route"}}


@contextmanager
def serving(engram: Engram) -> Iterator[str]:
    """Serve it on a free port; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            try:
                body = json.loads(raw) if raw else {}
            except ValueError:
                body = {}
            status, value = engram.answer(
                self.command, self.path.partition("?")[0], body, self.headers.get("x-user-id", "")
            )
            said = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = _do

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with listening(Handler) as url:
        yield url


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve ``handler`` on a free port; yields its URL."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
