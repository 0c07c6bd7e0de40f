"""The concepts of one space: centroids as a matrix, coherence and size beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.reference.memory import DIMENSIONS, Vector


@dataclass(slots=True)
class Concept:
    """What several alike episodes have in common."""

    number: int
    id: str
    centroid: Vector
    coherence: float
    size: int


@dataclass(slots=True)
class ConceptView:
    """Concepts as recall reads them; replaced as a whole when consolidation has changed something."""

    numbers: NDArray[np.int64]
    centroids: NDArray[np.float32]
    coherence: NDArray[np.float64]


class ConceptTable:
    """Concepts by number; numbers are never used twice."""

    def __init__(self, space: str) -> None:
        self.by_number: dict[int, Concept] = {}
        self.touched: set[int] = set()
        """Concepts whose members changed since consolidation last looked."""
        self.unassigned: set[int] = set()
        """Slots that resemble no concept yet."""
        self.view = ConceptView(np.empty(0, np.int64), np.empty((0, DIMENSIONS), np.float32), np.empty(0))
        self._space = space
        self._next = 0

    def __len__(self) -> int:
        return len(self.by_number)

    def create(self, centroid: Vector, coherence: float, size: int) -> Concept:
        """A new concept, not yet in the view."""
        concept = Concept(self._next, self.name_of(self._next), centroid, coherence, size)
        self.by_number[concept.number] = concept
        self._next += 1
        return concept

    def name_of(self, number: int) -> str:
        """The id of a concept, also of one that is gone by now."""
        return f"concept-{self._space}-{number}"

    def refresh(self) -> None:
        """Rebuild what recall reads."""
        concepts = list(self.by_number.values())
        self.view = ConceptView(
            np.array([c.number for c in concepts], dtype=np.int64),
            np.array([c.centroid for c in concepts], dtype=np.float32).reshape(len(concepts), DIMENSIONS),
            np.array([c.coherence for c in concepts], dtype=np.float64),
        )
