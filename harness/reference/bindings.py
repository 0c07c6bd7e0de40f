"""The binding index of one space: which episode belongs to which concept, and how strongly.

Columns, not objects: recall reads a few hundred strengths at a time, and counting the invalid ones must cost
microseconds. Every strength has a good copy beside it, which is what a restore brings back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)
_INVALID = (math.nan, -0.25, 1.75)


class BindingIndex:
    """Episode slot -> concept number, with a strength in [0, 1]."""

    def __init__(self) -> None:
        self.episode = np.zeros(64, dtype=np.int64)
        self.concept = np.zeros(64, dtype=np.int64)
        self.strength = np.zeros(64, dtype=np.float64)
        self.episode_fan = np.zeros(64, dtype=np.int64)
        """How many concepts each episode slot is bound to."""
        self._good = np.zeros(64, dtype=np.float64)
        self._live = np.zeros(64, dtype=np.bool_)
        self._free: list[int] = []
        self._used = 0
        self._by_episode: dict[int, dict[int, int]] = {}
        self._by_concept: dict[int, dict[int, int]] = {}
        self._rows: dict[int, Rows] = {}

    def __len__(self) -> int:
        return self._used - len(self._free)

    def concepts_of(self, slot: int) -> dict[int, int]:
        """Concept number -> row, for one episode."""
        return self._by_episode.get(slot, {})

    def members_of(self, concept: int) -> dict[int, int]:
        """Episode slot -> row, for one concept."""
        return self._by_concept.get(concept, {})

    def rows_of(self, concept: int) -> Rows:
        """The rows of one concept, as an array kept until they change."""
        rows = self._rows.get(concept)
        if rows is None:
            members = self._by_concept.get(concept)
            if not members:
                return _NO_ROWS
            rows = np.fromiter(members.values(), dtype=np.int64, count=len(members))
            self._rows[concept] = rows
        return rows

    def rebind(self, slot: int, wanted: Sequence[tuple[int, float]]) -> int:
        """Bind ``slot`` to exactly ``wanted``, concept and strength; answer how many bindings are new.

        A binding that stays keeps a corrupted strength: consolidation knows only what ought to be there, and a fault
        which heals itself behind the injector's back could not be measured.
        """
        held = self._by_episode.get(slot, {})
        keep = dict(wanted)
        for concept in [c for c in held if c not in keep]:
            self._remove(slot, concept)
        created = 0
        for concept, strength in wanted:
            row = held.get(concept)
            if row is None:
                self._add(slot, concept, strength)
                created += 1
            else:
                corrupted = self.strength[row] != self._good[row]
                self._good[row] = strength
                if not corrupted:
                    self.strength[row] = strength
        return created

    def unbind(self, slot: int) -> set[int]:
        """Drop every binding of ``slot``; answer the concepts that lost a member."""
        lost = set(self._by_episode.get(slot, {}))
        self.rebind(slot, ())
        return lost

    def dissolve(self, concept: int) -> list[int]:
        """Drop every binding of ``concept``; answer the slots that were bound to it."""
        slots = list(self._by_concept.get(concept, {}))
        for slot in slots:
            self._remove(slot, concept)
        self._rows.pop(concept, None)
        return slots

    def invalid_rows(self) -> Rows:
        """The live bindings whose strength is NaN or outside [0, 1]."""
        strength = self.strength[: self._used]
        valid = (strength >= 0.0) & (strength <= 1.0)
        return np.flatnonzero(self._live[: self._used] & ~valid)

    def corrupt(self, share: float, random: Random) -> int:
        """Give a drawn ``share`` of the bindings (at least one, if there are any) invalid strengths in place."""
        rows = np.flatnonzero(self._live[: self._used])
        if not len(rows) or share <= 0:
            return 0
        chosen = random.sample(rows.tolist(), max(1, round(share * len(rows))))
        for i, row in enumerate(chosen):
            self.strength[row] = _INVALID[i % len(_INVALID)]
        return len(chosen)

    def restore(self, share: float = 1.0) -> int:
        """Bring back ``share`` of the corrupted strengths from their good copies; answer how many."""
        live = self._live[: self._used]
        # NaN differs from everything, itself included, so this also finds the NaNs.
        rows = np.flatnonzero(live & (self.strength[: self._used] != self._good[: self._used]))
        rows = rows[: math.ceil(share * len(rows))] if share < 1.0 else rows
        self.strength[rows] = self._good[rows]
        return len(rows)

    def live_rows(self, start: int) -> Iterator[int]:
        """Live rows from ``start`` on, in order."""
        return (int(r) for r in np.flatnonzero(self._live[start : self._used]) + start)

    def _add(self, slot: int, concept: int, strength: float) -> None:
        row = self._free.pop() if self._free else self._grow()
        self.episode[row], self.concept[row] = slot, concept
        self.strength[row] = self._good[row] = strength
        self._live[row] = True
        self._by_episode.setdefault(slot, {})[concept] = row
        self._by_concept.setdefault(concept, {})[slot] = row
        self._rows.pop(concept, None)
        if slot >= len(self.episode_fan):
            self.episode_fan = np.resize(self.episode_fan, max(slot + 1, 2 * len(self.episode_fan)))
            self.episode_fan[:] = 0
            for bound, concepts in self._by_episode.items():
                self.episode_fan[bound] = len(concepts)
        self.episode_fan[slot] = len(self._by_episode[slot])

    def _grow(self) -> int:
        if self._used == len(self.episode):
            for name in ("episode", "concept", "strength", "_good", "_live"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate((column, np.zeros_like(column))))
        self._used += 1
        return self._used - 1

    def _remove(self, slot: int, concept: int) -> None:
        row = self._by_episode[slot].pop(concept)
        if not self._by_episode[slot]:
            del self._by_episode[slot]
        del self._by_concept[concept][slot]
        if not self._by_concept[concept]:
            del self._by_concept[concept]
        self._live[row] = False
        self._free.append(row)
        self._rows.pop(concept, None)
        self.episode_fan[slot] -= 1
