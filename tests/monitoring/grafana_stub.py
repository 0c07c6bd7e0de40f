"""A Grafana of ours: health, dashboards from a provisioned folder, its way to Prometheus, annotations. Not Grafana."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx

Change = Callable[[str, Any], Any]
"""(path, document) -> the document to answer with."""


def unchanged(path: str, document: Any) -> Any:
    return document


class Server:
    """Answers GET and POST with what :meth:`answer` says: (status, body)."""

    content_type = "application/json"

    def __init__(self) -> None:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                status, text = stub.answer(self.command, self.path, body, dict(self.headers))
                self.send_response(status)
                self.send_header("content-type", stub.content_type)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = _do

            def log_message(self, format: str, *args: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class LyingPrometheus(Server):
    """A real Prometheus, but for what ``change`` makes of its answers."""

    def __init__(self, behind: str, change: Change = unchanged) -> None:
        super().__init__()
        self._behind = behind
        self._client = httpx.Client(trust_env=False, timeout=10.0, verify=False)
        self.change = change

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._client.close()

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        kind = {"content-type": headers["content-type"]} if "content-type" in headers else {}
        got = self._client.request(method, self._behind + path, content=body, headers=kind)
        if not got.headers.get("content-type", "").startswith("application/json"):
            return got.status_code, got.content
        return got.status_code, json.dumps(self.change(path, got.json())).encode()


def _constant(expr: str) -> tuple[int, bytes]:
    """One for every expression, but nothing for what is not exported, and Prometheus's word for what is none."""
    if expr.endswith("("):
        error = {"status": "error", "errorType": "bad_data", "error": "parse error: unclosed left parenthesis"}
        return 400, json.dumps(error).encode()
    result = [] if "nothing" in expr else [{"metric": {}, "value": [1, "1"]}]
    return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


class StubGrafana(Server):
    """What :func:`harness.monitoring.assets.write_assets` wrote to ``folder``, over a Prometheus that says 1."""

    def __init__(self, folder: Path, change: Change = unchanged) -> None:
        super().__init__()
        models = [json.loads(path.read_text("utf-8")) for path in sorted((folder / "grafana/dashboards").iterdir())]
        self.dashboards: dict[str, Any] = {model["uid"]: model for model in models}
        self.database = "ok"
        self.annotations: list[dict[str, Any]] = []
        self.status: int | None = None
        self.requests = 0
        self._change = change

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        self.requests += 1
        if self.status is not None:
            return self.status, b'{"message":"as told"}'
        parts = urlsplit(path)
        proxied = "/api/datasources/proxy/uid/engram-prometheus"
        if parts.path.startswith(proxied):
            return _constant(parse_qs(parts.query or body.decode())["query"][0])
        document = self._document(method, parts.path, parse_qs(parts.query), body)
        if document is None:
            return 404, b'{"message":"not found"}'
        return 200, json.dumps(self._change(parts.path, document)).encode()

    def _document(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        if path == "/api/health":
            return {"database": self.database, "version": "stub"}
        if path.startswith("/api/dashboards/uid/"):
            model = self.dashboards.get(path.rsplit("/", 1)[1])
            return None if model is None else {"dashboard": model, "meta": {}}
        if path == "/api/search":
            wanted = query.get("query", [""])[0]
            return [{"uid": u, "title": m["title"]} for u, m in self.dashboards.items() if wanted in m["title"]]
        if path == "/api/annotations" and method == "POST":
            self.annotations.append(json.loads(body))
            return {"id": len(self.annotations), "message": "Annotation added"}
        return None
