"""The client of Engram's memory, admin and chaos API. Threads may share one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from harness.engram import answers
from harness.engram.metrics import MetricsSnapshot, from_json_metrics, parse_prometheus
from harness.engram.transport import Answer, Secret, ServiceClient, Transport, secret_from_environment
from harness.errors import TargetAnswerInvalid, TargetUnreachable

_FROM_ENVIRONMENT = Secret("")
CHAOS = "/api/v1/admin/chaos"
EXPORT, RESTORE, MIGRATE = "/api/v1/admin/export", "/api/v1/admin/restore", "/api/v1/admin/migrate"
_BACKUP_S = 120.0
_MAX_BACKUP_BYTES = 256 * 1024 * 1024


class EngramClient(ServiceClient):
    """Speaks to one Engram.

    Every call raises :class:`TargetUnreachable` (no answer), :class:`TargetRefused` (an error status) or
    :class:`TargetAnswerInvalid` (not the documented shape), naming URL, what came, and what to do.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: Secret | None = _FROM_ENVIRONMENT,
        timeout_s: float = 5.0,
        max_answer_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        key = secret_from_environment() if api_key is _FROM_ENVIRONMENT else api_key
        super().__init__(Transport(base_url, key, timeout_s, max_answer_bytes))

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One exchange, whatever its status; ``json`` is sent as the body."""
        body = None
        sent = dict(headers or {})
        if json is not None:
            body = orjson.dumps(json, option=orjson.OPT_SERIALIZE_NUMPY)
            sent["content-type"] = "application/json"
        return self._transport.exchange(method, path, params=params, body=body, headers=sent, timeout_s=timeout_s)

    def _ok(self, method: str, path: str, **options: Any) -> Answer:
        answer = self.request(method, path, **options)
        if not 200 <= answer.status < 300:
            raise answer.refused()
        return answer

    # health and information

    def health(self) -> bool:
        """Whether ``/health`` says the service is fit (200); 503 is False, anything else an error."""
        answer = self.request("GET", "/health")
        if answer.status in (200, 503):
            return answer.status == 200
        raise answer.refused()

    def alive(self) -> bool:
        """Whether the service answers ``/health/alive`` with a success at all; never raises."""
        try:
            return 200 <= self.request("GET", "/health/alive").status < 300
        except (TargetUnreachable, TargetAnswerInvalid):
            return False

    def system_info(self) -> dict[str, Any]:
        """``/api/v1/system/info``: version, milestone."""
        return self._ok("GET", "/api/v1/system/info").object()

    def system_health(self) -> dict[str, Any]:
        """``/api/v1/system/health``: status, checks, spaces."""
        return self._ok("GET", "/api/v1/system/health").object()

    def metrics(self) -> MetricsSnapshot:
        """One scrape of ``/metrics``; where that is JSON (public build), of ``/metrics/prometheus`` if it is there."""
        answer = self._ok("GET", "/metrics")
        if answer.is_json or answer.body.lstrip()[:1] == b"{":
            other = self.request("GET", "/metrics/prometheus")
            if other.status != 200:
                return from_json_metrics(answer.object(), time.monotonic())
            answer = other
        return _scraped(answer)

    # flags

    def features(self) -> dict[str, Any]:
        """All runtime flags and cohort settings."""
        return self._ok("GET", "/api/v1/admin/features").object()

    def set_features(self, **flags: Any) -> dict[str, Any]:
        """Change flags (``blended_recall=True``, ``cohort_sampling_rate=0.25``); answers what the service says."""
        return self._ok("POST", "/api/v1/admin/features", json=flags).object()

    # backups (ours, beyond the runbook; offered where ``admin.export`` and the like are)

    def export(self, kind: str = "dual_memory") -> bytes:
        """Every memory as one backup document of this ``kind`` (``dual_memory``, ``single_memory``)."""
        found = self._transport.exchange(
            "GET", EXPORT, params={"format": kind}, timeout_s=_BACKUP_S, max_bytes=_MAX_BACKUP_BYTES
        )
        if found.status != 200:
            raise found.refused()
        found.object()
        return found.body

    def restore(self, backup: bytes) -> dict[str, Any]:
        """Let the service remember exactly what ``backup`` holds; answers ``restored``, the number of memories."""
        return self._take(RESTORE, {}, backup)

    def migrate(self, backup: bytes, to: str = "single_memory") -> dict[str, Any]:
        """:meth:`restore`, with dual memory off from then on; answers ``restored`` and ``features``."""
        return self._take(MIGRATE, {"to": to}, backup)

    def _take(self, path: str, params: Mapping[str, str], backup: bytes) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        answer = self._transport.exchange(
            "POST", path, params=params, body=backup, headers=headers, timeout_s=_BACKUP_S
        )
        if not 200 <= answer.status < 300:
            raise answer.refused()
        return answer.object()

    # chaos

    def chaos_listing(self) -> answers.ChaosListing:
        """The faults in force."""
        return answers.read_chaos_listing(self._ok("GET", CHAOS))

    def chaos_consolidation_fail_rate(self, fail_rate: float, *, ttl_s: float | None = None) -> Answer:
        """Let that share of consolidation runs fail."""
        return self._chaos("consolidation/fail_rate", {"fail_rate": fail_rate}, ttl_s)

    def chaos_semantic_latency(self, latency_ms: float, *, ttl_s: float | None = None) -> Answer:
        """Slow the semantic pathway by that much."""
        return self._chaos("semantic_pathway/latency", {"latency_ms": latency_ms}, ttl_s)

    def chaos_binding_corrupt(self, corruption_rate: float, *, ttl_s: float | None = None) -> Answer:
        """Give that share of bindings invalid strengths."""
        return self._chaos("binding_index/corrupt", {"corruption_rate": corruption_rate}, ttl_s)

    def chaos_binding_restore(self) -> Answer:
        """Bindings back from the last good copy."""
        return self._chaos("binding_index/restore", {}, None)

    def chaos_latency(self, latency_ms: float, *, ttl_s: float | None = None) -> Answer:
        """Slow every blended recall by that much."""
        return self._chaos("latency", {"latency_ms": latency_ms}, ttl_s)

    def _chaos(self, path: str, body: dict[str, float], ttl_s: float | None) -> Answer:
        if ttl_s is not None:
            body = {**body, "ttl_s": ttl_s}
        return self._ok("POST", f"{CHAOS}/{path}", json=body)

    # state

    def consolidations(self) -> answers.ConsolidationStats:
        """Counts and ages of consolidation runs."""
        return answers.read_consolidations(self._ok("GET", "/api/v1/consolidations", params={"max_episodes": "1"}))

    def bindings(self, limit: int = 100, cursor: str | None = None) -> answers.BindingPage:
        """A page of bindings."""
        return self._page("bindings", limit, cursor)

    def binding_counts(self) -> answers.BindingPage:
        """The number of bindings and of invalid ones, without the bindings."""
        return self.bindings(limit=0)

    def concepts(self, limit: int = 100, cursor: str | None = None) -> answers.BindingPage:
        """A page of concepts."""
        return self._page("concepts", limit, cursor)

    def _page(self, what: str, limit: int, cursor: str | None) -> answers.BindingPage:
        params = {"limit": str(limit)} | ({"cursor": cursor} if cursor is not None else {})
        return answers.read_page(self._ok("GET", f"/api/v1/admin/{what}", params=params), what)

    # memories

    def memory(self, memory_id: str, space: str | None = None) -> dict[str, Any] | None:
        """A memory by its id, or None where there is none."""
        answer = self.request("GET", _memory_path(memory_id), headers=_identity(space, None))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise answer.refused()
        return answer.object()

    def remember(
        self,
        content: str,
        *,
        memory_id: str | None = None,
        embedding: Sequence[float] | None = None,
        confidence: float | None = None,
        tags: Sequence[str] | None = None,
        space: str | None = None,
        user: str | None = None,
    ) -> dict[str, Any]:
        """Store a memory; answers the service's acknowledgement."""
        body: dict[str, Any] = {"content": content}
        given = {"id": memory_id, "embedding": embedding, "confidence": confidence, "tags": tags}
        body |= {key: value for key, value in given.items() if value is not None}
        answer = self._ok("POST", "/api/v1/memories/remember", json=body, headers=_identity(space, user))
        acknowledged = answer.object()
        if not isinstance(acknowledged.get("memory_id"), str):
            raise answer.invalid("no 'memory_id' in the acknowledgement")
        return acknowledged

    def recall(
        self,
        query: str | None = None,
        *,
        embedding: Sequence[float] | None = None,
        max_results: int = 10,
        threshold: float | None = None,
        space: str | None = None,
        user: str | None = None,
        include_metadata: bool = True,
        timeout_s: float | None = None,
        closing: bool = False,
    ) -> answers.Recalled:
        """Recall by text or by embedding (768 floats). ``closing``: its connection ends with it, so that the next one
        is free to reach another replica.
        """
        params = {"max_results": str(max_results), "include_metadata": "true" if include_metadata else "false"}
        if query is not None:
            params["query"] = query
        if embedding is not None:
            params["embedding"] = orjson.dumps(embedding, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        if threshold is not None:
            params["threshold"] = f"{threshold:g}"
        headers = _identity(space, user) | ({"connection": "close"} if closing else {})
        answer = self._ok("GET", "/api/v1/memories/recall", params=params, headers=headers, timeout_s=timeout_s)
        return answers.read_recall(answer)

    def delete(self, memory_id: str, space: str | None = None) -> bool:
        """Forget a memory; False where there was none."""
        answer = self.request("DELETE", _memory_path(memory_id), headers=_identity(space, None))
        if answer.status == 404:
            return False
        if not 200 <= answer.status < 300:
            raise answer.refused()
        return True


def _memory_path(memory_id: str) -> str:
    return f"/api/v1/memories/{quote(memory_id, safe='')}"


def _identity(space: str | None, user: str | None) -> dict[str, str]:
    headers = {"x-memory-space": space} if space is not None else {}
    return headers | ({"x-user-id": user} if user is not None else {})


def _scraped(answer: Answer) -> MetricsSnapshot:
    try:
        return parse_prometheus(answer.body.decode("utf-8"), time.monotonic())
    except (ValueError, UnicodeDecodeError) as error:
        raise answer.invalid(f"the metrics are not Prometheus text ({error})") from None
