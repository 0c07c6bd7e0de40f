"""What people attest, kept in a file of JSON lines: appended whole and synced, or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.errors import RecordError, UsageError
from harness.judge.gate_records import Attestation
from harness.judge.phase_gate import items_of
from harness.rollout.plan import Phase, Plan

DEFAULT_FILE = Path("results/rollout/attestations.jsonl")
_FIELDS = ("phase", "item", "by", "evidence", "holds", "value", "at", "corrects")


def attestable(plan: Plan, phase: Phase) -> dict[str, str]:
    """What may be attested at a phase's gate: id -> words."""
    found = {item.id: item.text for item in items_of(plan, phase)}
    found |= {c.id: c.text for c in phase.criteria if c.attested}
    found |= {t.id: t.text for t in plan.triggers_of(phase) if t.quantity.evidence == ("attestation",)}
    return found


def make_attestation(
    plan: Plan,
    phase: Phase,
    item: str,
    *,
    by: str,
    evidence: str,
    at: str,
    holds: bool = True,
    value: float | None = None,
    corrects: bool = False,
) -> Attestation:
    """An attestation, checked. ``item`` may leave out its list's name where that is unambiguous.

    Raises :class:`UsageError` for an unknown item, nobody's name, no evidence, or a value that is no number.
    """
    known = attestable(plan, phase)
    matching = [name for name in known if item in (name, name.partition(".")[2])]
    if len(matching) != 1:
        what = "is ambiguous" if matching else "is nothing that is attested here"
        hint = ", ".join(matching or sorted(known))
        raise UsageError(f"'{item}' {what}", where=f"plan {plan.name}, phase {phase.name}", hint=f"one of {hint}")
    if not by.strip():
        raise UsageError("an attestation needs a name", hint="--by NAME: who says so")
    if not evidence.strip():
        raise UsageError("an attestation without evidence is refused", hint="--evidence TEXT or URL: how it is known")
    if value is not None and not math.isfinite(value):
        raise UsageError(f"--value {value} is no finite number")
    return Attestation(phase.name, matching[0], by.strip(), evidence.strip(), holds, value, at, corrects)


def append_attestation(path: Path, plan: Plan, attestation: Attestation) -> None:
    """Append to the file, after all of it was read and found to agree. Raises :class:`RecordError`.

    The line is written in one call and synced; a file that cannot be read or would contradict itself stays as it is.
    """
    before = read_lines_of(path) if path.exists() else []
    settled([*before, attestation], str(path))
    line = json.dumps({"plan": plan.name, **{name: getattr(attestation, name) for name in _FIELDS}}, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(number, (line + "\n").encode("utf-8"))
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        raise RecordError(f"cannot write the attestation: {error.strerror}", where=str(path)) from error


def read_lines_of(path: Path) -> list[Attestation]:
    """All attestations of a file, in order. Raises :class:`RecordError` naming the line that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecordError(f"cannot read the attestations: {reason}", where=str(path)) from error
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found.append(_parsed(line, f"{path}:{number}"))
    return found


def _parsed(line: str, where: str) -> Attestation:
    try:
        value: Any = json.loads(line)
        made = Attestation(**{name: value[name] for name in _FIELDS})
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"no attestation ({type(error).__name__}: {error})", where=where) from error
    texts = (made.phase, made.item, made.by, made.evidence, made.at)
    figure = made.value is None or (isinstance(made.value, int | float) and not isinstance(made.value, bool))
    if not all(isinstance(t, str) and t.strip() for t in texts) or not isinstance(made.holds, bool) or not figure:
        raise RecordError("an attestation without a name, evidence or answer", where=where)
    return made


def settled(lines: Iterable[Attestation], where: str) -> dict[tuple[str, str], Attestation]:
    """The last word on every item. Raises :class:`RecordError` where two contradict and none says it corrects."""
    found: dict[tuple[str, str], Attestation] = {}
    for line in lines:
        key = (line.phase, line.item)
        before = found.get(key)
        if before is not None and not line.corrects and (before.holds, before.value) != (line.holds, line.value):
            raise RecordError(
                f"{line.by} and {before.by} contradict each other about {line.item} of phase {line.phase}",
                where=where,
                hint="attest again with --correct",
            )
        found[key] = line
    return found
