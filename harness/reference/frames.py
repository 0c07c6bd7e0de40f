"""Frames on disk: marker, length, CRC-32, payload; and how to tell a torn tail from damage.

A process that dies while appending leaves a last frame cut short. Anything else that does not check out (a valid
frame follows it) was once acknowledged and has been damaged since, and that is never passed over in silence.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

MAGIC = b"ENGRREF1"
_MARKER = b"\xe7\x47\xa3\x1d"
_HEADER = Struct("<4sII")
MAX_PAYLOAD = 16 * 1024 * 1024


def frame(payload: bytes) -> bytes:
    """``payload`` framed for the log."""
    return _HEADER.pack(_MARKER, len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True)
class Scan:
    """What reading a file of frames found."""

    good_until: int = len(MAGIC)
    """The offset after the last frame of the unbroken beginning, bytes."""
    torn_bytes: int = 0
    """Bytes of an unfinished last frame."""
    damage: list[tuple[int, int]] = field(default_factory=list)
    """Offset and length, bytes, of every stretch that holds no valid frame but is followed by one."""


def _valid_at(data: bytes, offset: int) -> int:
    """The end of the valid frame at ``offset``, or 0."""
    if offset + _HEADER.size > len(data):
        return 0
    marker, length, crc = _HEADER.unpack_from(data, offset)
    end = offset + _HEADER.size + int(length)
    if marker != _MARKER or length > MAX_PAYLOAD or end > len(data):
        return 0
    return end if zlib.crc32(data[offset + _HEADER.size : end]) == crc else 0


def read_frames(data: bytes, scan: Scan) -> Iterator[bytes]:
    """The payloads of all valid frames in ``data``, in order; ``scan`` says what lay between and after them."""
    if data[: len(MAGIC)] != MAGIC:
        if len(data) < len(MAGIC) and MAGIC.startswith(data):
            scan.good_until, scan.torn_bytes = 0, len(data)
            return
        scan.damage.append((0, len(MAGIC)))
    offset = len(MAGIC)
    while offset < len(data):
        end = _valid_at(data, offset)
        if end:
            yield data[offset + _HEADER.size : end]
            if not scan.damage:
                scan.good_until = end
            offset = end
            continue
        following = data.find(_MARKER, offset + 1)
        while following != -1 and not _valid_at(data, following):
            following = data.find(_MARKER, following + 1)
        if following == -1:
            scan.torn_bytes = len(data) - offset
            return
        scan.damage.append((offset, following - offset))
        offset = following
