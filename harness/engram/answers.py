"""Engram's answers as typed values; each reader raises :class:`TargetAnswerInvalid` on a wrong shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from harness.engram.transport import Answer

GROUPS = ("vivid", "associated", "reconstructed")


@dataclass(frozen=True)
class ActiveFault:
    """One line of the chaos listing; ``ttl_remaining_s`` is None where no ttl was set."""

    fault: str
    value: float | None
    ttl_remaining_s: float | None


@dataclass(frozen=True)
class ChaosListing:
    """The faults in force, and what the listing says it supports (``ttl_s``, ``listing``)."""

    active: tuple[ActiveFault, ...]
    supports: frozenset[str]

    def find(self, fault: str) -> ActiveFault | None:
        """The active fault of that name, or None."""
        return next((one for one in self.active if one.fault == fault), None)


@dataclass(frozen=True)
class ConsolidationStats:
    """Counts since the service started, and ages in seconds; None where the build does not say."""

    successful: int
    failed: int
    total_runs: int
    last_run_age_s: float | None
    last_success_age_s: float | None
    interval_s: float | None
    concepts: int | None
    bindings: int | None


@dataclass(frozen=True)
class BindingPage:
    """A page of bindings (or concepts), the cursor of the next one, and counts over all."""

    items: tuple[dict[str, Any], ...]
    next: str | None
    total: int
    invalid: int | None


@dataclass(frozen=True)
class RecallMetadata:
    """What a recall answer says about itself; None where the build does not say.

    ``semantic_missing`` is the reason the semantic half is missing (``timeout``, ``failed``, …), None where it is not.
    """

    cohort: str | None = None
    pathway: str | None = None
    semantic_missing: str | None = None
    bindings_filtered: int | None = None
    convergent: int | None = None
    pattern_completed: bool | None = None
    server_ms: float | None = None


@dataclass(frozen=True)
class Recalled:
    """A recall answer: memories in rank order (vivid, associated, reconstructed), metadata, and ``service_s``."""

    memories: tuple[dict[str, Any], ...]
    metadata: RecallMetadata
    service_s: float
    raw: dict[str, Any] = field(repr=False)


def count(answer: Answer, value: dict[str, Any], key: str) -> int:
    """A required whole number ≥ 0."""
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise answer.invalid(f"{key!r} is not a count")
    return found


def optional_number(answer: Answer, value: dict[str, Any], key: str) -> float | None:
    """A finite number, or None where it is missing or null."""
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise answer.invalid(f"{key!r} is not a finite number")
    return float(found)


def objects(answer: Answer, value: dict[str, Any], key: str) -> tuple[dict[str, Any], ...]:
    """A required list of JSON objects."""
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise answer.invalid(f"{key!r} is not a list of objects")
    return tuple(found)


def read_chaos_listing(answer: Answer) -> ChaosListing:
    """``GET /api/v1/admin/chaos``."""
    value = answer.object()
    active = []
    for item in objects(answer, value, "active"):
        if not isinstance(item.get("fault"), str):
            raise answer.invalid("an active fault has no name")
        active.append(
            ActiveFault(
                item["fault"],
                optional_number(answer, item, "value"),
                optional_number(answer, item, "ttl_remaining_s"),
            )
        )
    supports = value.get("supports", [])
    if not isinstance(supports, list):
        raise answer.invalid("'supports' is not a list")
    return ChaosListing(tuple(active), frozenset(str(s) for s in supports))


def read_consolidations(answer: Answer) -> ConsolidationStats:
    """The ``stats`` of ``GET /api/v1/consolidations``."""
    stats = answer.object().get("stats")
    if not isinstance(stats, dict):
        raise answer.invalid("no 'stats' object")
    successful, failed = (
        count(answer, stats, "successful_consolidations"),
        count(answer, stats, "failed_consolidations"),
    )
    return ConsolidationStats(
        successful,
        failed,
        count(answer, stats, "total_runs") if "total_runs" in stats else successful + failed,
        optional_number(answer, stats, "last_run_age_s"),
        optional_number(answer, stats, "last_success_age_s"),
        optional_number(answer, stats, "interval_s"),
        count(answer, stats, "concepts") if stats.get("concepts") is not None else None,
        count(answer, stats, "bindings") if stats.get("bindings") is not None else None,
    )


def read_page(answer: Answer, key: str) -> BindingPage:
    """A page of ``GET /api/v1/admin/bindings`` or ``…/concepts``; ``key`` is the list's name."""
    value = answer.object()
    cursor = value.get("next")
    if cursor is not None and not isinstance(cursor, str | int):
        raise answer.invalid("'next' is no cursor")
    return BindingPage(
        objects(answer, value, key),
        None if cursor is None else str(cursor),
        count(answer, value, "total"),
        count(answer, value, "invalid") if value.get("invalid") is not None else None,
    )


def read_recall(answer: Answer) -> Recalled:
    """``GET /api/v1/memories/recall``."""
    value = answer.object()
    groups = value.get("memories")
    if not isinstance(groups, dict):
        raise answer.invalid("no 'memories' object")
    memories = tuple(item for group in GROUPS if group in groups for item in objects(answer, groups, group))
    metadata = value.get("metadata")
    return Recalled(memories, _metadata(answer, metadata), answer.service_s, value)


def _metadata(answer: Answer, value: Any) -> RecallMetadata:
    if value is None:
        return RecallMetadata()
    if not isinstance(value, dict):
        raise answer.invalid("'metadata' is not an object")
    completed = value.get("pattern_completed")
    return RecallMetadata(
        _text(answer, value, "cohort"),
        _text(answer, value, "pathway"),
        _text(answer, value, "semantic_missing"),
        _whole(answer, value, "bindings_filtered"),
        _whole(answer, value, "convergent"),
        completed if isinstance(completed, bool) else None,
        optional_number(answer, value, "server_ms"),
    )


def _whole(answer: Answer, value: dict[str, Any], key: str) -> int | None:
    found = value.get(key)
    if found is not None and not isinstance(found, int):
        raise answer.invalid(f"metadata's {key!r} is not a whole number")
    return None if found is None else int(found)


def _text(answer: Answer, value: dict[str, Any], key: str) -> str | None:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise answer.invalid(f"metadata's {key!r} is not a text")
    return found
