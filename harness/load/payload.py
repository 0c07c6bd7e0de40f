"""What is stored and what it is asked for with: seeded, pre-serialised, recognisable.

Everything is a pure function of the seed. A memory's embedding depends on its item alone (never on its version or
space); its content names item, version and space, so that any answer tells which write it shows and whether it came
from the right space. The preload writes version 1 (:data:`PRELOAD_VERSION`); arrival ``i`` of the schedule, where it
is a store, writes version ``i + 2`` (:func:`version_of`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import orjson

from harness.model import Cue
from harness.scenario.workload import Clustered, HotSpot, Workload

PRELOAD_VERSION = 1
_BANK_BYTES = 96 * 1024 * 1024
_DECIMALS = 5  # components of a unit vector of 768 are near 0.036: five decimals keep its cosine to 1e-7
_CENTRE, _ITEM, _PARTIAL, _NOISY = 1, 2, 3, 4

Vector = npt.NDArray[np.float32]


def version_of(sequence: int) -> int:
    """The version that the store at ``sequence`` of the schedule writes."""
    return sequence + 2


def memory_id(item: int) -> str:
    """The id a memory is stored under, in every space."""
    return f"m-{item:05d}"


def user_id(user: int) -> str:
    """What ``x-user-id`` names a user."""
    return f"user-{user:05d}"


def space_name(space: int, spaces: int = 2) -> str:
    """The name of a memory space; a workload of one space uses the target's default (as the public build's does)."""
    return "default" if spaces == 1 else f"space_{space}"


_CONTENT = re.compile(r"m-(\d{5,9}) v(\d{1,10}) s(\d{1,4}) ")


def parse_content(text: str) -> tuple[int, int] | None:
    """(item, version) of a content this package wrote, or None for anything else."""
    found = _CONTENT.match(text)
    return (int(found[1]), int(found[2])) if found else None


def parse_origin(text: str) -> tuple[int, int, int] | None:
    """(item, version, space) of a content this package wrote, or None for anything else."""
    found = _CONTENT.match(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


class PayloadBank:
    """Vectors and texts of a workload, serialised once and kept up to a fixed number of bytes."""

    def __init__(self, workload: Workload, seed: int) -> None:
        self._workload = workload
        self._key = np.random.SeedSequence([seed, 0x656E6772]).generate_state(2, np.uint64)
        self._mix = int(self._key[0])
        self._bank: dict[tuple[int, int], bytes] = {}
        self._banked = 0

    def embedding(self, item: int) -> Vector:
        """The vector of an item: norm 1 (to 1e-4), components of five decimals."""
        data = self._workload.data
        shape = data.distribution
        if isinstance(shape, Clustered):
            centre = _unit(self._normal(_CENTRE, item % shape.num_clusters))
            return _rounded(_around(centre, self._normal(_ITEM, item), shape.noise_norm))
        if isinstance(shape, HotSpot):
            centre = np.zeros(data.embedding_dim)
            centre[: len(shape.center)] = shape.center
            return _rounded(_around(_unit(centre), self._normal(_ITEM, item), 0.3))
        return _rounded(_unit(self._normal(_ITEM, item)))

    def cue_embedding(self, item: int, cue: int) -> Vector:
        """What a recall of ``item`` asks with: the vector, part of it (the rest zero), or a noisy copy."""
        vector = self.embedding(item)
        if cue == Cue.PARTIAL:
            kept = self._kept(item)
            return np.where(kept, vector, np.float32(0.0)).astype(np.float32)
        if cue == Cue.NOISY:
            noise = _unit(self._normal(_NOISY, item)) * self._workload.noise
            return _rounded(_unit(vector + noise))
        return vector

    def vector_json(self, item: int, cue: int) -> bytes:
        """A cue's vector as a JSON array with the fewest digits float32 needs; EXACT is the stored vector."""
        return self._banked_text((item, cue), lambda: _json(self.cue_embedding(item, cue)))

    def partial_json(self, item: int) -> bytes:
        """The partial cue as pattern completion wants it: null where a component is unknown."""
        return self._banked_text((item, -1), lambda: self._with_nulls(item))

    def words(self, item: int) -> str:
        """Three words shared by the item's cluster, then three of its own."""
        shape = self._workload.data.distribution
        clusters = shape.num_clusters if isinstance(shape, Clustered) else 1
        topic, own = _scramble(self._mix ^ (item % clusters)), _scramble(self._mix ^ (item + (1 << 40)))
        return " ".join(_word((value >> shift) & 0xFFF) for value in (topic, own) for shift in (0, 12, 24))

    def query(self, item: int) -> str:
        """The words a text recall of ``item`` asks with: its id and all of its words."""
        return f"{memory_id(item)} {self.words(item)}"

    def query_encoded(self, item: int) -> bytes:
        """:meth:`query`, as it stands in a URL."""
        return self._banked_text((item, -2), lambda: quote(self.query(item)).encode())

    def content(self, item: int, version: int, space: int = 0) -> str:
        """The text stored for one version of an item in one space."""
        return f"{memory_id(item)} v{version} s{space} {self.words(item)}"

    def remember_body(self, item: int, version: int, space: int) -> bytes:
        """The JSON body that stores one version."""
        content = self.content(item, version, space)
        head = f'{{"id":"{memory_id(item)}","content":"{content}","confidence":0.9,"memory_type":"episodic",'
        return b'%b"embedding":%b}' % (head.encode(), self.vector_json(item, Cue.EXACT))

    def warm(self) -> None:
        """Serialise what the first requests will need, so that none of them waits for it."""
        cues = self._workload.cues
        kinds = [Cue.EXACT]
        kinds += [kind for kind, share in ((Cue.PARTIAL, cues.partial), (Cue.NOISY, cues.noisy)) if share > 0]
        # 2,000 items take about half a second; where there are more, the rest is made when it is first asked for.
        for item in range(min(self._workload.data.num_nodes, 2000)):
            for kind in kinds:
                self.vector_json(item, kind)

    def _banked_text(self, key: tuple[int, int], make: Callable[[], bytes]) -> bytes:
        text = self._bank.get(key)
        if text is None:
            text = make()
            self._bank[key] = text
            self._banked += len(text)
            while self._banked > _BANK_BYTES:
                oldest = next(iter(self._bank))
                self._banked -= len(self._bank.pop(oldest))
        return text

    def _with_nulls(self, item: int) -> bytes:
        values = self.embedding(item).astype(object)
        values[~self._kept(item)] = None
        return orjson.dumps([None if value is None else round(float(value), _DECIMALS) for value in values])

    def _kept(self, item: int) -> npt.NDArray[np.bool_]:
        """Which components a partial cue keeps: the same number for every item."""
        size = self._workload.data.embedding_dim
        order = self._random(_PARTIAL, item).random(size).argsort(kind="stable")
        kept = np.zeros(size, dtype=bool)
        kept[order[: max(1, round(size * self._workload.partial_keep))]] = True
        return kept

    def _normal(self, stream: int, index: int) -> npt.NDArray[np.float64]:
        return self._random(stream, index).standard_normal(self._workload.data.embedding_dim)

    def _random(self, stream: int, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self._key, counter=[0, 0, index, stream]))


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def _around(centre: npt.NDArray[np.float64], draw: npt.NDArray[np.float64], norm: float) -> npt.NDArray[np.float64]:
    """A unit vector at a fixed angle from ``centre``: the noise is orthogonal to it and of exactly ``norm``."""
    across = draw - centre * float(draw @ centre)
    return _unit(centre + _unit(across) * norm)


def _rounded(vector: npt.NDArray[np.float64]) -> Vector:
    return np.round(vector, _DECIMALS).astype(np.float32)


def _json(vector: Vector) -> bytes:
    return orjson.dumps(np.ascontiguousarray(vector), option=orjson.OPT_SERIALIZE_NUMPY)


def _scramble(value: int) -> int:
    """SplitMix64's finaliser: spreads neighbouring numbers over 64 bits."""
    value = (value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


_SYLLABLES = ("ba", "do", "fi", "ga", "ke", "lu", "mo", "na", "pe", "ri", "sa", "tu", "ve", "wo", "ya", "zi")


def _word(number: int) -> str:
    """One of 4,096 words that can be spoken."""
    return _SYLLABLES[number & 15] + _SYLLABLES[(number >> 4) & 15] + _SYLLABLES[(number >> 8) & 15]
