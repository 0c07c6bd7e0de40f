"""Backups: every memory as one JSON document, checked as a whole before anything of it is taken.

``dual_memory`` also shows concepts and bindings. They are derived: a service forms them again from the episodes, as
it does after every restart, so a restore takes the memories and leaves the rest to consolidation.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from harness.reference.failures import BackupRefusedError
from harness.reference.memory import DIMENSIONS, Memory, Vector
from harness.reference.space import Space

FORMAT = "engram-backup"
VERSION = 1
DUAL, SINGLE = "dual_memory", "single_memory"
KINDS = (DUAL, SINGLE)
_TEXTS = ("id", "space", "content", "memory_type", "timestamp", "stored_at")


def document(spaces: Iterable[Space], kind: str, milestone: str) -> bytes:
    """All of ``spaces`` as a backup of this ``kind``, at one moment."""
    held = list(spaces)
    memories = [_as_json(memory) for space in held for memory in space]
    found: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "milestone": milestone,
        "taken_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "count": len(memories),
        "sha256": _digest(memories),
        "memories": memories,
    }
    if kind == DUAL:
        found["concepts"] = [
            {"id": c.id, "space": space.name, "coherence": c.coherence, "size": c.size}
            for space in held
            for c in space.concepts.by_number.values()
        ]
        found["bindings"] = [row for space in held for row in _bindings(space)]
    return orjson.dumps(found)


def read_document(raw: bytes) -> list[Memory]:
    """The memories of a backup. Raises :class:`BackupRefusedError` where it is none, or not whole."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BackupRefusedError(f"the backup is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BackupRefusedError(f"this is no backup of ours: its format is not {FORMAT!r}")
    if found.get("version") != VERSION:
        raise BackupRefusedError(f"the backup is of version {found.get('version')!r}, and only {VERSION} can be read")
    if found.get("kind") not in KINDS:
        raise BackupRefusedError(f"the backup is of kind {found.get('kind')!r}, not one of {', '.join(KINDS)}")
    memories = found.get("memories")
    if not isinstance(memories, list) or len(memories) != found.get("count"):
        raise BackupRefusedError("the backup does not hold as many memories as it says")
    if _digest(memories) != found.get("sha256"):
        raise BackupRefusedError("the backup has been changed since it was taken: its checksum is another")
    return [_memory(number, value) for number, value in enumerate(memories)]


def _digest(memories: object) -> str:
    return hashlib.sha256(orjson.dumps(memories, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _as_json(memory: Memory) -> dict[str, Any]:
    raw = None if memory.embedding is None else memory.embedding.astype("<f4").tobytes()
    return {
        "id": memory.id,
        "space": memory.space,
        "content": memory.content,
        "confidence": memory.confidence,
        "memory_type": memory.memory_type,
        "tags": list(memory.tags),
        "timestamp": memory.timestamp,
        "stored_at": memory.stored_at,
        "extras": memory.extras,
        "embedding": None if raw is None else base64.b64encode(raw).decode("ascii"),
    }


def _memory(number: int, value: Any) -> Memory:
    try:
        return Memory(
            **{name: _text(value, name) for name in _TEXTS},
            confidence=float(value["confidence"]),
            tags=tuple(map(str, value["tags"])),
            extras=dict(value["extras"]),
            embedding=_vector(value["embedding"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BackupRefusedError(f"memory {number} of the backup makes no sense: {error}") from None


def _text(value: Any, name: str) -> str:
    if not isinstance(value[name], str):
        raise TypeError(f"{name} is no text")
    return str(value[name])


def _vector(raw: Any) -> Vector | None:
    if raw is None:
        return None
    vector = np.frombuffer(base64.b64decode(raw, validate=True), "<f4").astype(np.float32)
    if len(vector) != DIMENSIONS or not np.isfinite(vector).all():
        raise ValueError(f"its embedding is not {DIMENSIONS} numbers")
    return vector


def _bindings(space: Space) -> Iterable[dict[str, Any]]:
    for row in space.bindings.live_rows(0):
        memory = space.at(int(space.bindings.episode[row]))
        strength = float(space.bindings.strength[row])
        yield {
            "episode_id": memory.id if memory else None,
            "concept_id": space.concepts.name_of(int(space.bindings.concept[row])),
            "space": space.name,
            "strength": strength if math.isfinite(strength) else None,
        }
