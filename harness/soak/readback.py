"""Acknowledged memories, read back: a sample while the soak runs, everything at its end.

The soak keeps no single requests, but for short windows; what was acknowledged in a window is read back right after it
and the last window of all tells which version every memory must show at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.engram.client import EngramClient
from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused
from harness.judge.soak_durability import Known, Pair, known_since
from harness.load.payload import memory_id, parse_content, space_name
from harness.load.supervisor import LoadSupervisor
from harness.soak.plan import LEAST_READ_BACK_S, LEAST_READ_BACK_WINDOW_S, SoakPlan
from harness.timeline.jsonl import read_lines
from harness.timeline.samples import read_all_samples

Row = dict[str, Any]


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
            self._read(pair, replace(known[pair], exact=False), "sample", at_s())
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
        row |= known.as_row()
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
        row |= about.as_row()
        yield {**row, "seen_item": line.get("seen_item"), "seen_version": line.get("seen_version")}


class SampleWindows:
    """Turns the keeping of single writes on and off, and reads back what a window acknowledged.

    The plan says how often; the last window lasts to the end, so that the full read-back knows every version.
    """

    def __init__(
        self, plan: SoakPlan, load: LoadSupervisor, samples: Path, reader: ReadBack, begun: float, clock: Clock
    ) -> None:
        record = plan.scenario.record
        self._plan = plan
        self._load = load
        self._samples = samples
        self._reader = reader
        self._clock = clock
        self._every_s = plan.real(record.read_back_every_s, LEAST_READ_BACK_S)
        self._window_s = plan.real(record.read_back_window_s, LEAST_READ_BACK_WINDOW_S)
        self._next = begun + self._every_s
        self._open_since: float | None = None
        self._unsure = 0
        self.final_since = math.inf

    def look(self, now: float, left_s: float, at_s: Callable[[], float]) -> bool:
        """Open or close a window where it is time; tells whether the last one was opened just now."""
        if math.isfinite(self.final_since):
            return False
        if left_s <= self._plan.final_window_s:
            self.final_since = self._open_since if self._open_since is not None else self._open()
            return True
        if self._open_since is None and now >= self._next:
            self._open_since = self._open()
            self._next = max(self._next + self._every_s, now + self._every_s / 2)
        elif self._open_since is not None and now >= self._open_since + self._window_s:
            self._load.keep_samples(False)
            known = known_since(read_all_samples(self._samples), self._open_since, unsure=self._unsure)
            self._reader.sample(known, self._plan.scenario.record.read_back_sample, at_s)
            self._open_since = None
        return False

    def _open(self) -> float:
        """Keep samples; the instant from which on every request that ends is among them."""
        self._unsure = self._load.keep_samples(True)
        return self._clock.now()

    @property
    def due(self) -> float:
        """When :meth:`look` has something to do next, but for the last window."""
        return self._next if self._open_since is None else self._open_since + self._window_s

    def final(self) -> dict[Pair, Known]:
        """What is known of every memory at the end of this segment."""
        samples = read_all_samples(self._samples)
        return known_since(samples, self.final_since, preload=True, unsure=self._unsure)
