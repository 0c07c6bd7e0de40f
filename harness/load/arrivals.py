"""The open-loop schedule: when each request is due and what it is about.

A pure function of (seed, workload). Draws come in chunks of fixed size, each from its own counter of a Philox
generator, so neither the number of processes nor where a reader starts changes a byte. Process ``p`` of ``P`` takes
every arrival whose index ``i`` has ``i % P == p``.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.model import Cue, Op
from harness.scenario.arrival import Constant, PeriodicBurst
from harness.scenario.workload import Workload

CHUNK = 4096
_GAPS, _CHOICES = 1, 2  # which stream of draws a counter belongs to

# (sequence, offset in seconds, op, user, item, space, cue)
Planned = tuple[int, float, int, int, int, int, int]


@dataclass(frozen=True)
class Chunk:
    """:data:`CHUNK` arrivals in a row, as columns."""

    first: int
    offset_s: npt.NDArray[np.float64]
    op: npt.NDArray[np.uint8]
    user: npt.NDArray[np.uint32]
    item: npt.NDArray[np.uint32]
    space: npt.NDArray[np.uint16]
    cue: npt.NDArray[np.uint8]


class Arrivals:
    """The whole schedule; infinite, computed as it is read."""

    def __init__(self, seed: int, workload: Workload) -> None:
        self._key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        self._workload = workload
        self._op_edges = np.cumsum(workload.operations.shares())[:-1]
        self._cue_edges = np.cumsum(workload.cues.shares())[:-1]
        # Where each chunk of a random process begins, which takes the gaps of all chunks before it.
        self._starts = [0.0]

    def offsets(self, chunk: int) -> npt.NDArray[np.float64]:
        """Seconds from arrival 0's origin at which the arrivals of a chunk are due; never decreasing."""
        arrival = self._workload.arrival
        index = np.arange(chunk * CHUNK, (chunk + 1) * CHUNK, dtype=np.float64)
        if isinstance(arrival, Constant):
            return index / arrival.rate
        if isinstance(arrival, PeriodicBurst):
            return _burst_offsets(arrival, index)
        while len(self._starts) <= chunk:
            known = len(self._starts) - 1
            self._starts.append(self._starts[known] + float(self._gaps(known).sum()))
        gaps = self._gaps(chunk)
        return self._starts[chunk] + np.cumsum(gaps)

    def chunk(self, chunk: int) -> Chunk:
        """The arrivals ``chunk * CHUNK`` and on."""
        draws = self._random(_CHOICES, chunk).random((CHUNK, 5))
        workload, data = self._workload, self._workload.data
        op = np.searchsorted(self._op_edges, draws[:, 0], side="right").astype(np.uint8)
        cue = (np.searchsorted(self._cue_edges, draws[:, 4], side="right") + int(Cue.TEXT)).astype(np.uint8)
        cue[(op == Op.STORE) | (op == Op.DELETE)] = Cue.NONE
        cue[op == Op.EMBEDDING_SEARCH] = Cue.EXACT
        cue[op == Op.PATTERN_COMPLETION] = Cue.PARTIAL
        return Chunk(
            first=chunk * CHUNK,
            offset_s=self.offsets(chunk),
            op=op,
            user=_below(draws[:, 1], workload.users).astype(np.uint32),
            item=_below(draws[:, 2], data.num_nodes).astype(np.uint32),
            space=_below(draws[:, 3], data.memory_spaces).astype(np.uint16),
            cue=cue,
        )

    def stream(self, process: int = 0, processes: int = 1) -> Iterator[Planned]:
        """The arrivals of one process, in order, without end."""
        for number in itertools.count():
            part = self.chunk(number)
            skip = (process - part.first) % processes
            columns = (part.offset_s, part.op, part.user, part.item, part.space, part.cue)
            rows = (column[skip::processes].tolist() for column in columns)
            yield from zip(range(part.first + skip, part.first + CHUNK, processes), *rows, strict=True)

    def count_before(self, offset_s: float) -> int:
        """How many arrivals of all processes are due before ``offset_s`` seconds."""
        if offset_s <= 0:
            return 0
        chunk = self._last_chunk_starting_before(offset_s)
        return chunk * CHUNK + int(np.searchsorted(self.offsets(chunk), offset_s, side="left"))

    def digest(self, count: int) -> str:
        """SHA-256 over the first ``count`` arrivals: what two runs must share to have had the same load."""
        total = hashlib.sha256()
        for number in range(math.ceil(count / CHUNK)):
            part = self.chunk(number)
            keep = min(CHUNK, count - part.first)
            for column in (part.offset_s, part.op, part.user, part.item, part.space, part.cue):
                total.update(np.ascontiguousarray(column[:keep]).tobytes())
        return total.hexdigest()

    def _last_chunk_starting_before(self, offset_s: float) -> int:
        guess = int(offset_s * self._workload.arrival.mean_rate) // CHUNK
        while guess > 0 and self.offsets(guess)[0] >= offset_s:
            guess -= 1
        while self.offsets(guess)[-1] < offset_s:
            guess += 1
        return guess

    def _gaps(self, chunk: int) -> npt.NDArray[np.float64]:
        return self._random(_GAPS, chunk).standard_exponential(CHUNK) / self._workload.arrival.mean_rate

    def _random(self, stream: int, chunk: int) -> np.random.Generator:
        # The counter's low words stay free for the draws of one chunk; its high words say which chunk it is.
        return np.random.Generator(np.random.Philox(key=self._key, counter=[0, 0, chunk, stream]))


def _below(draws: npt.NDArray[np.float64], limit: int) -> npt.NDArray[np.int64]:
    return np.minimum((draws * limit).astype(np.int64), limit - 1)


def _burst_offsets(arrival: PeriodicBurst, index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse of the cumulative rate: the burst stands at the start of every period."""
    in_burst = arrival.burst_rate * arrival.burst_duration_s
    a_period = arrival.mean_rate * arrival.burst_period_s
    period = np.floor(index / a_period)
    rest = index - period * a_period
    within = np.where(
        rest < in_burst,
        rest / arrival.burst_rate,
        arrival.burst_duration_s + (rest - in_burst) / arrival.base_rate,
    )
    return period * arrival.burst_period_s + within
