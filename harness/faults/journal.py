"""Reading a journal: which entries are still open, and how each is healed.

Reading is lenient where that can only mean healing once too often: a torn line is left out (an intent that was never
whole on disk was never acted on), and so is one that makes no sense; both are counted as ``damaged``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import RecordError, RecordTooNew
from harness.faults.recipe import Recipe
from harness.faults.recipe import from_json as recipe_from_json
from harness.targets.base import ProcessIdentity

VERSION = 1
FAULT = "fault"
PROCESS = "process"


@dataclass
class Entry:
    """Something done that has to be undone.

    ``lifetime``: a fault is healed when the harness dies, hangs or overruns ``expires`` (monotonic seconds); a process
    only when the harness dies. ``acknowledged``: the target said that the fault is in. ``slot`` names what two faults
    may not hold at once on one target. ``relieved``: why the guardian healed it under a living harness, or began to
    (``relieving`` times it has not said how that ended): from then on nobody can say that it is in force.
    """

    id: int
    what: str
    lifetime: str
    slot: str
    target: str
    recipes: tuple[Recipe, ...]
    expires: float | None = None
    acknowledged: bool = False
    healed: bool = False
    relieved: list[str] = field(default_factory=list)
    relieving: int = 0
    unreadable: str = ""

    @property
    def label(self) -> str:
        """For messages: what, and where."""
        return f"{self.what} on {self.target}" if self.target else self.what


@dataclass
class Journal:
    """A journal as read: whose it is, where its record lies, and its entries."""

    path: Path
    owner: ProcessIdentity
    program: str
    record: Path
    entries: dict[int, Entry]
    damaged: int = 0
    abandoned: bool = False  # its harness lives but has given up healing: anybody may

    @property
    def open_entries(self) -> list[Entry]:
        """What is not healed, oldest first."""
        return [entry for entry in self.entries.values() if not entry.healed]


def read_journal(path: Path) -> Journal:
    """Read one. Raises :class:`RecordError` where it is unreadable, :class:`RecordTooNew` for a newer version."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read the journal: {error.strerror}", where=str(path)) from error
    lines, damaged = _lines(raw)
    header = lines[0] if lines else {}
    if header.get("entry") != "opened":
        raise RecordError("the journal does not say whose it is", where=str(path))
    if header.get("version") != VERSION:
        raise RecordTooNew(
            f"this journal is of version {header.get('version')!r}", where=str(path), hint="heal with a newer harness"
        )
    owner = ProcessIdentity.from_json(header.get("owner") or {})
    record = Path(str(header.get("ledger", "")))
    journal = Journal(path, owner, str(header.get("program", "?")), record, {}, damaged)
    for line in lines[1:]:
        if line.get("entry") == "abandoned":
            journal.abandoned = True
        elif not _fold(journal.entries, line):
            journal.damaged += 1
    return journal


def _lines(raw: bytes) -> tuple[list[dict[str, Any]], int]:
    found: list[dict[str, Any]] = []
    damaged = 0
    for line in raw.split(b"\n"):
        if not line:
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            damaged += 1
            continue
        if isinstance(value, dict):
            found.append(value)
        else:
            damaged += 1
    return found, damaged


def _fold(entries: dict[int, Entry], line: dict[str, Any]) -> bool:
    """Take one line in; False where it makes no sense."""
    number, what = line.get("id"), line.get("entry")
    if not isinstance(number, int):
        return False
    if what == "intent":
        entries[number] = _intent(number, line)
        return True
    entry = entries.get(number)
    if entry is None:
        return False
    if what == "injected":
        entry.acknowledged = True
        entry.healed = False
    elif what == "healed":
        entry.healed = True
    elif what == "relieving" or (what == "relieved" and not entry.relieving):
        entry.relieved.append(str(line.get("why", "")))
        entry.relieving += what == "relieving"
    elif what == "relieved":
        entry.relieving -= 1
    return True


def _intent(number: int, line: dict[str, Any]) -> Entry:
    recipes: list[Recipe] = []
    unreadable = ""
    given = line.get("recipes")
    for value in given if isinstance(given, list) else []:
        try:
            recipes.append(recipe_from_json(value))
        except RecordError as error:
            unreadable = error.what
    if not recipes and not unreadable:
        unreadable = "it has no recipe"
    expires = line.get("expires")
    return Entry(
        number,
        str(line.get("what", "?")),
        str(line.get("lifetime", FAULT)),
        str(line.get("slot", "")),
        str(line.get("target") or ""),
        tuple(recipes),
        float(expires) if isinstance(expires, int | float) else None,
        unreadable=unreadable,
    )
