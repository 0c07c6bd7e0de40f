"""What the Engram before us can do, found out by requests that change nothing; never by its version."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.engram.answers import read_chaos_listing, read_consolidations, read_page, read_recall
from harness.engram.client import CHAOS, EXPORT, MIGRATE, RESTORE, EngramClient
from harness.engram.transport import Answer
from harness.errors import CapabilityMissing, TargetAnswerInvalid, TargetRefused, TargetUnreachable

ALL = (
    "memory",
    "memory.delete",
    "recall.metadata",
    "features",
    "blended_recall",
    "cohorts",
    "chaos.listing",
    "chaos.ttl",
    "chaos.consolidation",
    "chaos.semantic_pathway",
    "chaos.binding_index",
    "chaos.latency",
    "admin.bindings",
    "admin.concepts",
    "admin.export",
    "admin.restore",
    "admin.migrate",
    "consolidations",
    "metrics.prometheus",
    "metrics.dual_memory",
)
# A body no service may accept: each endpoint wants a number here. A 4xx other than "no such route" proves the route.
_CHAOS_PROBES = (
    ("chaos.consolidation", "consolidation/fail_rate", "fail_rate"),
    ("chaos.semantic_pathway", "semantic_pathway/latency", "latency_ms"),
    ("chaos.binding_index", "binding_index/corrupt", "corruption_rate"),
    ("chaos.latency", "latency", "latency_ms"),
)
# Neither a format nor a backup: what offers the route must refuse it.
_BACKUP_PROBES = (
    ("admin.export", "GET", f"{EXPORT}?format=capability-probe"),
    ("admin.restore", "POST", RESTORE),
    ("admin.migrate", "POST", f"{MIGRATE}?to=capability-probe"),
)
_DUAL_MEMORY_METRICS = ("engram_blended_recall_total", "engram_semantic_pathway_timeout_total")


@dataclass(frozen=True)
class Capabilities:
    """The names of what a target can do, and why it cannot do the rest."""

    names: frozenset[str]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def missing(self, required: Iterable[str]) -> dict[str, str]:
        """The required names that are not there, each with its reason."""
        return {name: self.reasons.get(name, "unknown capability") for name in required if name not in self.names}

    def require(self, required: Iterable[str], *, where: str = "") -> None:
        """Raise :class:`CapabilityMissing` naming what is not there and why."""
        missing = self.missing(required)
        if missing:
            what = "; ".join(f"{name} ({reason})" for name, reason in sorted(missing.items()))
            raise CapabilityMissing(f"the target lacks {what}", where=where)

    def plus(self, name: str) -> Capabilities:
        """These and one that no request can tell: what the target itself, not its API, offers."""
        return Capabilities(self.names | {name}, {k: v for k, v in self.reasons.items() if k != name})

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {"names": sorted(self.names), "missing": dict(sorted(self.reasons.items()))}


def probe_capabilities(client: EngramClient) -> Capabilities:
    """Probe them all; the target's state does not change.

    Raises :class:`TargetUnreachable` where nothing answers; anything else is a reason beside a missing name.
    """
    found = _Findings()
    client.request("GET", "/health/alive")  # a dead target is unreachable, not incapable
    found.attempt(("memory", "recall.metadata"), lambda: _recall(client, found))
    found.attempt(("features", "blended_recall", "cohorts"), lambda: _features(client, found))
    found.attempt(("chaos.listing", "chaos.ttl"), lambda: _listing(client, found))
    for name, path, key in _CHAOS_PROBES:
        found.attempt((name,), lambda n=name, p=path, k=key: _chaos_route(client, found, n, p, k))  # type: ignore[misc]
    for name, method, path in _BACKUP_PROBES:
        body = None if method == "GET" else {"format": "capability probe"}
        found.attempt((name,), lambda n=name, m=method, p=path, b=body: _refuses(client, found, n, m, p, b))  # type: ignore[misc]
    for what in ("bindings", "concepts"):
        found.attempt((f"admin.{what}",), lambda w=what: _state(client, found, w))  # type: ignore[misc]
    found.attempt(("consolidations",), lambda: _consolidations(client, found))
    found.attempt(("metrics.prometheus", "metrics.dual_memory"), lambda: _metrics(client, found))
    found.attempt(("memory.delete",), lambda: _delete(client, found))
    reasons = {name: found.reasons.get(name, "not offered") for name in ALL if name not in found.names}
    return Capabilities(frozenset(found.names), reasons)


class _Findings:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.reasons: dict[str, str] = {}

    def attempt(self, names: Iterable[str], probe: Callable[[], None]) -> None:
        try:
            probe()
        except (TargetRefused, TargetAnswerInvalid, TargetUnreachable) as error:
            for name in names:
                if name not in self.names:
                    self.reasons[name] = error.what

    def decide(self, name: str, present: bool, reason: str) -> None:
        if present:
            self.names.add(name)
        else:
            self.reasons[name] = reason


def _get(client: EngramClient, path: str, params: Mapping[str, str] | None = None) -> Answer:
    answer = client.request("GET", path, params=params)
    if answer.status != 200:
        raise answer.refused()
    return answer


def _recall(client: EngramClient, found: _Findings) -> None:
    params = {"query": "capability probe", "max_results": "1", "include_metadata": "true"}
    recalled = read_recall(_get(client, "/api/v1/memories/recall", params))
    found.decide("memory", True, "")
    said = recalled.metadata
    present = said.cohort is not None and said.pathway is not None
    found.decide("recall.metadata", present, "a recall answer does not say cohort and pathway")


def _features(client: EngramClient, found: _Findings) -> None:
    answer = _get(client, "/api/v1/admin/features")
    flags = answer.object()
    flags = flags["features"] if isinstance(flags.get("features"), dict) else flags
    found.decide("features", any(isinstance(v, bool) for v in flags.values()), "no boolean flag in the answer")
    found.decide("blended_recall", isinstance(flags.get("blended_recall"), bool), "no blended_recall flag")
    rate = flags.get("cohort_sampling_rate")
    found.decide("cohorts", isinstance(rate, int | float) and not isinstance(rate, bool), "no cohort_sampling_rate")


def _listing(client: EngramClient, found: _Findings) -> None:
    listing = read_chaos_listing(_get(client, CHAOS))
    found.decide("chaos.listing", True, "")
    found.decide("chaos.ttl", "ttl_s" in listing.supports, "the chaos listing does not offer ttl_s")


def _chaos_route(client: EngramClient, found: _Findings, name: str, path: str, key: str) -> None:
    _refuses(client, found, name, "POST", f"{CHAOS}/{path}", {key: "capability probe"})


def _refuses(
    client: EngramClient, found: _Findings, name: str, method: str, path: str, body: Mapping[str, str] | None = None
) -> None:
    """Whether the route is there: it must refuse what it is sent."""
    answer = client.request(method, path, json=body)
    if answer.status in (401, 403):
        raise answer.refused()
    present = 400 <= answer.status < 500 and answer.status not in (404, 405)
    reason = f"status {answer.status} to a body that must be refused"
    found.decide(name, present, "no such route" if answer.status in (404, 405, 501) else reason)


def _state(client: EngramClient, found: _Findings, what: str) -> None:
    read_page(_get(client, f"/api/v1/admin/{what}", {"limit": "0"}), what)
    found.decide(f"admin.{what}", True, "")


def _consolidations(client: EngramClient, found: _Findings) -> None:
    read_consolidations(_get(client, "/api/v1/consolidations", {"max_episodes": "1"}))
    found.decide("consolidations", True, "")


def _metrics(client: EngramClient, found: _Findings) -> None:
    scraped = client.metrics()
    found.decide("metrics.prometheus", scraped.source == "prometheus", "metrics are served as JSON only")
    present = all(name in scraped.series for name in _DUAL_MEMORY_METRICS)
    found.decide("metrics.dual_memory", present, f"{_DUAL_MEMORY_METRICS[0]} is not scraped")


def _delete(client: EngramClient, found: _Findings) -> None:
    # A memory that is not there and a route that is not there may both be 404: compare with a route that cannot be.
    absent = f"capability-probe-{secrets.token_hex(8)}"
    answer = client.request("DELETE", f"/api/v1/memories/{absent}")
    if answer.status in (401, 403):
        raise answer.refused()
    nowhere = client.request("DELETE", f"/api/v1/{absent}/{absent}")
    said = _error(answer, absent)
    known = answer.status == 404 and said is not None and said != _error(nowhere, absent)
    found.decide("memory.delete", 200 <= answer.status < 300 or known, "no DELETE on memories")


def _error(answer: Answer, absent: str) -> str | None:
    """The error an answer gives, without the name that was asked for."""
    try:
        error = answer.object().get("error")
    except TargetAnswerInvalid:
        return None
    return None if error is None else str(error).replace(absent, "")
