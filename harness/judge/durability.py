"""Nothing acknowledged is lost: what was read back at the end, against every acknowledged write.

An acknowledged version may be replaced by a later one; writes that overlap in time may win in either order, and a
write that was never acknowledged may be there or not, then or later. So a memory is *whole* when it shows any version
that no acknowledged write certainly came after, and is rightly gone when no acknowledged store certainly came after a
delete of it. Everything is columns: ten million acknowledged writes take less than a gigabyte.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.judge.view import CaseView
from harness.model import Op, Outcome, json_number
from harness.timeline.samples import Samples
from harness.timeline.writes import NOTHING, Seen, Writes, seen_of, writes_of

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

# Each memory is in one class; what is in one of these was acknowledged and is gone or wrong.
BAD = ("lost", "stale", "corrupted", "resurrected", "duplicated", "leaked", "misplaced")
_EXAMPLES = 5
_FINDINGS = 200


@dataclass
class ReadBack:
    """Counts of memories by what was found, with a few examples of every bad class and the ids of the first 200.

    ``lost``: gone. ``stale``: an acknowledged write is lost, and what it replaced is shown. ``resurrected``: shows what
    an acknowledged delete removed. ``corrupted``: shows what was never written. ``leaked``: shows a write to another
    space, or is shown there. ``misplaced``: shows another memory's write. ``duplicated``: a recall shows it more than
    once. ``unrecallable``: not found by its own embedding. ``unreachable``: nothing was answered about it.
    """

    acknowledged: int = 0
    checked: int = 0
    lost: int = 0
    stale: int = 0
    corrupted: int = 0
    resurrected: int = 0
    duplicated: int = 0
    leaked: int = 0
    misplaced: int = 0
    unreachable: int = 0
    unrecallable: int = 0
    recalled: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)


Moments = tuple[tuple[float, str], ...]


class Checker:
    """Every acknowledged write, and what a correct service may show of each memory.

    Takes ``writes`` over and sorts them where they are: at ten million every column is up to 80 MB. ``moments``:
    instants (monotonic seconds) and names of what was done to the target, to date a loss by. ``most``: findings kept
    of each class; all are counted.
    """

    def __init__(self, writes: Writes, moments: Moments = (), *, most: int = _FINDINGS) -> None:
        self._moments = tuple(sorted(moments))
        self._most = most
        _sort(writes)
        key, acked, deletes = writes.key, writes.acked, writes.deletes
        first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else np.zeros(0, np.int64)
        self._keys = key[first]
        place = np.zeros(len(key), dtype=np.int32)
        place[first[1:]] = 1
        np.cumsum(place, out=place)
        latest_store = _latest(writes.sent, acked & ~deletes, first)
        latest = np.maximum(latest_store, _latest(writes.sent, acked & deletes, first))
        self._acknowledged = latest_store > -math.inf
        self._acked_at = _latest(writes.done, acked, first)
        # An unacknowledged write may still have been applied at any later time, so only an acknowledged one is
        # certainly superseded by a write sent after its acknowledgement.
        allowed = ~acked | (writes.done >= latest[place])
        removed = ~allowed & (writes.done >= latest_store[place])  # by a delete alone
        del latest
        gone = deletes & allowed
        self._may_be_gone = np.logical_or.reduceat(gone, first) if len(first) else gone
        stores = np.flatnonzero(~deletes)
        self._pairs = place[stores].astype(np.uint64)
        del place
        self._pairs <<= np.uint64(32)
        self._pairs |= writes.version[stores]
        self._allowed, self._removed, self._acked = allowed[stores], removed[stores], acked[stores]
        self._merge_repeated()
        self._seen = np.zeros(len(self._keys), dtype=np.bool_)
        self._bad = np.zeros(len(self._keys), dtype=np.bool_)
        self._result = ReadBack(acknowledged=int(np.count_nonzero(self._acknowledged)))

    def _merge_repeated(self) -> None:
        """A version that was sent twice (a retry of the preload) may be shown where either sending allows it."""
        repeated = np.flatnonzero(self._pairs[1:] == self._pairs[:-1])
        for index in repeated[::-1].tolist():
            self._allowed[index] |= self._allowed[index + 1]
            self._removed[index] |= self._removed[index + 1]
            self._acked[index] |= self._acked[index + 1]

    def versions(self, key: int) -> set[int]:
        """The versions of one memory a correct service may show."""
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        if at >= len(self._keys) or self._keys[at] != key or not self._acknowledged[at]:
            return set()
        sent = self._sent_of(at)
        return {int(version) for version in (self._pairs[sent] & np.uint64(0xFFFFFFFF))[self._allowed[sent]]}

    def _sent_of(self, at: int) -> slice:
        return slice(*np.searchsorted(self._pairs, (np.uint64(at << 32), np.uint64((at + 1) << 32))).tolist())

    def _newest(self, at: int) -> int:
        """The newest version of a memory that was acknowledged."""
        sent = self._sent_of(at)
        return int((self._pairs[sent] & np.uint64(0xFFFFFFFF))[self._acked[sent]].max(initial=0))

    def check(self, seen: Seen) -> None:
        """Classify what a piece of the read-back shows. Pieces may come in any number."""
        at = np.searchsorted(self._keys, seen.key)
        known = at < len(self._keys)
        known[known] &= self._keys[at[known]] == seen.key[known]
        known[known] &= self._acknowledged[at[known]]
        rows = np.flatnonzero(known & seen.by_id)
        _, newest = np.unique(at[rows], return_index=True)
        rows = rows[np.sort(newest)]
        rows = rows[~self._seen[at[rows]]]
        self._seen[at[rows]] = True
        self._by_id(seen, rows, at[rows])
        rows = np.flatnonzero(known & ~seen.by_id)
        self._by_embedding(seen, rows, at[rows])

    def _by_id(self, seen: Seen, rows: Indices, at: Indices) -> None:
        status = seen.status[rows]
        missing, shown = status == 404, status == 200
        unread = ~missing & ~shown
        self._result.checked += int(np.count_nonzero(~unread))
        self._note("lost", seen, rows, at, missing & ~self._may_be_gone[at], "404; acknowledged version {newest}")
        self._note("unreachable", seen, rows, at, unread, "no answer, or none that says anything (HTTP {status})")
        item, version, space = seen.item[rows], seen.version[rows], seen.space[rows]
        own = (seen.key[rows] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        ours = (seen.key[rows] >> np.uint64(32)).astype(np.int32)
        foreign = shown & (item == NOTHING) | shown & (version == NOTHING) | shown & ~seen.whole[rows]
        self._note("corrupted", seen, rows, at, foreign, "the content is none that was ever written")
        rest = shown & ~foreign
        leaked = rest & (space != ours) & (space != NOTHING)
        self._note("leaked", seen, rows, at, leaked, "shows a write to space {space}")
        misplaced = rest & ~leaked & (item != own)
        self._note("misplaced", seen, rows, at, misplaced, "shows item {item} of space {space}")
        rest &= ~leaked & (item == own)
        found, allowed, removed = self._look_up(at, np.where(rest, version, 0))
        self._note("corrupted", seen, rows, at, rest & ~found, "shows version {version}, which was never sent")
        rest &= found & ~allowed
        text = "shows version {version}, which an acknowledged delete removed"
        self._note("resurrected", seen, rows, at, rest & removed, text)
        text = "shows version {version}; version {newest}, acknowledged since, is lost"
        self._note("stale", seen, rows, at, rest & ~removed, text)

    def _by_embedding(self, seen: Seen, rows: Indices, at: Indices) -> None:
        answered = seen.status[rows] == 200
        self._note("unreachable", seen, rows, at, ~answered, "recall by embedding: HTTP {status}")
        self._result.recalled += int(np.count_nonzero(answered))
        absent = answered & (seen.rank[rows] == 0)
        self._note("unrecallable", seen, rows, at, absent & ~self._may_be_gone[at], "not found by its own embedding")
        several = answered & (seen.copies[rows] > 1)
        self._note("duplicated", seen, rows, at, several, "a recall by its own embedding shows it {copies} times")
        strange = answered & (seen.strangers[rows] > 0)
        self._note("leaked", seen, rows, at, strange, "recalled beside it: a memory of another space")

    def _look_up(self, at: Indices, version: Indices) -> tuple[Bools, Bools, Bools]:
        """Whether each version was sent, may be shown, and was taken away by a delete alone."""
        wanted = at.astype(np.uint64) << np.uint64(32) | version.astype(np.uint64)
        where = np.searchsorted(self._pairs, wanted)
        inside = where < len(self._pairs)
        where = np.where(inside, where, 0)
        if not len(self._pairs):
            return inside, inside, inside
        found = inside & (self._pairs[where] == wanted) & (version <= 0xFFFFFFFF)
        return found, found & self._allowed[where], found & self._removed[where]

    def _note(self, name: str, seen: Seen, rows: Indices, at: Indices, which: Bools, text: str) -> None:
        hits = np.flatnonzero(which)
        setattr(self._result, name, getattr(self._result, name) + len(hits))
        if name in BAD:
            self._bad[at[hits]] = True
        for hit in hits[: self._most].tolist():
            row, index = int(rows[hit]), int(at[hit])
            space, item = divmod(int(seen.key[row]), 1 << 32)
            values = {"newest": self._newest(index), "status": int(seen.status[row]), "item": int(seen.item[row])}
            values |= {"version": int(seen.version[row]), "space": int(seen.space[row])}
            acked_at = float(self._acked_at[index])
            near = around(acked_at, self._moments)
            detail = text.format(**values, copies=int(seen.copies[row])) + (f"; acknowledged {near}" if near else "")
            finding = {"class": name, "space": space, "item": item, "detail": detail}
            self._keep(finding | {"acknowledged_t": json_number(acked_at)})

    def _keep(self, finding: dict[str, Any]) -> None:
        name = finding["class"]
        kept = self._result.examples.setdefault(name, [])
        if len(kept) < _EXAMPLES:
            kept.append(f"space {finding['space']} item {finding['item']}: {finding['detail']}")
        if sum(other["class"] == name for other in self._result.findings) < self._most:
            self._result.findings.append(finding)

    def add(self, findings: Iterable[dict[str, Any]]) -> None:
        """Take in what an earlier look found wrong with memories that look well by now: they were written anew."""
        for finding in findings:
            at = int(np.searchsorted(self._keys, np.uint64(finding["space"] << 32 | finding["item"])))
            if finding["class"] in BAD and not self._bad[at]:
                setattr(self._result, finding["class"], getattr(self._result, finding["class"]) + 1)
                self._keep(finding | {"detail": f"{finding['detail']}; read right after the heal"})

    def result(self) -> ReadBack:
        """The counts; what nobody asked about is unreachable."""
        unasked = int(np.count_nonzero(self._acknowledged & ~self._seen))
        self._result.unreachable += unasked
        self._seen[:] = True
        return self._result


def _sort(writes: Writes) -> None:
    """By memory, then version, in place and a column at a time."""
    order = np.lexsort((writes.version, writes.key))
    for column in (writes.key, writes.version, writes.sent, writes.done, writes.acked, writes.deletes):
        column[:] = column[order]


def _latest(values: npt.NDArray[np.float64], which: Bools, first: Indices) -> npt.NDArray[np.float64]:
    """The greatest of the values wanted, memory by memory; minus infinity where there is none."""
    if not len(first):
        return values
    found: npt.NDArray[np.float64] = np.maximum.reduceat(np.where(which, values, -math.inf), first)
    return found


def around(t: float, moments: Moments) -> str:
    """What was done to the target last before ``t`` and first after it: ``0.013 s before inject_sent``."""
    if not math.isfinite(t) or not moments:
        return ""
    split = bisect.bisect_right(moments, (t, "\U0010ffff"))
    said = []
    if split:
        said.append(f"{t - moments[split - 1][0]:.3f} s after {moments[split - 1][1]}")
    if split < len(moments):
        said.append(f"{moments[split][0] - t:.3f} s before {moments[split][1]}")
    return ", ".join(said)


_TELLING = ("inject_sent", "inject_acked", "effective_observed", "heal_sent", "heal_acked", "healed_observed")


def moments_of(events: Iterable[dict[str, Any]], ledger: Iterable[dict[str, Any]]) -> Moments:
    """What was done to the target and when: the faults' events, and every line of the ledger."""
    found = [(float(e.get("at", e["t"])), str(e["event"])) for e in events if e["event"] in _TELLING]
    for line in ledger:
        named = line.get("what") or line.get("id", "")
        found.append((float(line.get("t", math.nan)), f"ledger: {line.get('entry')} {named}".rstrip()))
    return tuple(sorted(moment for moment in found if math.isfinite(moment[0])))


def acceptable_versions(stores: Samples) -> dict[tuple[int, int], set[int]]:
    """For every memory of which a store was acknowledged: the versions a correct service may show."""
    writes = writes_of(stores)
    checker = Checker(writes)
    found = {(key >> 32, key & 0xFFFFFFFF): checker.versions(key) for key in set(writes.key.tolist())}
    return {key: versions for key, versions in sorted(found.items()) if versions}


def judge_read_back(view: CaseView) -> ReadBack:
    """Classify every acknowledged memory by what the read-back found, at the end and, after a crash, right after it."""
    record = view.record
    checker = Checker(writes_of(record.samples), moments_of(record.events, record.ledger))
    checker.check(seen_of(record.read_back))
    if record.recovered:
        checker.add(_early(view))
    return checker.result()


def _early(view: CaseView) -> list[dict[str, Any]]:
    """What is wrong with what was read right after the heal, while the load went on.

    A write that was sent before the last answer, and not acknowledged before the first question, may be shown or not.
    """
    record = view.record
    rows, writes = record.recovered, writes_of(record.samples)
    try:
        first, last = min(float(row["asked"]) for row in rows), max(float(row["t"]) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"not a row of a read-back: {error!r}") from error
    sent = writes.sent < last
    columns = {one.name: getattr(writes, one.name)[sent] for one in fields(Writes)}
    columns["acked"] &= columns["done"] <= first
    checker = Checker(Writes(**columns), moments_of(record.events, record.ledger), most=len(rows))
    checker.check(seen_of(rows))
    return checker.result().findings


def acknowledged_samples(view: CaseView) -> int:
    """How many writes were acknowledged in the whole case, preload included."""
    samples = view.record.samples
    return int(np.count_nonzero((samples["op"] == int(Op.STORE)) & (samples["outcome"] == int(Outcome.OK))))
