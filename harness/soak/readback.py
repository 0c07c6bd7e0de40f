"""Acknowledged memories, read back: a sample while the soak runs, everything at its end.

The soak keeps no single requests, but for short windows; what was acknowledged in a window is read back right after it
and the last window of all tells which version every memory must show at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.engram.client import EngramClient
from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused
from harness.judge.durability import acceptable_versions
from harness.load.payload import memory_id, parse_content, space_name
from harness.model import Flag, Op, Outcome
from harness.timeline.jsonl import read_lines
from harness.timeline.samples import Samples, pick, read_all_samples

Row = dict[str, Any]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Known:
    """What is known of one memory: the version acknowledged last, and every version it may show."""

    acked: int
    allowed: tuple[int, ...]
    exact: bool


def known_since(folder: Path, since: float, *, preload: bool = False) -> dict[Pair, Known]:
    """What the samples of a segment tell of writes sent from ``since`` (monotonic) on.

    ``preload`` takes in what was preloaded, for memories that were not written since. ``exact``: every write from
    its last acknowledged one on is among the samples.
    """
    samples = read_all_samples(folder)
    stores = pick(samples, samples["op"] == int(Op.STORE))
    recent = stores["sent"] >= since
    known = _known(pick(stores, recent), exact=True)
    if preload:
        first = pick(stores, (stores["flags"] & int(Flag.PRELOAD)) != 0)
        known = _known(first, exact=False) | known
    return known


def _known(stores: Samples, *, exact: bool) -> dict[Pair, Known]:
    allowed = acceptable_versions(stores)
    acked = pick(stores, stores["outcome"] == int(Outcome.OK))
    acked = acked[np.argsort(acked["sent"], kind="stable")]
    last: dict[Pair, int] = {}
    for space, item, version in zip(
        acked["space"].tolist(), acked["item"].tolist(), acked["version"].tolist(), strict=True
    ):
        last[(space, item)] = version
    return {key: Known(last[key], tuple(sorted(versions)), exact) for key, versions in allowed.items()}


class ReadBack:
    """Reads memories by id and hands each finding to ``write`` as a row."""

    def __init__(self, client: EngramClient, spaces: int, write: Callable[[Row], None], seed: int) -> None:
        self._client = client
        self._spaces = spaces
        self._write = write
        self._draw = random.Random(f"soak-read-back-{seed}")

    def sample(self, known: dict[Pair, Known], most: int, at_s: Callable[[], float]) -> int:
        """Read a seeded sample of ``known`` while the load goes on; answers how many were read.

        Writes go on meanwhile and are not kept, so a later version than those known is no surprise.
        """
        chosen = self._draw.sample(sorted(known), min(most, len(known)))
        for pair in chosen:
            known_now = known[pair]
            self._read(pair, Known(known_now.acked, known_now.allowed, exact=False), "sample", at_s())
        return len(chosen)

    def everything(self, items: int, phase: str, at_s: Callable[[], float]) -> int:
        """Read every memory there can be; of their versions nothing is known but that there is one."""
        pairs = [(space, item) for space in range(self._spaces) for item in range(items)]
        for pair in pairs:
            self._read(pair, Known(0, (), exact=False), phase, at_s())
        return len(pairs)

    def _read(self, pair: Pair, known: Known, phase: str, at_s: float) -> None:
        space, item = pair
        row: Row = {"phase": phase, "by": "id", "at_s": at_s, "space": space, "item": item}
        row |= {"acked": known.acked, "allowed": list(known.allowed), "exact": known.exact}
        try:
            found = self._client.memory(memory_id(item), None if self._spaces == 1 else space_name(space, self._spaces))
        except TargetRefused as error:
            self._write({**row, "status": 500, "error": error.what})
            return
        except TargetAnswerInvalid as error:
            self._write({**row, "status": 200, "seen_item": None, "seen_version": None, "error": error.what})
            return
        except TargetError as error:
            self._write({**row, "status": 0, "error": error.what})
            return
        if found is None:
            self._write({**row, "status": 404})
            return
        seen = parse_content(str(found.get("content", "")))
        seen_item, seen_version = seen if seen is not None else (None, None)
        self._write({**row, "status": 200, "seen_item": seen_item, "seen_version": seen_version})


def final_rows(verify: Path, known: dict[Pair, Known], at_s: float) -> Iterable[Row]:
    """The read-back of the end as rows: what was found, against what is known of each memory."""
    for line in read_lines(verify):
        pair = (int(line["space"]), int(line["item"]))
        row: Row = {"phase": "final", "by": line["by"], "at_s": at_s, "space": pair[0], "item": pair[1]}
        row["status"] = int(line["status"])
        if line["by"] == "embedding":
            yield {**row, "rank": line.get("rank", 0)}
            continue
        about = known.get(pair, Known(0, (), exact=False))
        row |= {"acked": about.acked, "allowed": list(about.allowed), "exact": about.exact}
        yield {**row, "seen_item": line.get("seen_item"), "seen_version": line.get("seen_version")}
