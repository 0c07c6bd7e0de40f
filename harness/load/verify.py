"""What a read-back is asked to do and what it leaves behind; the supervisor's side of :mod:`harness.load.readback`.

``verify.jsonl`` holds one line per question: ``t``, ``by`` ("id" or "embedding"), ``space``, ``item``, ``status``,
``outcome`` (name of an :class:`harness.model.Outcome`), ``seen_item``, ``seen_version`` and ``seen_space`` (whose write
the content says it is; null where the memory was not found, or what stood there was not ours), ``whole`` (the content
is to the letter what that write's was), ``rank`` (1-based place among a recall's results, 0 where absent), and of a
recall ``copies`` (how often the memory is among the results, under whatever id) and ``strangers`` (results that were
written to another space).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.model import Op, Outcome
from harness.timeline.samples import Samples

VERIFY_FILE = "verify.jsonl"


@dataclass(frozen=True)
class VerifySummary:
    """Counts of a read-back. ``unanswered``: the target gave no answer until the deadline."""

    expected: int
    asked: int
    found: int
    missing: int
    unanswered: int
    other: int


def acknowledged_pairs(samples: Samples) -> list[tuple[int, int]]:
    """Every (space, item) of which a store was ever acknowledged, in order."""
    stored = samples[(samples["op"] == Op.STORE) & (samples["outcome"] == Outcome.OK)]
    keys = np.unique(stored["space"].astype(np.uint64) << np.uint64(32) | stored["item"].astype(np.uint64))
    return [(int(key) >> 32, int(key) & 0xFFFFFFFF) for key in keys.tolist()]
