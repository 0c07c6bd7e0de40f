"""The nemesis: a seeded actor that draws which faults go in, when, and for how long.

A schedule is a pure function of plan, seed and duration, the same to the byte on any Python: whole milliseconds, and
random numbers that are SHA-256 of seed and counter, reduced without bias. Nothing of the ``random`` module, no float
arithmetic and no hash order takes part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, UsageError
from harness.faults.base import Fault
from harness.faults.catalogue import FAULTS, fault_from_json
from harness.faults.composition import Composition, Step, arranged, conflict
from harness.scenario.document import Table, read_document

_TRIES = 64


class Draws:
    """Whole random numbers from a seed: SHA-256 over seed and counter, eight bytes at a time."""

    def __init__(self, seed: int, stream: str) -> None:
        self._prefix = f"engram-nemesis {seed} {stream} ".encode()
        self._counter = 0

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit - 1``, each as likely as the others."""
        ceiling = (1 << 64) // limit * limit
        while True:
            self._counter += 1
            digest = hashlib.sha256(self._prefix + str(self._counter).encode()).digest()
            value = int.from_bytes(digest[:8], "big")
            if value < ceiling:
                return value % limit

    def between(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)


@dataclass(frozen=True)
class Kind:
    """One kind of fault the nemesis may choose: how likely, how long, and at which doses."""

    weight: int
    kind: str
    hold_ms: tuple[int, int]
    doses: tuple[tuple[str, tuple[Any, ...]], ...]

    def draw(self, draws: Draws) -> Fault:
        """A fault of this kind at a dose of the plan."""
        values = {name: choices[draws.below(len(choices))] for name, choices in self.doses}
        return fault_from_json({"kind": self.kind, **values})


@dataclass(frozen=True)
class Plan:
    """What a nemesis may do. The limits are the blast radius; shares are in thousandths, times in milliseconds."""

    name: str
    description: str
    kinds: tuple[Kind, ...]
    quiet_ms: tuple[int, int]
    max_concurrent: int
    max_fault_permille: int
    max_faults: int

    def schedule(self, seed: int, duration_ms: int) -> tuple[Step, ...]:
        """The steps of one run: each ends within ``duration_ms``, and none leaves the blast radius.

        Raises :class:`UsageError` where the duration has no room for a single fault.
        """
        draws = Draws(seed, self.name)
        steps: list[Step] = []
        now = draws.between(*self.quiet_ms)
        for _ in range(_TRIES * self.max_faults):
            if len(steps) == self.max_faults or now >= duration_ms:
                break
            kind = self._choose(draws)
            step = Step(kind.draw(draws), now, draws.between(*kind.hold_ms))
            if self._fits(step, steps, duration_ms):
                steps.append(step)
            now += draws.between(*self.quiet_ms)
        if not steps:
            raise UsageError(f"{duration_ms} ms have no room for a fault of the plan '{self.name}'")
        return arranged(steps)

    def composition(self, seed: int, duration_ms: int) -> Composition:
        """The schedule as one fault, as a drill runs it."""
        return Composition(f"nemesis {self.name} (seed {seed:#x})", self.schedule(seed, duration_ms))

    def _choose(self, draws: Draws) -> Kind:
        place = draws.below(sum(kind.weight for kind in self.kinds))
        for kind in self.kinds:
            if place < kind.weight:
                return kind
            place -= kind.weight
        raise AssertionError("unreachable")

    def _fits(self, step: Step, steps: list[Step], duration_ms: int) -> bool:
        if step.end_ms > duration_ms:
            return False
        beside = [other for other in steps if step.overlaps(other)]
        if any(conflict(step.fault, other.fault) for other in beside):
            return False
        at_once = max((sum(one.at_ms <= t <= one.end_ms for one in beside) for t in _edges(step, beside)), default=0)
        covered = _covered_ms([*steps, step])
        return at_once < self.max_concurrent and covered * 1000 <= duration_ms * self.max_fault_permille


def _edges(step: Step, beside: Iterable[Step]) -> list[int]:
    """The instants within a step at which the number of faults beside it may be highest."""
    return [step.at_ms, *(one.at_ms for one in beside if step.at_ms <= one.at_ms <= step.end_ms)]


def _covered_ms(steps: Iterable[Step]) -> int:
    """How long any fault is in force."""
    total, until = 0, 0
    for step in sorted(steps, key=lambda s: s.at_ms):
        end = step.at_ms + step.hold_ms
        total += max(0, end - max(step.at_ms, until))
        until = max(until, end)
    return total


def load_plan(path: Path) -> Plan:
    """Read a plan. Raises :class:`ConfigError` naming file, line and key."""
    document = read_document(path)
    limits, quiet = document.table("limits"), document.table("quiet_ms")
    rows = document.raw("fault")
    if not isinstance(rows, list) or not rows:
        raise document.fail("fault", "must be a list of tables [[fault]]")
    least = quiet.integer("least", low=1, high=86_400_000)
    plan = Plan(
        name=document.text("name"),
        description=document.text("description", ""),
        kinds=tuple(_kind(Table(row, document.file, {}, (f"fault[{n}]",))) for n, row in enumerate(rows)),
        quiet_ms=(least, quiet.integer("most", low=least, high=86_400_000)),
        max_concurrent=limits.integer("max_concurrent", low=1, high=16),
        max_fault_permille=round(limits.number("max_fault_share", low=0.001, high=1.0) * 1000),
        max_faults=limits.integer("max_faults", low=1, high=10_000),
    )
    for table in (limits, quiet, document):
        table.finish()
    return plan


def _kind(table: Table) -> Kind:
    kind = table.text("kind", choices=[fault.kind for fault in FAULTS])
    hold = table.numbers("hold_ms", low=1, high=86_400_000)
    if len(hold) != 2 or hold[0] > hold[1] or any(value != int(value) for value in hold):
        raise table.fail("hold_ms", "must be [least, most] in whole milliseconds")
    dose = table.raw("dose", {})
    if not isinstance(dose, dict):
        raise table.fail("dose", "must be a table of lists to choose from")
    doses = tuple((name, tuple(v) if isinstance(v, list) else (v,)) for name, v in sorted(dose.items()))
    found = Kind(table.integer("weight", 1, low=1, high=1_000_000), kind, (int(hold[0]), int(hold[1])), doses)
    for name, choices in doses:
        for choice in choices:
            _try_dose(table, found, name, choice)
    table.finish()
    return found


def _try_dose(table: Table, kind: Kind, name: str, choice: Any) -> None:
    values = {key: choices[0] for key, choices in kind.doses} | {name: choice}
    try:
        fault_from_json({"kind": kind.kind, **values})
    except UsageError as error:
        raise ConfigError(error.what, where=table.where(name)) from error


def schedule_bytes(steps: Iterable[Step]) -> bytes:
    """A schedule as canonical JSON lines: what a seed must give again."""
    return b"".join(
        json.dumps(step.as_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
        for step in steps
    )


def dry_run(steps: Iterable[Step], what: str, capabilities: Mapping[str, str] | None = None) -> list[str]:
    """Lines for people: what would happen to ``what``, when, how it would be healed; nothing is done.

    ``capabilities``: why a capability is missing, by name; a step that needs one says so.
    """
    lines = []
    for step in steps:
        end = "the end" if step.hold_ms == 0 else f"{step.end_ms / 1000:.3f} s"
        lacking = [f"{n}: {capabilities[n]}" for n in step.fault.requires if capabilities and n in capabilities]
        note = f"  -- cannot: {'; '.join(lacking)}" if lacking else ""
        lines.append(f"{step.at_ms / 1000:>9.3f} s  until {end:<12} {step.fault.describe()} on {what}{note}")
    return lines
