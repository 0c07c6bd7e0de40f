"""Nothing acknowledged is lost: what was read back at the end, against every acknowledged write.

An acknowledged version may be replaced by a later one; writes that overlap in time may win in either order, and a
write that was never acknowledged may be there or not. So a memory is *whole* when it shows any version that no
acknowledged write certainly came after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.judge.view import CaseView
from harness.model import Op, Outcome
from harness.timeline.samples import Samples, pick


@dataclass
class ReadBack:
    """Counts of memories, each in one class, with a few ids of every bad one."""

    acknowledged: int = 0
    checked: int = 0
    lost: int = 0
    stale: int = 0
    corrupted: int = 0
    misplaced: int = 0
    unreachable: int = 0
    unrecallable: int = 0
    recalled: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, space: int, item: int, detail: str) -> None:
        """Keep up to five examples of a class."""
        kept = self.examples.setdefault(what, [])
        if len(kept) < 5:
            kept.append(f"space {space} item {item}: {detail}")


def _stores(samples: Samples) -> Samples:
    return pick(samples, samples["op"] == int(Op.STORE))


def acceptable_versions(stores: Samples) -> dict[tuple[int, int], set[int]]:
    """For every acknowledged (space, item): the versions a correct service may show.

    The last acknowledged ones, those that overlap them, and unacknowledged ones that are not certainly older.
    """
    acked = stores[stores["outcome"] == int(Outcome.OK)]
    if len(acked) == 0:
        return {}
    latest_sent: dict[tuple[int, int], float] = {}
    for space, item, sent in zip(acked["space"].tolist(), acked["item"].tolist(), acked["sent"].tolist(), strict=True):
        key = (space, item)
        latest_sent[key] = max(sent, latest_sent.get(key, -1.0))
    allowed: dict[tuple[int, int], set[int]] = {key: set() for key in latest_sent}
    rows = zip(
        stores["space"].tolist(),
        stores["item"].tolist(),
        stores["version"].tolist(),
        stores["done"].tolist(),
        stores["outcome"].tolist(),
        strict=True,
    )
    for space, item, version, done, outcome in rows:
        key = (space, item)
        # An unacknowledged write may still have been applied at any later time, so only an acknowledged one is
        # certainly superseded by a write sent after its acknowledgement.
        if key in allowed and (outcome != int(Outcome.OK) or done >= latest_sent[key]):
            allowed[key].add(version)
    return allowed


def judge_read_back(view: CaseView) -> ReadBack:
    """Classify every acknowledged memory by what the read-back found."""
    stores = _stores(view.record.samples)
    allowed = acceptable_versions(stores)
    written: dict[tuple[int, int], set[int]] = {}
    for space, item, version in zip(
        stores["space"].tolist(), stores["item"].tolist(), stores["version"].tolist(), strict=True
    ):
        written.setdefault((space, item), set()).add(version)
    result = ReadBack(acknowledged=len(allowed))
    seen: set[tuple[int, int]] = set()
    for row in view.record.read_back:
        key = (int(row["space"]), int(row["item"]))
        if key not in allowed:
            continue
        if row["by"] == "embedding":
            _recall_row(result, key, row)
        elif key not in seen:
            seen.add(key)
            _id_row(result, key, row, allowed[key], written.get(key, set()))
    result.unreachable += len(allowed) - len(seen)
    return result


def _id_row(result: ReadBack, key: tuple[int, int], row: dict[str, Any], allowed: set[int], written: set[int]) -> None:
    status, item, version = int(row["status"]), row.get("seen_item"), row.get("seen_version")
    if status == 404:
        result.checked += 1
        result.lost += 1
        result.note("lost", *key, f"404; acknowledged version {max(allowed)}")
    elif status != 200:
        result.unreachable += 1
        result.note("unreachable", *key, f"HTTP {status}" if status else "no answer")
    else:
        result.checked += 1
        if item is None or version is None:
            result.corrupted += 1
            result.note("corrupted", *key, "the content is none that was ever written")
        elif int(item) != key[1] or row.get("seen_space", key[0]) != key[0]:
            result.misplaced += 1
            result.note("misplaced", *key, f"shows item {item} of space {row.get('seen_space', '?')}")
        elif int(version) in allowed:
            pass
        elif int(version) in written:
            result.stale += 1
            result.note("stale", *key, f"shows version {version}, acknowledged since: {max(allowed)}")
        else:
            result.corrupted += 1
            result.note("corrupted", *key, f"shows version {version}, which was never sent")


def _recall_row(result: ReadBack, key: tuple[int, int], row: dict[str, Any]) -> None:
    if int(row["status"]) != 200:
        result.unreachable += 1
        result.note("unreachable", *key, f"recall by embedding: HTTP {row['status']}")
        return
    result.recalled += 1
    if not row.get("rank"):
        result.unrecallable += 1
        result.note("unrecallable", *key, "not found by its own embedding")


def acknowledged_samples(view: CaseView) -> int:
    """How many writes were acknowledged in the whole case, preload included."""
    stores = _stores(view.record.samples)
    return int(np.count_nonzero(stores["outcome"] == int(Outcome.OK)))
