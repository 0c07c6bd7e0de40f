"""Append-only JSON lines: one object a line, whole or not at all for a reader."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import RecordError
from harness.model import json_number


def plain(value: Any) -> Any:
    """``value`` as strict JSON can hold it: NaN becomes null, infinities become texts."""
    if isinstance(value, float):
        return json_number(value) if not math.isfinite(value) else float(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def dump_line(value: Any) -> bytes:
    """One compact JSON line, ended."""
    return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


class JsonLines:
    """An append-only file of JSON objects, safe to write from several threads.

    ``durable`` fsyncs every line before :meth:`append` returns.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self._path = path
        self._durable = durable
        self._lock = threading.Lock()
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordError(f"cannot open for writing: {error.strerror}", where=str(path)) from error

    def append(self, value: dict[str, Any]) -> None:
        """Write one object. Raises :class:`RecordError` where the disk will not take it."""
        line = dump_line(value)
        with self._lock:
            try:
                _write_whole(self._fd, line)
                if self._durable:
                    os.fsync(self._fd)
            except OSError as error:
                raise RecordError(f"cannot write: {error.strerror}", where=str(self._path)) from error

    def close(self) -> None:
        """Close; idempotent."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _write_whole(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn last line is left out, a bad one in the middle is an error.

    A file that does not exist holds nothing.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"cannot read: {error.strerror}", where=str(path)) from error
    lines = raw.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        if not line:
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines) - 1:
                return
            raise RecordError(f"not JSON: {error}", where=f"{path}:{number}") from error
        if not isinstance(value, dict):
            raise RecordError("not a JSON object", where=f"{path}:{number}")
        yield value


def write_json_atomically(path: Path, value: Any) -> None:
    """Write ``value`` as sorted, indented JSON, so that a reader sees the old file or the new one, never half."""
    text = json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write: {error.strerror}", where=str(path)) from error


def read_json(path: Path) -> Any:
    """A JSON file. Raises :class:`RecordError` where it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"cannot read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise RecordError(f"not JSON: {error}", where=str(path)) from error
