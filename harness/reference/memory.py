"""What is remembered, and how it is written to the log."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

DIMENSIONS = 768
Vector = NDArray[np.float32]

_PUT, _DELETE = 1, 2
_HEAD = Struct("<BI")


@dataclass(slots=True)
class Memory:
    """One memory as stored; replaced as a whole, never changed in place."""

    id: str
    space: str
    content: str
    confidence: float
    memory_type: str
    tags: tuple[str, ...]
    timestamp: str
    stored_at: str
    extras: dict[str, Any]
    embedding: Vector | None
    """As the client gave it; None when it is derived from the content."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """The end of a memory."""

    id: str
    space: str


def encode(record: Memory | Deletion) -> bytes:
    """A record as the payload of one log frame: a kind, JSON, and the embedding as raw float32."""
    if isinstance(record, Deletion):
        text = orjson.dumps({"i": record.id, "s": record.space})
        return _HEAD.pack(_DELETE, len(text)) + text
    text = orjson.dumps(
        {
            "i": record.id,
            "s": record.space,
            "c": record.content,
            "k": record.confidence,
            "t": record.memory_type,
            "g": record.tags,
            "w": record.timestamp,
            "o": record.stored_at,
            "x": record.extras,
        }
    )
    vector = b"" if record.embedding is None else record.embedding.tobytes()
    return _HEAD.pack(_PUT, len(text)) + text + vector


def decode(payload: bytes) -> Memory | Deletion:
    """The record in a frame's payload; ValueError when it is none of ours."""
    if len(payload) < _HEAD.size:
        raise ValueError("record too short")
    kind, length = _HEAD.unpack_from(payload)
    text = payload[_HEAD.size : _HEAD.size + length]
    if kind not in (_PUT, _DELETE) or len(text) != length:
        raise ValueError(f"record of unknown kind {kind}")
    data = orjson.loads(text)
    if kind == _DELETE:
        return Deletion(data["i"], data["s"])
    raw = payload[_HEAD.size + length :]
    if len(raw) not in (0, DIMENSIONS * 4):
        raise ValueError(f"embedding of {len(raw)} bytes")
    embedding = np.frombuffer(raw, dtype="<f4").astype(np.float32) if raw else None
    return Memory(
        id=data["i"],
        space=data["s"],
        content=data["c"],
        confidence=data["k"],
        memory_type=data["t"],
        tags=tuple(data["g"]),
        timestamp=data["w"],
        stored_at=data["o"],
        extras=data["x"],
        embedding=embedding,
    )
