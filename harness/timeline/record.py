"""One case directory: written as things happen, read whole by the judge.

The writer only appends or replaces whole files, so whatever was recorded stays readable when the harness is killed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.errors import RecordError, RecordTooNew
from harness.model import SCHEMA_VERSION
from harness.timeline.answers import Answers, Truth, no_answers, no_truth, read_answers, read_truth
from harness.timeline.jsonl import JsonLines, read_json, read_lines, write_json_atomically
from harness.timeline.samples import Samples, empty_samples, read_all_samples

Event = dict[str, Any]


class CaseWriter:
    """Writes one case directory. Raises :class:`RecordError` where the disk will not take it."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()
        try:
            for part in (folder, folder / "samples", folder / "metrics"):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(
                f"cannot make the case directory: {error.strerror}",
                where=str(folder),
                hint="give another --results-dir, or make room",
            ) from error
        self._timeline = JsonLines(folder / "timeline.jsonl")

    def event(self, event: str, **fields: Any) -> float:
        """Append an event at the present instant and return that instant (monotonic seconds)."""
        now = self.clock.now()
        self._timeline.append({"t": now, "wall": self.clock.wall(), "event": event, **fields})
        return now

    def manifest(self, values: dict[str, Any]) -> None:
        """Write (or replace) ``manifest.json``."""
        write_json_atomically(self.folder / "manifest.json", {"schema": SCHEMA_VERSION, **values})

    def checks(self, checks: list[dict[str, Any]], ended: str) -> None:
        """Write (or replace) ``checks.json``: the recorded checks, and how the drill's body ended."""
        write_json_atomically(self.folder / "checks.json", {"schema": SCHEMA_VERSION, "checks": checks, "ended": ended})

    def close(self) -> None:
        """Close the timeline; idempotent."""
        self._timeline.close()


@dataclass(frozen=True)
class CaseRecord:
    """Everything recorded of one case; what the judge judges."""

    name: str
    manifest: dict[str, Any]
    events: tuple[Event, ...]
    samples: Samples
    streams: dict[str, tuple[dict[str, Any], ...]]
    read_back: tuple[dict[str, Any], ...] = ()
    recovered: tuple[dict[str, Any], ...] = ()  # read back right after the heal, of what was written last before it
    ledger: tuple[dict[str, Any], ...] = ()
    checks: dict[str, Any] = field(default_factory=lambda: {"checks": [], "ended": "never"})
    load: dict[str, Any] = field(default_factory=dict)
    answers: Answers = field(default_factory=no_answers)
    truth: Truth = field(default_factory=no_truth)

    def first(self, event: str) -> Event | None:
        """The first event of that name, or None."""
        return next((e for e in self.events if e["event"] == event), None)

    def last(self, event: str) -> Event | None:
        """The last event of that name, or None."""
        return next((e for e in reversed(self.events) if e["event"] == event), None)

    def stream(self, name: str) -> tuple[dict[str, Any], ...]:
        """The readings of one probe, in time order; empty where it recorded nothing."""
        return self.streams.get(name, ())


def _versioned(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise RecordError("not a JSON object", where=str(path))
    schema = value.get("schema")
    if not isinstance(schema, int):
        raise RecordError("has no schema version", where=str(path))
    if schema > SCHEMA_VERSION:
        raise RecordTooNew(
            f"is of schema {schema}, this harness reads up to {SCHEMA_VERSION}",
            where=str(path),
            hint="use a newer harness",
        )
    return value


def is_case(folder: Path) -> bool:
    """Whether ``folder`` holds a case."""
    return (folder / "manifest.json").is_file()


def read_case(folder: Path) -> CaseRecord:
    """Read a case directory; torn ends are left out, missing parts are empty, a missing manifest is an error."""
    if not folder.is_dir():
        raise RecordError("no such directory", where=str(folder))
    manifest = _versioned(folder / "manifest.json")
    checks_path = folder / "checks.json"
    checks = _versioned(checks_path) if checks_path.exists() else {"checks": [], "ended": "never"}
    load_path = folder / "samples" / "load.json"
    streams = {
        path.stem: tuple(sorted(read_lines(path), key=lambda reading: float(reading["t"])))
        for path in sorted((folder / "metrics").glob("*.jsonl"))
    }
    samples_folder = folder / "samples"
    samples = read_all_samples(samples_folder) if samples_folder.is_dir() else empty_samples()
    load = read_json(load_path) if load_path.exists() else {}
    _check_whole(load, load_path, samples)
    return CaseRecord(
        name=folder.name,
        manifest=manifest,
        events=tuple(sorted(read_lines(folder / "timeline.jsonl"), key=lambda event: float(event["t"]))),
        samples=samples,
        streams=streams,
        read_back=tuple(read_lines(samples_folder / "verify.jsonl")),
        recovered=tuple(read_lines(samples_folder / "recovered.jsonl")),
        ledger=tuple(read_lines(folder / "ledger.jsonl")),
        checks=checks,
        load=load,
        answers=read_answers(samples_folder),
        truth=read_truth(samples_folder),
    )


def _check_whole(load: Any, path: Path, samples: Samples) -> None:
    """Refuse samples that are fewer than the load counted when it ended: what is missing may be what decides.

    A load that was killed counted nothing, and its torn end is what there is.
    """
    if not isinstance(load, dict):
        raise RecordError("not a JSON object", where=str(path))
    completed, t0 = load.get("completed"), load.get("t0")
    if isinstance(completed, int) and isinstance(t0, int | float):
        kept = int((samples["intended"] >= t0).sum())
        if kept < completed:
            raise RecordError(f"only {kept} of the {completed} requests it counted are there", where=str(path))


def case_folders(session: Path) -> list[Path]:
    """The case directories of a session, in the order they began (then by name)."""
    if not session.is_dir():
        raise RecordError("no such directory", where=str(session))
    found = [p for p in session.iterdir() if p.is_dir() and is_case(p)]
    return sorted(found, key=lambda p: (str(read_json(p / "manifest.json").get("started", "")), p.name))
