"""One memory space: its memories, their vectors and words, its concepts and bindings. Spaces share nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.reference.bindings import BindingIndex
from harness.reference.concepts import ConceptTable
from harness.reference.memory import DIMENSIONS, Memory, Vector
from harness.reference.text import Lexicon, derived_embedding, tokens

Hits = list[tuple[int, float]]
"""Slots with their similarity to a cue, best first."""


class Space:
    """Memories by id, each in a slot that indexes the vector table, the lexicon and the bindings."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lexicon = Lexicon()
        self.bindings = BindingIndex()
        self.concepts = ConceptTable(name)
        self.dirty: set[int] = set()
        """Slots consolidation has not seen in their present state."""
        self.units: NDArray[np.float32] = np.zeros((64, DIMENSIONS), dtype=np.float32)
        """Unit vectors by slot; a freed slot is zero and so resembles nothing."""
        self.stamps: list[int] = []
        """Counts the changes of each slot, so that work done on an older state can be told."""
        self._at: list[Memory | None] = []
        self._slots: dict[str, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Memory]:
        return (memory for memory in self._at if memory is not None)

    def get(self, memory_id: str) -> Memory | None:
        """The memory called ``memory_id``, if there is one."""
        slot = self._slots.get(memory_id)
        return None if slot is None else self._at[slot]

    def at(self, slot: int) -> Memory | None:
        """The memory in ``slot``, if it is taken."""
        return self._at[slot] if slot < len(self._at) else None

    def slot_of(self, memory_id: str) -> int | None:
        """Where ``memory_id`` is kept."""
        return self._slots.get(memory_id)

    def put(self, memory: Memory) -> None:
        """Store ``memory``, replacing what its id held."""
        slot = self._slots.get(memory.id)
        if slot is None:
            slot = self._free.pop() if self._free else self._grow()
            self._slots[memory.id] = slot
        self._at[slot] = memory
        words = tokens(memory.content)
        self.lexicon.put(slot, words)
        self.units[slot] = derived_embedding(words) if memory.embedding is None else unit(memory.embedding)
        self.stamps[slot] += 1
        self.dirty.add(slot)

    def delete(self, memory_id: str) -> bool:
        """Forget ``memory_id`` and unbind it; tell whether it was there."""
        slot = self._slots.pop(memory_id, None)
        if slot is None:
            return False
        self._at[slot] = None
        self.lexicon.remove(slot)
        self.units[slot] = 0.0
        self.stamps[slot] += 1
        self.dirty.discard(slot)
        self.concepts.touched |= self.bindings.unbind(slot)
        self.concepts.unassigned.discard(slot)
        self._free.append(slot)
        return True

    def nearest(self, cue: Vector, limit: int, floor: float) -> Hits:
        """The ``limit`` memories most like the unit vector ``cue``, cosine at least ``floor``."""
        used = len(self._at)
        if not used:
            return []
        cosines = self.units[:used] @ cue
        best = np.argpartition(cosines, used - limit)[used - limit :] if used > limit else np.arange(used)
        ranked = best[np.argsort(-cosines[best])]
        return [
            (slot, min(1.0, cosine))
            for slot, cosine in zip(ranked.tolist(), cosines[ranked].tolist(), strict=True)
            if cosine >= floor and self._at[slot] is not None
        ]

    def _grow(self) -> int:
        slot = len(self._at)
        if slot == len(self.units):
            # A new array, never a resize: consolidation's thread may still be reading the old one.
            self.units = np.concatenate((self.units, np.zeros_like(self.units)))
        self._at.append(None)
        self.stamps.append(0)
        return slot


def unit(vector: Vector) -> Vector:
    """``vector`` scaled to length 1; the zero vector stays as it is."""
    length = float(np.sqrt(np.dot(vector, vector)))
    return vector / np.float32(length) if length > 0 else vector
