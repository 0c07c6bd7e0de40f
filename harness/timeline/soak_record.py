"""The record of a soak: one fsynced line an interval, read back line by line, so that 24 hours never are in memory.

A directory as any case's (``manifest.json`` with ``"kind": "soak"``, ``timeline.jsonl``, ``ledger.jsonl``), with
``intervals.jsonl`` (the checkpoints), ``read_back.jsonl``, ``resources.log`` and ``heartbeat.json``. A torn line costs
that line alone: it is cut off before anything is appended behind it, and a reader leaves it out and counts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from harness.clock import Clock, SystemClock
from harness.errors import RecordError, RecordTooNew, UsageError
from harness.model import SCHEMA_VERSION
from harness.timeline.jsonl import JsonLines, read_json, write_json_atomically

KIND = "soak"
CASE = "soak"
INTERVALS = "intervals.jsonl"
READ_BACK = "read_back.jsonl"
EVENTS = "timeline.jsonl"
HEARTBEAT = "heartbeat.json"
RESOURCE_LOG = "resources.log"
_BLOCK = 1 << 16
NO_RECORD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what reading another's file raises


class SoakWriter:
    """Appends to a soak's directory. Raises :class:`RecordError` where the disk will not take it."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self._clock = clock or SystemClock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"cannot make the directory: {error.strerror}", where=str(folder)) from error
        self.cut_bytes = sum(cut_torn_line(folder / name) for name in (INTERVALS, READ_BACK, EVENTS))
        self._events = JsonLines(folder / EVENTS, durable=True)
        self._intervals = JsonLines(folder / INTERVALS, durable=True)
        self._read_back = JsonLines(folder / READ_BACK)

    def event(self, event: str, **fields: Any) -> None:
        """Append an event, fsynced: there are few, and each explains something."""
        self._events.append({"t": self._clock.now(), "wall": self._clock.wall(), "event": event, **fields})

    def interval(self, record: dict[str, Any]) -> None:
        """Append one interval; it is on disk when this returns."""
        self._intervals.append({"t": self._clock.now(), "wall": self._clock.wall(), **record})

    def read_back(self, row: dict[str, Any]) -> None:
        """Append what one read-back of an acknowledged memory found."""
        self._read_back.append(row)

    def manifest(self, values: dict[str, Any]) -> None:
        """Write (or replace) the manifest."""
        write_json_atomically(self.folder / "manifest.json", {"schema": SCHEMA_VERSION, "kind": KIND, **values})

    def heartbeat(self, values: dict[str, Any]) -> None:
        """Replace the heartbeat file, for whoever runs the job; it carries the wall time of the beat."""
        write_json_atomically(self.folder / HEARTBEAT, {"wall": self._clock.wall(), "pid": os.getpid(), **values})

    def resources(self, line: str) -> None:
        """Append a line to the runbook's resource log."""
        path = self.folder / RESOURCE_LOG
        try:
            with path.open("a", encoding="utf-8") as log:
                log.write(line + "\n")
        except OSError as error:
            raise RecordError(f"cannot write: {error.strerror}", where=str(path)) from error

    def close(self) -> None:
        """Close; idempotent."""
        for part in (self._events, self._intervals, self._read_back):
            part.close()


def cut_torn_line(path: Path) -> int:
    """Cut an unfinished last line off, so that what is appended next is a line of its own; answers the bytes cut.

    A file that does not exist has none.
    """
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            keep = _end_of_last_line(file, end)
            if keep < end:
                file.truncate(keep)
                os.fsync(file.fileno())
            return end - keep
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise RecordError(f"cannot repair the end: {error.strerror}", where=str(path)) from error


def _end_of_last_line(file: Any, end: int) -> int:
    position = end
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        position = start
    return 0


class Lines:
    """The records of a JSON-lines file, one at a time; ``torn`` counts the lines that could not be read so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self.torn = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Meanwhile a line that is whole, and no record of ours, raises :class:`RecordError` naming it."""
        try:
            yield
        except NO_RECORD as error:
            raise RecordError(
                f"no record of a soak ({type(error).__name__}: {error})", where=f"{self._path}:{self._number}"
            ) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.torn = self._number = 0
        try:
            with self._path.open("rb") as file:
                for self._number, line in enumerate(file, 1):
                    record = _parsed(line)
                    if record is None:
                        self.torn += 1
                    else:
                        yield record
        except FileNotFoundError:
            return
        except OSError as error:
            raise RecordError(f"cannot read: {error.strerror}", where=str(self._path)) from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None  # still being written, or torn
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def is_soak(folder: Path) -> bool:
    """Whether ``folder`` is a soak's directory (one that can be read)."""
    try:
        manifest = read_json(folder / "manifest.json")
    except RecordError:
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


def soak_in(directory: Path) -> Path | None:
    """The soak's directory, given it or its session; None where it is neither."""
    return next((folder for folder in (directory, directory / CASE) if is_soak(folder)), None)


def soak_folder(directory: Path) -> Path:
    """As :func:`soak_in`. Raises :class:`UsageError` where there is none."""
    found = soak_in(directory)
    if found is not None:
        return found
    raise UsageError("holds no soak", where=str(directory), hint="give the session directory or its soak/ directory")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest. Raises :class:`RecordError`; :class:`RecordTooNew` where a newer harness wrote it."""
    path = folder / "manifest.json"
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise RecordError("is no soak's manifest", where=str(path))
    schema = manifest.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise RecordTooNew(f"is of schema {schema}, this harness reads up to {SCHEMA_VERSION}", where=str(path))
    return manifest
