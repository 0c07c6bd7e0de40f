"""Judging every case of a session from its files, and writing the verdicts beside them.

A case that cannot be read, or whose judging breaks, is INCONCLUSIVE with the reason: a crashed checker is unknown,
never valid, and never takes the other cases down with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RecordError
from harness.judge.case import CaseJudgement, judge_case, session_json, verdict_json
from harness.model import SCHEMA_VERSION, Verdict
from harness.report.soak import read_soak, soak_verdict_json
from harness.timeline.jsonl import read_json, write_json_atomically
from harness.timeline.record import read_case
from harness.timeline.soak_record import is_soak

# What a hostile or torn record can raise while it is read or judged.
_BROKEN = (HarnessError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError)
_PARTS = ("manifest.json", "timeline.jsonl", "checks.json", "samples", "ledger.jsonl")


@dataclass(frozen=True)
class JudgedCase:
    """A case directory with what the judge says of it; ``judgement`` is None where the record cannot be judged."""

    folder: Path
    judgement: CaseJudgement | None
    json: dict[str, Any]

    @property
    def name(self) -> str:
        """The directory's name: the case, with ``~2`` behind it for a second attempt."""
        return self.folder.name


@dataclass(frozen=True)
class JudgedSession:
    """A session, judged: its cases in the order they began, and its ``verdict.json``."""

    folder: Path
    cases: tuple[JudgedCase, ...]
    json: dict[str, Any]


def judge_session(session: Path) -> JudgedSession:
    """Judge every case of ``session`` from its files; writes nothing.

    Raises :class:`RecordError` where the session itself is no readable directory.
    """
    cases = tuple(judge_folder(folder) for folder in session_folders(session))
    return JudgedSession(session, cases, session_json(session.resolve().name, [case.json for case in cases]))


def never_started(judged: JudgedSession) -> bool:
    """Whether the session came to nothing worse than a target that could not be brought up: nothing was tested.

    A target that never gets ready is an unusable environment, not a service that failed a drill.
    """
    unready = [case for case in judged.cases if _unready(case)]
    failed = (Verdict.FAIL, Verdict.NOT_EXERCISED, Verdict.ABORTED)
    return bool(unready) and not any(
        Verdict(case.json["verdict"]) in failed for case in judged.cases if not _unready(case)
    )


def _unready(case: JudgedCase) -> bool:
    if case.judgement is None:
        return False
    record = case.judgement.summary.record
    return record.last("aborted") is not None and record.first("target_started") is None


def judge_folder(folder: Path) -> JudgedCase:
    """Judge one case directory; what cannot be judged is INCONCLUSIVE and says why."""
    try:
        if is_soak(folder):
            record = read_soak(folder)
            return JudgedCase(folder, None, soak_verdict_json(record, record.judge()))
        judgement = judge_case(read_case(folder))
        return JudgedCase(folder, judgement, verdict_json(judgement))
    except _BROKEN as error:
        why = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
        # The path stands in the error; relative to the case, so that the verdict does not depend on where it lies.
        why = why.replace(f"{folder}/", "").replace(str(folder), folder.name)
        return JudgedCase(folder, None, _unjudged(folder.name, f"the record cannot be judged: {why}"))


def _unjudged(name: str, reason: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "name": name,
        "verdict": Verdict.INCONCLUSIVE.value,
        "reasons": [reason],
        "conditions": [{"name": "record", "verdict": Verdict.INCONCLUSIVE.value, "detail": reason}],
        "checks": [],
        "degradation": {},
        "recovery_time_s": {},
        "acknowledged_memories": {},
        "samples": {},
        "fault": {},
        "evidence": [],
        "attempt": 1,
        "seed": None,
    }


def write_verdicts(session: Path) -> dict[str, Any]:
    """Judge a session, write each ``<case>/verdict.json`` and the session's, and return the session's.

    The same files always give the same bytes. Raises :class:`RecordError` where they cannot be written.
    """
    return write_judged(judge_session(session))


def write_judged(judged: JudgedSession) -> dict[str, Any]:
    """Write the verdict files of a session that is already judged, and return the session's."""
    for case in judged.cases:
        write_json_atomically(case.folder / "verdict.json", case.json)
    write_json_atomically(judged.folder / "verdict.json", judged.json)
    return judged.json


def session_folders(session: Path) -> list[Path]:
    """The case directories of a session in the order they began; one that lost its manifest is still a case."""
    try:
        inside = [path for path in session.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise RecordError(f"cannot read the session: {error.strerror}", where=str(session)) from error
    found = [path for path in inside if any((path / part).exists() for part in _PARTS)]
    return sorted(found, key=lambda path: (_started(path), path.name))


def _started(folder: Path) -> str:
    try:
        manifest = read_json(folder / "manifest.json")
    except RecordError:
        return "~"  # behind every date
    return str(manifest.get("started", "~")) if isinstance(manifest, dict) else "~"
