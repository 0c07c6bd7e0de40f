"""A latency histogram of fixed size, written by one process and read by others while it runs.

The layout is HdrHistogram's with two significant digits and a unit of 1 us: whole microseconds up to 256 us, then
128 steps per doubling up to more than 10 minutes, so a value read back (the middle of its step) is off by at most
0.4 %. :class:`HistogramWriter` records into memory it is given (a mapped file), :class:`Histogram` is what is read,
merged and asked for percentiles. Percentiles are never averaged: merge the histograms instead.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BUCKETS = 3072  # 256 + 22 doublings of 128: up to 2**30 us, which is 17.9 minutes
MAX_US = (1 << 30) - 1
UNIT_S = 1e-6
SIZE_BYTES = BUCKETS * 8

_HDR_V2 = 0x1C849303 | 0x10
_HDR_V2_COMPRESSED = 0x1C849304 | 0x10
_HDR_HEAD = struct.Struct(">iiiiqqd")
_HDR_WRAP = struct.Struct(">ii")
_SEVENS = np.arange(0, 64, 7, dtype=np.uint64)


class HistogramWriter:
    """Records durations into ``counts``, a view of :data:`BUCKETS` unsigned 64-bit counters, about 0.3 us each."""

    __slots__ = ("_counts",)

    def __init__(self, counts: memoryview) -> None:
        if len(counts) != BUCKETS or counts.itemsize != 8:
            raise ValueError(f"a histogram needs {BUCKETS} counters of 8 bytes")
        self._counts = counts

    def record(self, seconds: float) -> None:
        """Count one duration in seconds; below zero counts as zero, above the range as the last step."""
        us = int(seconds * 1e6)
        if us < 256:
            self._counts[us if us > 0 else 0] += 1
            return
        us = min(us, MAX_US)
        shift = us.bit_length() - 8
        self._counts[(shift << 7) + (us >> shift)] += 1


def _midpoints() -> npt.NDArray[np.float64]:
    """What each step stands for, in seconds: its middle (HDR's steps hold whole microseconds)."""
    index = np.arange(BUCKETS, dtype=np.int64)
    shift = np.maximum(index // 128 - 1, 0)
    low = np.where(index < 256, index, (index - shift * 128) << shift)
    width = np.int64(1) << shift
    return (low + width / 2.0) * UNIT_S


_MIDDLE = _midpoints()


class Histogram:
    """Counts of durations; immutable by convention: every operation gives a new one."""

    __slots__ = ("_counts",)

    def __init__(self, counts: npt.ArrayLike | None = None) -> None:
        array = np.zeros(BUCKETS, dtype=np.int64) if counts is None else np.array(counts, dtype=np.int64)
        if array.shape != (BUCKETS,):
            raise ValueError(f"a histogram has {BUCKETS} counters, not {array.shape}")
        self._counts = array

    @classmethod
    def from_buffer(cls, buffer: memoryview | bytes | bytearray, offset: int = 0) -> Histogram:
        """A copy of what a writer has recorded into ``buffer`` so far."""
        return cls(np.frombuffer(buffer, dtype=np.uint64, count=BUCKETS, offset=offset))

    @classmethod
    def of_seconds(cls, seconds: npt.ArrayLike) -> Histogram:
        """A histogram of durations in seconds; NaN is refused with ValueError."""
        values = np.asarray(seconds, dtype=np.float64).reshape(-1)
        if np.isnan(values).any():
            raise ValueError("NaN is not a duration")
        us = np.clip(values * 1e6, 0, MAX_US).astype(np.int64)
        shift = np.maximum(np.frexp(us.astype(np.float64))[1] - 8, 0)
        return cls(np.bincount((shift << 7) + (us >> shift), minlength=BUCKETS))

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """The sum of histograms; of none at all, an empty one."""
        total = np.zeros(BUCKETS, dtype=np.int64)
        for part in parts:
            total += part._counts
        return cls(total)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The counters, one per step."""
        return self._counts

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return int(self._counts.sum())

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self._counts + other._counts)

    def __sub__(self, earlier: Histogram) -> Histogram:
        """What was recorded since ``earlier``, a snapshot of the same histogram."""
        return Histogram(np.maximum(self._counts - earlier._counts, 0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and bool(np.array_equal(self._counts, other._counts))

    __hash__ = None  # type: ignore[assignment]

    def percentile(self, p: float) -> float:
        """The ``p``-th percentile (0..100) in seconds, within 0.4 %; NaN where nothing was recorded."""
        if not 0 <= p <= 100:
            raise ValueError(f"{p} is not a percentile")
        total = self.count
        if total == 0:
            return math.nan
        # The tolerance keeps 99.9 % of 1000 at rank 999 although 0.999 * 1000 is a hair above it in binary.
        rank = max(1, math.ceil(p / 100 * total - 1e-9 * total))
        return float(_MIDDLE[np.searchsorted(np.cumsum(self._counts), rank)])

    def share_above(self, seconds: float) -> float:
        """The share of durations longer than ``seconds`` (to a step's width); NaN where nothing was recorded."""
        total = self.count
        return float(self._counts[seconds < _MIDDLE].sum()) / total if total else math.nan

    def mean(self) -> float:
        """The mean in seconds; NaN where nothing was recorded."""
        total = self.count
        return float((self._counts * _MIDDLE).sum() / total) if total else math.nan

    def to_hdr(self) -> str:
        """HdrHistogram's V2 compressed payload in base64 (microseconds, two significant digits)."""
        used = np.flatnonzero(self._counts)
        gaps = np.diff(used, prepend=-1) - 1
        values = np.column_stack((-gaps, self._counts[used])).reshape(-1)
        body = _zigzag_bytes(values[values != 0])
        plain = _HDR_HEAD.pack(_HDR_V2, len(body), 0, 2, 1, MAX_US, 1.0) + body
        packed = zlib.compress(plain)
        return base64.b64encode(_HDR_WRAP.pack(_HDR_V2_COMPRESSED, len(packed)) + packed).decode()

    @classmethod
    def from_hdr(cls, payload: str) -> Histogram:
        """The inverse of :meth:`to_hdr`. Raises ValueError where it is no such payload."""
        try:
            raw = base64.b64decode(payload, validate=True)
            cookie, length = _HDR_WRAP.unpack_from(raw)
            if cookie != _HDR_V2_COMPRESSED:
                raise ValueError("not a compressed V2 histogram")
            plain = zlib.decompress(raw[_HDR_WRAP.size : _HDR_WRAP.size + length])
            head = _HDR_HEAD.unpack_from(plain)
        except (struct.error, zlib.error) as error:
            raise ValueError(f"not a histogram payload: {error}") from error
        if head[0] != _HDR_V2 or head[3] != 2 or head[4] != 1:
            raise ValueError("only V2 histograms of two significant digits and unit 1 are read")
        counts = np.zeros(BUCKETS, dtype=np.int64)
        position = 0
        for value in _zigzags(plain[_HDR_HEAD.size : _HDR_HEAD.size + head[1]]):
            if value < 0:
                position -= value
            elif position >= BUCKETS:
                raise ValueError("the histogram reaches beyond this one's range")
            else:
                counts[position] = value
                position += 1
        return cls(counts)


def _zigzag_bytes(values: npt.NDArray[np.int64]) -> bytes:
    rest = ((values << 1) ^ (values >> 63)).astype(np.uint64)[:, None] >> _SEVENS
    present = rest > 0
    present[:, 0] = True
    parts = (rest & 0x7F) | np.where(rest > 0x7F, 0x80, 0).astype(np.uint64)
    return parts[present].astype(np.uint8).tobytes()


def _zigzags(data: bytes) -> Iterable[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            continue
        yield (value >> 1) ^ -(value & 1)
        value = shift = 0
