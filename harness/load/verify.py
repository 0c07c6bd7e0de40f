"""What a read-back is asked to do and what it leaves behind; the supervisor's side of :mod:`harness.load.readback`.

``verify.jsonl`` holds one line per question: ``t``, ``asked`` (when it was first asked), ``by`` ("id" or "embedding"),
``space``, ``item``, ``status``, ``outcome`` (name of an :class:`harness.model.Outcome`), ``seen_item``,
``seen_version`` and ``seen_space`` (whose write the content says it is; null where the memory was not found, or what
stood there was not ours), ``whole`` (the content is to the letter what that write's was), ``rank`` (1-based place among
a recall's results, 0 where absent), and of a recall ``copies`` (how often the memory is among the results, under
whatever id) and ``strangers`` (results that were written to another space).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.model import Op, Outcome
from harness.timeline.samples import Samples

VERIFY_FILE = "verify.jsonl"
RECENT_FILE = "recovered.jsonl"  # the same lines, of what was written last before the target was healed


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


def recent_pairs(samples: Samples, before: float, most: int) -> list[tuple[int, int]]:
    """The memories a crash before that instant (monotonic seconds) takes first: ``most`` of them, the latest first.

    By their last acknowledged write before it. Left out is what has been written to since: it shows nothing any more.
    """
    writes = samples[np.isin(samples["op"], (int(Op.STORE), int(Op.DELETE))) & (samples["outcome"] == int(Outcome.OK))]
    since = writes[writes["done"] > before]
    writes = writes[writes["done"] <= before]
    writes = writes[np.argsort(-writes["done"], kind="stable")]
    wanted = set(acknowledged_pairs(writes)) - set(_pairs(since))
    return [pair for pair in dict.fromkeys(_pairs(writes)) if pair in wanted][:most]


def _pairs(samples: Samples) -> list[tuple[int, int]]:
    return list(zip(samples["space"].tolist(), samples["item"].tolist(), strict=True))
