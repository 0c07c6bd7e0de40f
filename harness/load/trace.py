"""A trace of the public build as a load: packed once, mapped by every load process, sent at its own instants.

Vectors stay binary until a request is built, so a trace costs 3 KB an operation on disk and nothing in memory. A store
gets the id and the content of its place in the trace (the trace has neither), so that its answer can be checked; a
recall or search asks for whatever is near, so nothing is expected to be found. A completion's numbers stand at every
other component, as the public tool places them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from harness.errors import ConfigError, LoadError
from harness.load.answers import Reading, read_answer
from harness.load.arrivals import Arrivals, Planned
from harness.load.payload import memory_id
from harness.load.plan import LoadPlan, ProcessPlan
from harness.model import Cue, Found, Op
from harness.scenario.arrival import Constant
from harness.scenario.trace import DIMENSIONS, TraceEntry
from harness.scenario.workload import Data, Operations, Uniform, Workload

MAGIC = b"ENGRTRC1"
_COUNT = struct.Struct("<q")
_HEAD = len(MAGIC) + _COUNT.size
ROW = np.dtype(
    [
        ("offset_s", "<f8"),
        ("confidence", "<f4"),
        ("threshold", "<f4"),
        ("space", "<u2"),
        ("results", "<u2"),
        ("size", "<u2"),
        ("op", "u1"),
        ("vector", "<f4", (DIMENSIONS,)),
    ]
)
_MOST = 5_000_000  # rows: 15 GB
_MOST_SPACES = 1000  # as many as a workload may have


@dataclass(frozen=True)
class PackedTrace:
    """What :func:`pack_trace` wrote: the names of the spaces by index, and the load it is, as a workload."""

    path: Path
    spaces: tuple[str, ...]
    workload: Workload


def pack_trace(entries: Iterable[TraceEntry], path: Path, name: str, *, speed: float = 1.0) -> PackedTrace:
    """Pack a trace into ``path``: offsets from the first operation on, in order of time, divided by ``speed``.

    Raises :class:`ConfigError` for a trace that is empty or too long, :class:`LoadError` where it cannot be written.
    """
    spaces: dict[str, int] = {}
    count = 0
    try:
        with path.open("wb") as file:
            file.write(MAGIC + _COUNT.pack(0))
            for entry in entries:
                if len(spaces) > _MOST_SPACES:
                    raise ConfigError(f"names more than {_MOST_SPACES:,} spaces", where=name)
                file.write(_row(entry, spaces.setdefault(entry.space, len(spaces))).tobytes())
                count += 1
                if count > _MOST:
                    raise ConfigError(f"holds more than {_MOST:,} operations", where=name)
            file.seek(len(MAGIC))
            file.write(_COUNT.pack(count))
        if not count:
            raise ConfigError("holds no operation", where=name)
        rows = np.memmap(path, ROW, "r+", offset=_HEAD, shape=(count,))
    except OSError as error:
        raise LoadError(f"cannot pack the trace: {error.strerror}", where=str(path)) from error
    at = (rows["offset_s"] - rows["offset_s"].min()) / speed
    rows["offset_s"] = at
    if (np.diff(at) < 0).any():
        rows[:] = rows[np.argsort(at, kind="stable")]
    rows.flush()
    return PackedTrace(path, tuple(spaces), _workload(rows, name))


def _row(entry: TraceEntry, space: int) -> npt.NDArray[np.void]:
    row = np.zeros(1, ROW)
    row["offset_s"], row["op"], row["space"] = entry.at_ms / 1000, entry.op, space
    row["confidence"], row["threshold"], row["results"] = entry.confidence, entry.threshold, entry.results
    row["size"] = len(entry.vector)
    row["vector"][0, : len(entry.vector)] = entry.vector
    return row


def _workload(rows: npt.NDArray[np.void], name: str) -> Workload:
    """The trace's mix and its busiest second, which is what the number of slots follows from."""
    last = float(rows["offset_s"][-1])
    busiest = np.bincount(rows["offset_s"].astype(np.int64)).max()
    counts = np.bincount(rows["op"], minlength=4).astype(float).tolist()
    return Workload(
        name=name,
        description="a trace of the public build",
        duration_s=max(0.001, last),
        arrival=Constant(float(max(1.0, busiest))),
        operations=Operations(*counts[:4]),
        data=Data(len(rows), DIMENSIONS, 1, Uniform()),
        users=1,
    )


class TraceArrivals:
    """The instants of a packed trace, as :class:`~harness.load.arrivals.Arrivals` tells those of a schedule."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
            if len(head) < _HEAD or not head.startswith(MAGIC):
                raise LoadError("is no packed trace", where=str(path))
            self.rows = np.memmap(path, ROW, "r", offset=_HEAD, shape=(_COUNT.unpack(head[len(MAGIC) :])[0],))
        except (OSError, ValueError) as error:
            raise LoadError(f"cannot read the packed trace: {error}", where=str(path)) from error
        self._at = np.array(self.rows["offset_s"])

    def stream(self, process: int = 0, processes: int = 1) -> Iterator[Planned]:
        """The operations of one process, in order, to the end of the trace."""
        mine = slice(process, None, processes)
        numbers = range(process, len(self._at), processes)
        columns = zip(
            numbers, self._at[mine].tolist(), self.rows["op"][mine].tolist(), self.rows["space"][mine].tolist(),
            strict=True,
        )  # fmt: skip
        for number, offset, op, space in columns:
            asks = op in (Op.RECALL, Op.EMBEDDING_SEARCH)
            cue = Cue.EXACT if asks else Cue.PARTIAL if op == Op.PATTERN_COMPLETION else Cue.NONE
            yield (number, offset, op, 0, number, space, int(cue))

    def count_before(self, offset_s: float) -> int:
        """How many operations are due before ``offset_s`` seconds."""
        return int(np.searchsorted(self._at, offset_s, side="left")) if offset_s > 0 else 0

    def digest(self, count: int) -> str:
        """SHA-256 over the first ``count`` operations, vectors included."""
        total = hashlib.sha256()
        for first in range(0, count, 4096):
            total.update(self.rows[first : min(count, first + 4096)].tobytes())
        return total.hexdigest()


def arrivals_of(plan: LoadPlan | ProcessPlan) -> Arrivals | TraceArrivals:
    """When what is due. Raises :class:`LoadError` for a trace that cannot be read."""
    return TraceArrivals(plan.trace) if plan.trace is not None else Arrivals(plan.seed, plan.workload)


class TraceRequests:
    """Builds a packed trace's requests, and reads their answers."""

    def __init__(self, arrivals: TraceArrivals, spaces: tuple[str, ...], prefix: str, common: str) -> None:
        self._rows = arrivals.rows
        self._prefix = prefix.encode()
        self._common = [f"{common}x-memory-space: {name}\r\n".encode() for name in spaces]

    def build(self, op: int, item: int, space: int, user: int, cue: int, version: int) -> bytes:
        """The request at place ``item`` of the trace."""
        row, common = self._rows[item], self._common[space]
        if op == Op.STORE:
            content = f"{memory_id(item)} v{version} s{space} from a trace"
            return self._post(
                b"/api/v1/memories/remember",
                {
                    "id": memory_id(item),
                    "content": content,
                    "confidence": float(row["confidence"]),
                    "memory_type": "episodic",
                    "embedding": _plain(row),
                },
                common,
            )
        if op == Op.PATTERN_COMPLETION:
            spread: list[float | None] = [None] * DIMENSIONS
            spread[0 : 2 * int(row["size"]) : 2] = list(_plain(row))  # float32 still: the fewest digits
            partial = {"known_fields": {}, "partial_embedding": spread, "cue_strength": 0.8}
            return self._post(b"/api/v1/complete", {"partial_episode": partial}, common)
        numbers = orjson.dumps(_plain(row), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        tail = b"&max_results=%d&threshold=%.4f&include_metadata=true" % (row["results"], row["threshold"])
        path = b"%b/api/v1/memories/recall?embedding=%%5B%b%%5D%b" % (self._prefix, numbers, tail)
        return b"GET %b HTTP/1.1\r\n%b\r\n" % (path, common)

    def _post(self, path: bytes, body: dict[str, Any], common: bytes) -> bytes:
        data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        head = b"POST %b%b HTTP/1.1\r\n%bContent-Type: application/json\r\n" % (self._prefix, path, common)
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(data), data)


def read_trace_answer(op: int, status: int, body: bytes, item: int, space: int, version: int) -> Reading:
    """As :func:`~harness.load.answers.read_answer`, where nothing is expected to be found."""
    reading = read_answer(op, status, body, item, space, version)
    if op in (Op.RECALL, Op.EMBEDDING_SEARCH):
        return reading._replace(found=int(Found.NOT_ASKED), rank=0, answered=False)  # nobody is asked it twice
    return reading


def _plain(row: np.void) -> npt.NDArray[np.float32]:
    vector: npt.NDArray[np.float32] = np.ascontiguousarray(row["vector"][: int(row["size"])])
    return vector
