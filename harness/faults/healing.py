"""Healing what a journal says: by the guardian, by ``harness heal``, and before the next run."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.errors import HealFailed, RecordError
from harness.faults import state
from harness.faults.journal import FAULT, Entry, Journal, read_journal
from harness.faults.recipe import HttpRecipe, Recipe, apply, stage
from harness.timeline.jsonl import JsonLines

# A request that was on its way when the harness died may arrive after its heal; so where nobody saw it acknowledged,
# the heal is sent again after this long.
SETTLE_S = 0.4
_ATTEMPT_S = 1.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


@dataclass
class HealReport:
    """What healing came to: labels of what is healed, and what is not with its reason."""

    healed: list[str] = field(default_factory=list)
    still_open: dict[str, str] = field(default_factory=dict)
    in_use: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is left to heal."""
        return not self.still_open and not self.problems

    def add(self, other: HealReport) -> None:
        """Take another report in."""
        self.healed += other.healed
        self.still_open |= other.still_open
        self.in_use += other.in_use
        self.problems += other.problems


def heal_all(
    state_dir: Path | None = None,
    *,
    target: str | None = None,
    deadline_s: float = 30.0,
    by: str = "heal",
    clock: Clock | None = None,
) -> HealReport:
    """Heal whatever dead harnesses left behind (on ``target`` alone, where given).

    A journal whose harness lives is left to it and reported as in use. Never raises for what cannot be healed: that
    is in the report.
    """
    clock = clock or SystemClock()
    folder = state.prepare(state_dir) if state_dir is not None else state.state_dir()
    report = HealReport()
    deadline = clock.now() + deadline_s
    for path in state.journals(folder):
        try:
            journal = read_journal(path)
        except RecordError as error:
            if path.exists():  # healed and removed by somebody else meanwhile, if not
                report.problems.append(str(error))
            continue
        living = journal.owner.alive() and not journal.abandoned
        # One with nothing in it, whose harness died before it did anything, is just removed.
        ours = target is None or _touches(journal, target) or not (living or journal.open_entries)
        if not ours:
            continue
        if living:
            report.in_use.append(f"{journal.program}, pid {journal.owner.pid}: {journal.record}")
            continue
        report.add(heal_journal(path, by, deadline_s=max(0.0, deadline - clock.now()), clock=clock))
    state.sweep(folder)
    return report


def _touches(journal: Journal, target: str) -> bool:
    wanted = state.same_target(target)
    return any(entry.target and state.same_target(entry.target) == wanted for entry in journal.open_entries)


def heal_journal(path: Path, by: str, *, deadline_s: float, clock: Clock | None = None) -> HealReport:
    """Heal a dead harness' journal until nothing is open or the deadline is over; a healed one is removed."""
    clock = clock or SystemClock()
    deadline = clock.now() + deadline_s
    with state.exclusively(path, deadline_s, clock) as held:
        if not held:
            if path.exists():
                return HealReport(still_open={path.name: "it is being healed by somebody else"})
            return HealReport()
        try:
            journal = read_journal(path)
        except RecordError as error:
            return HealReport(problems=[str(error)])
        report = _heal_open(journal, by, deadline, clock)
        if not report.still_open:
            path.unlink(missing_ok=True)
        return report


def _heal_open(journal: Journal, by: str, deadline: float, clock: Clock) -> HealReport:
    report = HealReport()
    pause_s, never = _FIRST_PAUSE_S, threading.Event()
    scribe = Scribe(journal, by, clock)
    try:
        while True:
            tried = _attempt(journal.open_entries, clock)
            for entry, (how, why) in tried:
                if why:
                    report.still_open[entry.label] = why
                    continue
                entry.healed = True
                report.still_open.pop(entry.label, None)
                report.healed.append(entry.label)
                scribe.write({"entry": "healed", "id": entry.id, "how": how})
            if not journal.open_entries or clock.now() + pause_s > deadline:
                break
            clock.wait(never, pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        for entry in journal.open_entries:
            scribe.write({"entry": "heal_failed", "id": entry.id, "why": report.still_open.get(entry.label, "")})
    finally:
        scribe.close()
    return report


Tried = list[tuple[Entry, tuple[list[str], str]]]


def _attempt(entries: Iterable[Entry], clock: Clock) -> Tried:
    """One try at each entry, newest first within a stage; answers what was done and, where it failed, why."""
    waiting = sorted(entries, key=lambda entry: -entry.id)
    tried: Tried = []
    for number in sorted({_stage(entry) for entry in waiting}):
        group = [entry for entry in waiting if _stage(entry) == number]
        if number == 1 and len(group) > 1:
            # One that hangs must not make the others late; what heals by one request goes in order, newest first.
            with ThreadPoolExecutor(max_workers=8) as pool:
                chains = _chains(group)
                for chain, done in zip(chains, pool.map(_apply_all, chains), strict=True):
                    tried += zip(chain, done, strict=True)
        else:
            tried += zip(group, _apply_all(group), strict=True)
    doubted = _to_repeat([entry for entry, (_, why) in tried if not why])
    if doubted:
        clock.wait(threading.Event(), SETTLE_S)
        again = {entry.id: _apply_one(recipe)[1] for entry, recipe in doubted}
        tried = [(e, (how, why or again.get(e.id, ""))) for e, (how, why) in tried]
    return tried


def _chains(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries that heal by a request to one place belong together: the oldest has to have the last word there."""
    chains: dict[str, list[Entry]] = {}
    for entry in entries:
        place = next((r.url for r in entry.recipes if isinstance(r, HttpRecipe)), f"entry {entry.id}")
        chains.setdefault(place, []).append(entry)
    return list(chains.values())


def _to_repeat(healed: list[Entry]) -> list[tuple[Entry, Recipe]]:
    """Requests to send again: those nobody saw acknowledged, and what came after them to the same place."""
    found: list[tuple[Entry, Recipe]] = []
    for chain in _chains(healed):
        first = next((at for at, entry in enumerate(chain) if not entry.acknowledged), len(chain))
        found += [(e, r) for e in chain[first:] for r in e.recipes if isinstance(r, HttpRecipe)]
    return found


def _apply_all(entries: Iterable[Entry]) -> list[tuple[list[str], str]]:
    return [_apply_entry(entry) for entry in entries]


def _stage(entry: Entry) -> int:
    return min((stage(recipe) for recipe in entry.recipes), default=1)


def _apply_entry(entry: Entry) -> tuple[list[str], str]:
    if entry.unreadable:
        return [], entry.unreadable
    done: list[str] = []
    for recipe in sorted(entry.recipes, key=stage):
        how, why = _apply_one(recipe)
        if why:
            return done, why
        done.append(how)
    return done, ""


def _apply_one(recipe: Recipe) -> tuple[str, str]:
    try:
        return apply(recipe, _ATTEMPT_S), ""
    except HealFailed as error:
        return "", str(error)


def relieve(path: Path, why: str, wanted: Collection[int] | None, clock: Clock | None = None) -> HealReport:
    """Heal the faults (those of ``wanted`` ids, or all) of a harness that lives but hangs or overran, once.

    Its entries stay open: a hung harness may wake up in the middle of an injection, and what it does then must still
    be healed when it dies.
    """
    clock = clock or SystemClock()
    report = HealReport()
    try:
        journal = read_journal(path)
    except RecordError as error:
        return HealReport(problems=[str(error)] if path.exists() else [])
    scribe = Scribe(journal, "guardian", clock)
    try:
        faults = [e for e in journal.open_entries if e.lifetime == FAULT and (wanted is None or e.id in wanted)]
        for (
            entry
        ) in faults:  # before it is done: a harness that wakes meanwhile must not take it for its own fault's time
            scribe.write({"entry": "relieving", "id": entry.id, "why": why})
        for entry, (how, failed) in _attempt(faults, clock):
            if failed:
                report.still_open[entry.label] = failed
                scribe.write({"entry": "heal_failed", "id": entry.id, "why": failed})
            else:
                report.healed.append(entry.label)
                scribe.write({"entry": "relieved", "id": entry.id, "why": why, "how": how})
    finally:
        scribe.close()
    return report


class Scribe:
    """Writes what a healer did into the journal and beside the record; healing goes on where writing fails."""

    def __init__(self, journal: Journal, by: str, clock: Clock) -> None:
        self._by = by
        self._clock = clock
        self._files: list[JsonLines] = []
        for path in (journal.path, journal.record):
            try:
                if path.is_file():  # never make a record where its directory was removed
                    if not journal.owner.alive():
                        end_last_line(path)
                    self._files.append(JsonLines(path, durable=True))
            except (RecordError, OSError):
                continue

    def write(self, line: dict[str, Any]) -> None:
        """Append to both; a full disk is no reason to stop healing."""
        line = {**line, "by": self._by, "t": self._clock.now(), "wall": self._clock.wall()}
        for file in list(self._files):
            try:
                file.append(line)
            except RecordError:
                file.close()
                self._files.remove(file)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def end_last_line(path: Path) -> None:
    """Cut a torn last line off, so that what follows stands on a line of its own. Raises :class:`OSError`."""
    with path.open("r+b") as file:
        raw = file.read()
        if raw and not raw.endswith(b"\n"):
            file.truncate(raw.rfind(b"\n") + 1)
