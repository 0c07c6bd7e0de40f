"""An API server of ours: the paths the target uses, answered as a cluster answers, every request kept.

It speaks to the real client library over real sockets, WebSocket port-forward included; behind each pod stands a
real (reference) Engram. A deleted pod is replaced as its controller would: new name, new uid, same data.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

TOKEN = "token-of-the-test-only"
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Request:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class PodState:
    """A pod and where its Engram listens."""

    name: str
    uid: str
    port: int
    owner: str | None = "ReplicaSet/engram-canary-7d9"
    labels: dict[str, str] = field(default_factory=lambda: {"app": "engram", "variant": "canary"})
    ready: bool = True
    ending: bool = False


@dataclass
class Cluster:
    """What the API server knows. ``replace``: makes the pod that follows a deleted one."""

    pods: list[PodState] = field(default_factory=list)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    replica_sets: list[dict[str, Any]] = field(default_factory=list)
    virtual_service: dict[str, Any] | None = None
    replace: Callable[[PodState], PodState | None] = lambda pod: None
    requests: list[Request] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)  # part of a path -> status

    def pod_json(self, pod: PodState) -> dict[str, Any]:
        owners = []
        if pod.owner:
            kind, _, name = pod.owner.partition("/")
            owners = [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u-rs", "controller": True}]
        metadata: dict[str, Any] = {"name": pod.name, "namespace": "staging", "uid": pod.uid, "labels": pod.labels}
        metadata["ownerReferences"] = owners
        if pod.ending:
            metadata["deletionTimestamp"] = "2025-11-20T00:00:00Z"
        conditions = [{"type": "Ready", "status": "True" if pod.ready else "False"}]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"conditions": conditions}}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # when a pod dies, all connections to it are made anew at once


class ApiServer:
    """A context manager; ``url`` while it serves."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        handler = type("Handler", (_Handler,), {"cluster": cluster})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # port-forwards last as long as their connections
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ApiServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, path: Path, *, contexts: tuple[str, ...] = ("staging",)) -> Path:
        """Write one whose contexts all lead here."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "tester", "user": {"token": TOKEN}}],
            "contexts": [{"name": name, "context": {"cluster": "here", "user": "tester"}} for name in contexts],
            "current-context": "production",
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw) if raw else None
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, parts.path, parse_qs(parts.query), headers, body)
        self.cluster.requests.append(request)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return self._status(401, "Unauthorized")
        for part, status in self.cluster.refuse.items():
            if part in parts.path:
                return self._status(status, "refused by the test")
        route = re.sub(r"^/(api/v1|apis/[a-z.]+/v1)/namespaces/staging", "", parts.path)
        if match := re.fullmatch(r"/pods", route):
            return self._json({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": self._matching(request)})
        if match := re.fullmatch(r"/pods/([^/]+)(/log|/portforward)?", route):
            return self._pod(request, match[1], match[2] or "")
        if match := re.fullmatch(r"/(deployments|replicasets|virtualservices)(?:/([^/]+))?", route):
            return self._workload(request, match[1], match[2])
        return self._status(404, "no such path")

    def _matching(self, request: Request) -> list[dict[str, Any]]:
        wanted = dict(term.split("=") for term in request.query["labelSelector"][0].split(","))
        return [self.cluster.pod_json(pod) for pod in self.cluster.pods if wanted.items() <= pod.labels.items()]

    def _pod(self, request: Request, name: str, sub: str) -> None:
        pod = next((pod for pod in self.cluster.pods if pod.name == name), None)
        if pod is None:
            return self._status(404, f'pods "{name}" not found')
        if sub == "/log":
            return self._send(200, f"log of {name}\n".encode(), "text/plain")
        if sub == "/portforward":
            return self._forward(request, pod)
        if request.method == "DELETE":
            wanted = ((request.body or {}).get("preconditions") or {}).get("uid")
            if wanted is not None and wanted != pod.uid:
                return self._status(409, "the UID in the precondition does not match")
            self.cluster.pods.remove(pod)
            new = self.cluster.replace(pod)
            if new is not None:
                self.cluster.pods.append(new)
        return self._json(self.cluster.pod_json(pod))

    def _workload(self, request: Request, kind: str, name: str | None) -> None:
        cluster = self.cluster
        if kind == "virtualservices" and cluster.virtual_service is not None:
            return self._json(cluster.virtual_service)
        if kind == "replicasets":
            if name is None:
                listed = {"apiVersion": "apps/v1", "kind": "ReplicaSetList", "metadata": {}}
                return self._json({**listed, "items": cluster.replica_sets})
            found = next((rs for rs in cluster.replica_sets if rs["metadata"]["name"] == name), None)
            return self._json(found) if found else self._status(404, "no such ReplicaSet")
        deployment = cluster.deployments.get(name or "")
        if deployment is None:
            return self._status(404, "no such Deployment")
        if request.method == "PATCH":
            self._patch(deployment, request.body)
        return self._json(deployment)

    def _patch(self, deployment: dict[str, Any], body: Any) -> None:
        if isinstance(body, list):
            deployment["spec"]["template"] = body[1]["value"]
            deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"

    def _forward(self, request: Request, pod: PodState) -> None:
        """The port-forward of a kubelet: channel 0 data, channel 1 errors, each opened by the port's number."""
        key = request.headers["sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode()).digest()).decode()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(name, value)
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        port = int(request.query["ports"][0])
        wire = self.connection
        for channel in (0, 1):
            wire.sendall(_frame(bytes([channel]) + struct.pack("<H", port)))
        try:
            engram = socket.create_connection(("127.0.0.1", pod.port), timeout=5)
        except OSError as error:
            wire.sendall(_frame(b"\x01" + f"error forwarding port {port}: {error}".encode()))
            return
        engram.settimeout(None)
        threading.Thread(target=_answers, args=(engram, wire), daemon=True).start()
        _questions(self.rfile, engram)

    def _status(self, code: int, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
        self._send(code, json.dumps(status).encode(), "application/json")

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x82, size) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x82, 126, size) + payload
    return struct.pack("!BBQ", 0x82, 127, size) + payload


def _answers(engram: socket.socket, wire: socket.socket) -> None:
    try:
        while data := engram.recv(64 * 1024):
            wire.sendall(_frame(b"\x00" + data))
        wire.sendall(struct.pack("!BB", 0x88, 0))
    except OSError:
        pass


def _questions(source: Any, engram: socket.socket) -> None:
    """Masked frames of the client, until it closes."""
    try:
        while len(head := source.read(2)) == 2:
            size = head[1] & 0x7F
            if size >= 126:
                size = int.from_bytes(source.read(2 if size == 126 else 8), "big")
            mask, payload = source.read(4), bytearray(source.read(size))
            repeated = (mask * (size // 4 + 1))[:size]
            plain = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
            if head[0] & 0x0F == 8:
                break
            if head[0] & 0x0F == 2 and plain[:1] == b"\x00":
                engram.sendall(plain[1:])
    except OSError:
        pass
    finally:
        with suppress(OSError):
            engram.shutdown(socket.SHUT_RDWR)
        engram.close()
