"""The public build's trace of a workload, read as it is (ENGRAM.md section 5).

``{"operations": [{"timestamp_ms", "operation": {"type", …}}], "metadata": {…}}``, where an operation is one of

- ``store`` with ``memory`` = ``{embedding, memory_space, confidence}``,
- ``recall`` with ``cue`` = ``{embedding, memory_space, threshold, max_depth}``,
- ``embedding_search`` with ``query`` and ``k``,
- ``pattern_completion`` with ``partial``, at most half as many numbers as an embedding has.

A minute at 1,000 operations a second is half a gigabyte of JSON, so it is read operation by operation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError
from harness.model import Op

DIMENSIONS = 768
DEFAULT_SPACE = "default"
_TYPES = {
    "store": Op.STORE,
    "recall": Op.RECALL,
    "embedding_search": Op.EMBEDDING_SEARCH,
    "pattern_completion": Op.PATTERN_COMPLETION,
}
_CHUNK = 1 << 20
_MOST_ONE = 1 << 24  # characters of one value; far more than 768 numbers take
_BETWEEN = " \t\r\n,"
_SPACE = re.compile(r"[a-z0-9_-]{3,64}")

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TraceEntry:
    """One operation; ``at_ms`` as the trace has it. What its type does not have keeps its default."""

    at_ms: float
    op: Op
    vector: Vector
    space: str = DEFAULT_SPACE
    confidence: float = 0.7
    threshold: float = 0.5
    results: int = 10


def read_trace(path: Path) -> Iterator[TraceEntry]:
    """The operations of a trace, in file order. Raises :class:`ConfigError` naming file and operation."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, value in enumerate(_operations(_Scanner(file, str(path)))):
                yield _entry(value, f"{path}: operations[{number}]")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the trace: {error}", where=str(path)) from error


class _Scanner:
    """JSON values one after another, without ever holding the whole text."""

    def __init__(self, file: TextIO, where: str) -> None:
        self._file = file
        self._where = where
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def fail(self, what: str) -> ConfigError:
        return ConfigError(what, where=self._where, hint="the public build's trace: operations[] and metadata{}")

    def peek(self) -> str:
        """The next character that is no space and no comma; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BETWEEN:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self, wanted: str) -> None:
        """Pass over ``wanted``."""
        if self.peek() != wanted:
            raise self.fail(f"is no trace: {wanted!r} was expected, not {self.peek() or 'the end'!r}")
        self._at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                found, end = self._decode(self._text, self._at)
                # A number that ends with the text may go on in what was not read yet.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return found
            except ValueError as error:
                if len(self._text) - self._at > _MOST_ONE or not self._more():
                    raise self.fail(f"is not JSON: {error}") from error

    def _more(self) -> bool:
        part = self._file.read(_CHUNK)
        self._text, self._at = self._text[self._at :] + part, 0
        return bool(part)


def _operations(scanner: _Scanner) -> Iterator[Any]:
    scanner.skip("{")
    seen = False
    while (mark := scanner.peek()) != "}":
        if mark != '"':
            raise scanner.fail("is no trace: its text ends or breaks in the middle")
        key = scanner.value()
        scanner.skip(":")
        if key != "operations":
            scanner.value()
            continue
        seen = True
        scanner.skip("[")
        while scanner.peek() not in ("]", ""):
            yield scanner.value()
        scanner.skip("]")
    if not seen:
        raise scanner.fail("holds no 'operations'")


def _entry(value: Any, where: str) -> TraceEntry:
    timed = _table(value, where)
    at_ms = _number(timed, "timestamp_ms", where, 0.0, 1e15)
    what = _table(timed.get("operation"), f"{where}: operation")
    kind = what.get("type")
    op = _TYPES.get(kind) if isinstance(kind, str) else None
    if op is None:
        raise ConfigError(f"type {kind!r} is not one of {', '.join(_TYPES)}", where=where)
    if op == Op.STORE:
        memory = _table(what.get("memory"), f"{where}: memory")
        vector = _vector(memory.get("embedding"), where)
        return TraceEntry(
            at_ms, op, vector, _space(memory, where), confidence=_number(memory, "confidence", where, 0.0, 1.0, 0.7)
        )
    if op == Op.RECALL:
        cue = _table(what.get("cue"), f"{where}: cue")
        threshold = _number(cue, "threshold", where, 0.0, 1.0, 0.5)
        return TraceEntry(at_ms, op, _vector(cue.get("embedding"), where), _space(cue, where), threshold=threshold)
    if op == Op.EMBEDDING_SEARCH:
        results = int(_number(what, "k", where, 1, 1000, 10.0))
        return TraceEntry(at_ms, op, _vector(what.get("query"), where), results=results)
    return TraceEntry(at_ms, op, _vector(what.get("partial"), where, most=DIMENSIONS // 2))


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("is no JSON object", where=where)
    return value


def _number(
    table: Mapping[str, Any], key: str, where: str, low: float, high: float, default: float | None = None
) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"'{key}' is no number from {low:g} to {high:g}: {value!r}", where=where)
    return float(value)


def _space(table: Mapping[str, Any], where: str) -> str:
    name = table.get("memory_space", DEFAULT_SPACE)
    if not isinstance(name, str) or not _SPACE.fullmatch(name):
        raise ConfigError(f"memory_space {name!r} is not 3 to 64 of a-z, 0-9, '_', '-'", where=where)
    return name


def _vector(value: Any, where: str, most: int | None = None) -> Vector:
    """Exactly :data:`DIMENSIONS` finite numbers, or 1 to ``most`` of them."""
    wanted = f"{DIMENSIONS} numbers" if most is None else f"1 to {most} numbers"
    if not isinstance(value, list) or (len(value) != DIMENSIONS if most is None else not 0 < len(value) <= most):
        have = f"{len(value)} values" if isinstance(value, list) else type(value).__name__
        raise ConfigError(f"an embedding must have {wanted}, not {have}", where=where)
    try:
        vector = np.array(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"an embedding must have {wanted}: {error}", where=where) from error
    if vector.ndim != 1 or not math.isfinite(float(np.abs(vector).sum())):
        raise ConfigError("an embedding holds what is no finite number", where=where)
    return vector
