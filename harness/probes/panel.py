"""A panel of memories nobody else touches, asked the same questions again and again.

The load replaces its memories all the time, so its answers change by themselves. These are stored once, and each
question's answer has a clear order: its memories' similarities lie a tenth apart. What changes is the service.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np

from harness.clock import Clock
from harness.engram.client import EngramClient
from harness.probes.poller import Poller, Reading

SPACE = "harness-panel"
MEMORIES = 200
QUESTIONS = 12
_ASKED_FOR = 8  # memories a question is made of
_READ_PER_LOOK = 20
_DIMENSIONS = 768
_SEED = 20251120
_THRESHOLD = 0.1
_INTERVAL_S = 0.5


def _vectors() -> tuple[np.ndarray, np.ndarray]:
    """Near-orthogonal memories (the public build merges what is closer than 0.95), and questions made of eight each."""
    drawn = np.random.default_rng(_SEED).standard_normal((_DIMENSIONS, MEMORIES))
    memories = np.linalg.qr(drawn)[0].T
    weights = np.array([1.0 - 0.1 * place for place in range(_ASKED_FOR)])
    questions = np.stack([weights @ memories[first * 8 : first * 8 + _ASKED_FOR] for first in range(QUESTIONS)])
    return memories, questions / np.linalg.norm(questions, axis=1, keepdims=True)


def panel_id(number: int) -> str:
    """The id of a memory of the panel."""
    return f"panel-{number:03d}"


def panel_content(number: int) -> str:
    """Its content, which never changes."""
    return f"panel memory {number:03d}"


def store_panel(client: EngramClient) -> None:
    """Store the panel (again: the same bytes). Raises :class:`~harness.errors.TargetError`."""
    memories, _ = _vectors()
    for number in range(MEMORIES):
        vector = [round(float(value), 7) for value in memories[number]]
        client.remember(panel_content(number), memory_id=panel_id(number), embedding=vector, space=SPACE)


def panel_probe(client: EngramClient, folder: Path, clock: Clock) -> Poller:
    """Asks every question, and reads some of the memories by their ids, twice a second.

    A reading holds ``answers`` (per question, ids in order), ``scores`` beside them, ``read`` (how many were read)
    and ``damaged`` (ids that are gone or hold something else).
    """
    questions = [[round(float(value), 7) for value in question] for question in _vectors()[1]]
    turn = count()

    def look() -> Reading:
        answers, scores = [], []
        for question in questions:
            found = client.recall(embedding=question, max_results=10, threshold=_THRESHOLD, space=SPACE)
            answers.append([str(memory.get("id")) for memory in found.memories])
            scores.append([_score(memory) for memory in found.memories])
        first = next(turn) * _READ_PER_LOOK
        damaged = []
        for number in (place % MEMORIES for place in range(first, first + _READ_PER_LOOK)):
            memory = client.memory(panel_id(number), SPACE)
            if memory is None or memory.get("content") != panel_content(number):
                damaged.append(panel_id(number))
        return {"answers": answers, "scores": scores, "read": _READ_PER_LOOK, "damaged": damaged}

    return Poller("panel", look, folder, _INTERVAL_S, clock)


def _score(memory: dict[str, object]) -> float | None:
    value = memory.get("similarity_score")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
