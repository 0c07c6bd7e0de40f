"""What a soak read back of what was acknowledged: counted row by row, each row judged by itself.

A row says which version was acknowledged last when it was read (``acked``), which others a correct service may show
(``allowed``: writes that overlapped the last one, and those whose outcome is unknown, which may be applied at any later
time), and whether every later write was recorded too (``exact``). Between the recording windows the soak keeps no
single writes but those of unknown outcome, so a *later* version is no surprise unless ``exact`` says so. There is room
for so many of them; ``unsure`` is the greatest version of one there was none for: nothing up to it is called stale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.model import Flag, Op, Outcome
from harness.timeline.samples import Samples, pick

_EXAMPLES = 5


@dataclass
class ReadBackTally:
    """Counts by class. ``first_bad_s``: scaled seconds since the start of the first bad row (infinite: none)."""

    checked: int = 0
    lost: int = 0
    stale: int = 0
    corrupted: int = 0
    unreachable: int = 0
    unrecallable: int = 0
    recalled: int = 0
    complete: bool = False
    first_bad_s: float = math.inf
    examples: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """Memories that were acknowledged and are not there as they must be."""
        return self.lost + self.stale + self.corrupted

    def add(self, row: dict[str, Any], time_scale: float) -> None:
        """Take one row in."""
        if row.get("phase") == "complete":
            self.complete = True
            return
        status = int(row["status"])
        if row.get("by") == "embedding":
            self._recalled(row, status)
            return
        if status not in (200, 404):
            self.unreachable += 1
            return
        self.checked += 1
        what, detail = classify(row, status)
        if what:
            setattr(self, what, getattr(self, what) + 1)
            self.first_bad_s = min(self.first_bad_s, float(row["at_s"]) * time_scale)
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{what}: space {row['space']} item {row['item']}: {detail}")

    def _recalled(self, row: dict[str, Any], status: int) -> None:
        if status != 200:
            self.unreachable += 1
            return
        self.recalled += 1
        self.unrecallable += not row.get("rank")


def classify(row: dict[str, Any], status: int) -> tuple[str, str]:
    """``("", "")`` where the row is as it must be; else its class and what is wrong."""
    if status == 404:
        return "lost", f"404; acknowledged version {row['acked']}"
    seen, acked = row.get("seen_version"), int(row["acked"])
    if seen is None or row.get("seen_item") != row["item"]:
        return "corrupted", "the content is none that was written for it"
    if int(seen) == acked or int(seen) in row.get("allowed", ()):
        return "", ""
    if int(seen) < acked:
        if int(seen) <= int(row.get("unsure", 0)):
            return "", ""
        return "stale", f"shows version {seen}, acknowledged since: {acked}"
    if row.get("exact"):
        return "corrupted", f"shows version {seen}, which was never sent"
    return "", ""


Pair = tuple[int, int]


@dataclass(frozen=True)
class Known:
    """What is known of one memory: the version acknowledged last, and every version it may show.

    ``unsure``: up to this version, writes of unknown outcome may have been forgotten.
    """

    acked: int
    allowed: tuple[int, ...]
    exact: bool
    unsure: int = 0

    def as_row(self) -> dict[str, Any]:
        """As a row of the read-back tells it."""
        row = {"acked": self.acked, "allowed": list(self.allowed), "exact": self.exact}
        return {**row, "unsure": self.unsure} if self.unsure else row


def known_since(samples: Samples, since: float, *, preload: bool = False, unsure: int = 0) -> dict[Pair, Known]:
    """What samples tell of memories written from ``since`` (monotonic) on, by (space, item).

    Among the samples must be every request that ended from ``since`` on, and every write of unknown outcome from
    before it, but for some of versions up to ``unsure``. ``preload`` takes in what was preloaded, for memories that
    were not written since. ``exact``: every write from its last acknowledged one on is among the samples.
    """
    stores = pick(samples, samples["op"] == int(Op.STORE))
    known = _known(stores, stores["sent"] >= since, exact=True, unsure=unsure)
    if preload:
        known = _known(stores, (stores["flags"] & int(Flag.PRELOAD)) != 0, exact=False, unsure=unsure) | known
    return known


def _known(stores: Samples, counted: npt.NDArray[np.bool_], *, exact: bool, unsure: int) -> dict[Pair, Known]:
    """The write acknowledged that was sent last of those ``counted``, and all that it is not certain to have replaced.

    That may be a write from before them: one that was under way when the last was sent, or was never acknowledged.
    """
    last: dict[Pair, tuple[float, int]] = {}
    rows = list(
        zip(
            stores["space"].tolist(),
            stores["item"].tolist(),
            stores["version"].tolist(),
            stores["sent"].tolist(),
            stores["done"].tolist(),
            (stores["outcome"] == int(Outcome.OK)).tolist(),
            counted.tolist(),
            strict=True,
        )
    )
    for space, item, version, sent, _, acked, counts in rows:
        if acked and counts and (sent, version) > last.get((space, item), (-math.inf, 0)):
            last[(space, item)] = (sent, version)
    allowed: dict[Pair, set[int]] = {pair: {version} for pair, (_, version) in last.items()}
    for space, item, version, _, done, acked, _ in rows:
        pair = (space, item)
        # One never acknowledged may still be applied at any later time, so nothing certainly replaced it.
        if pair in last and (not acked or done >= last[pair][0]):
            allowed[pair].add(version)
    return {pair: Known(last[pair][1], tuple(sorted(versions)), exact, unsure) for pair, versions in allowed.items()}
