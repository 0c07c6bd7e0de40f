"""Arms from CSV files: the runbook's one column of P99 values, or a table of requests.

Known columns: ``latency_ms`` (or ``p99_ms``, ``p99_latency_ms``, ``latency``, ``value``), ``user`` (or ``user_id``),
``t`` (seconds), ``error`` (0 or 1), and ``cohort`` (``control``; ``canary`` or ``treatment``) where one file holds
both.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import RecordError
from harness.judge.arms import Arm
from harness.judge.intervals import Floats

_LATENCY = ("latency_ms", "p99_ms", "p99_latency_ms", "latency", "p99_latency", "value")
_USER = ("user", "user_id")
_TIME = ("t", "time_s", "seconds")
_COHORTS = {"control": "control", "canary": "canary", "treatment": "canary"}
_MOST_ROWS = 20_000_000


@dataclass(frozen=True)
class Table:
    """One arm as a file gives it. ``series``: its values are percentiles of stretches of time, not requests."""

    latency: Arm | None
    errors: Arm | None
    series: bool
    notes: tuple[str, ...]


def read_tables(path: Path, name: str) -> dict[str, Table]:
    """The arms of one file, by cohort; a file without a ``cohort`` column holds one arm, called ``name``.

    Raises :class:`RecordError` naming file and line.
    """
    columns, rows = _read(path)
    latency = next((c for c in _LATENCY if c in columns), columns[0] if len(columns) == 1 else "")
    if not latency and "error" not in columns:
        raise RecordError("has no column of latencies or errors", where=str(path), hint=f"one of {', '.join(_LATENCY)}")
    groups: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        told = row["cohort"].strip().lower() if "cohort" in row else name
        if "cohort" in row and told not in _COHORTS:
            raise RecordError(f"line {line}: no such cohort: {told!r}", where=str(path), hint="control, canary")
        groups.setdefault(_COHORTS.get(told, told), []).append((line, row))
    if not groups:
        raise RecordError("holds no rows", where=str(path))
    return {cohort: _table(path, cohort, group, columns, latency) for cohort, group in groups.items()}


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [column.strip().lower() for column in next(reader, [])]
            found = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise RecordError(f"line {reader.line_num}: {len(cells)} cells, not {len(header)}", where=str(path))
                found.append((reader.line_num, dict(zip(header, cells, strict=True))))
                if len(found) > _MOST_ROWS:
                    raise RecordError(f"has more than {_MOST_ROWS:,} rows", where=str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"cannot read the table: {error}", where=str(path)) from error
    if not header or all(_is_number(column) for column in header):
        raise RecordError("has no header", where=str(path), hint="the first line names the columns, as in latency_ms")
    if len(set(header)) != len(header):
        raise RecordError("names a column twice", where=str(path))
    return header, found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table(path: Path, cohort: str, rows: list[tuple[int, dict[str, str]]], columns: list[str], latency: str) -> Table:
    notes = []
    at = next((_numbers(path, rows, c) for c in _TIME if c in columns), None)
    order = np.argsort(at, kind="stable") if at is not None and bool(np.isfinite(at).all()) else np.arange(len(rows))
    user = next((c for c in _USER if c in columns), "")
    if user:
        names = [row[user] for _, row in rows]
        index = {name: number for number, name in enumerate(dict.fromkeys(names))}
        users = np.array([index[name] for name in names], dtype=np.int64)[order]
    else:
        users = np.arange(len(rows), dtype=np.int64)
        notes.append(f"{path.name} has no column 'user': every row is taken for a unit of its own")
    series = "p99" in latency or "p99" in path.name.lower()
    when = at[order] if at is not None else np.arange(len(rows), dtype=np.float64) if series else None
    if series:
        notes.append(f"{path.name} holds percentiles of stretches of time: their mean is compared, in order of time")
    values = _numbers(path, rows, latency)[order] if latency else None
    errors = _numbers(path, rows, "error")[order] if "error" in columns else None
    return Table(
        None if values is None else Arm(cohort, users, values, when),
        None if errors is None else Arm(cohort, users, errors, when),
        series,
        tuple(notes),
    )


def _numbers(path: Path, rows: list[tuple[int, dict[str, str]]], column: str) -> Floats:
    """A column; an empty cell is NaN (evidence that is missing), anything else that is no number is an error."""
    found = np.empty(len(rows))
    for place, (line, row) in enumerate(rows):
        text = row[column].strip()
        try:
            found[place] = float(text) if text else math.nan
        except ValueError as error:
            raise RecordError(f"line {line}: {column} is no number: {text!r}", where=str(path)) from error
    return found
