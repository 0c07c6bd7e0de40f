"""Writes and what was read back of them, as columns: ten million of either fit in a few hundred megabytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError
from harness.model import Op, Outcome
from harness.timeline.samples import DTYPE, MAGIC, Samples

NOTHING = -1  # where an answer showed no item, version or space of ours
_CHUNK = 500_000


@dataclass(frozen=True)
class Writes:
    """One row a store or delete that was sent; ``key`` is space << 32 | item. Instants in monotonic seconds."""

    key: npt.NDArray[np.uint64]
    version: npt.NDArray[np.uint32]
    sent: npt.NDArray[np.float64]
    done: npt.NDArray[np.float64]
    acked: npt.NDArray[np.bool_]
    deletes: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class Seen:
    """One row a question of the read-back. ``whole``: the content is to the letter what its item and version say."""

    key: npt.NDArray[np.uint64]
    by_id: npt.NDArray[np.bool_]
    status: npt.NDArray[np.uint16]
    item: npt.NDArray[np.int64]
    version: npt.NDArray[np.int64]
    space: npt.NDArray[np.int32]
    whole: npt.NDArray[np.bool_]
    rank: npt.NDArray[np.uint16]
    copies: npt.NDArray[np.uint16]
    strangers: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.key)


def writes_of(samples: Samples) -> Writes:
    """The writes among samples."""
    rows = samples[np.isin(samples["op"], (int(Op.STORE), int(Op.DELETE)))]
    return Writes(
        rows["space"].astype(np.uint64) << np.uint64(32) | rows["item"].astype(np.uint64),
        rows["version"].copy(),
        rows["sent"].copy(),
        rows["done"].copy(),
        rows["outcome"] == int(Outcome.OK),
        rows["op"] == int(Op.DELETE),
    )


def read_writes(folder: Path) -> Writes:
    """The writes of all ``requests-*.bin`` of a folder, read piece by piece. Raises :class:`RecordError`."""
    paths = sorted(folder.glob("requests-*.bin"))
    most = sum(max(0, path.stat().st_size - len(MAGIC)) // DTYPE.itemsize for path in paths)
    # Pages that are never touched cost nothing.
    whole = Writes(
        np.empty(most, np.uint64),
        np.empty(most, np.uint32),
        np.empty(most, np.float64),
        np.empty(most, np.float64),
        np.empty(most, np.bool_),
        np.empty(most, np.bool_),
    )
    names = [one.name for one in fields(Writes)]
    filled = 0
    for path in paths:
        for rows in _pieces(path):
            found = writes_of(rows)
            for name in names:
                getattr(whole, name)[filled : filled + len(found)] = getattr(found, name)
            filled += len(found)
    return Writes(**{name: getattr(whole, name)[:filled] for name in names})


def _pieces(path: Path) -> Iterator[Samples]:
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) not in (MAGIC, b""):
                raise RecordError("not a sample file of this version", where=str(path))
            while len(rows := np.fromfile(file, dtype=DTYPE, count=_CHUNK)):
                yield rows
    except OSError as error:
        raise RecordError(f"cannot read the samples: {error.strerror}", where=str(path)) from error


def seen_of(rows: Iterable[Mapping[str, Any]]) -> Seen:
    """The rows of ``verify.jsonl`` as columns. Raises :class:`RecordError` for a row that is none."""
    try:
        return _columns([_flat(row) for row in rows])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"not a row of a read-back: {error!r}") from error


def _flat(row: Mapping[str, Any]) -> tuple[int, ...]:
    space, item = int(row["space"]), int(row["item"])
    shown, version = row.get("seen_item"), row.get("seen_version")
    return (
        space << 32 | item,
        row["by"] == "id",
        int(row["status"]),
        _or_nothing(shown),
        _or_nothing(version),
        _or_nothing(row.get("seen_space", space if shown is not None else None)),
        bool(row.get("whole", True)),
        int(row.get("rank") or 0),
        int(row.get("copies", 1)),
        int(row.get("strangers", 0)),
    )


def _or_nothing(value: Any) -> int:
    return NOTHING if value is None else int(value)


def _columns(rows: list[tuple[int, ...]]) -> Seen:
    key, by_id, status, item, version, space, whole, rank, copies, strangers = (
        zip(*rows, strict=True) if rows else [()] * len(fields(Seen))
    )
    return Seen(
        np.array(key, np.uint64),
        np.array(by_id, np.bool_),
        np.array(status, np.uint16),
        np.array(item, np.int64),
        np.array(version, np.int64),
        np.array(space, np.int32),
        np.array(whole, np.bool_),
        np.array(rank, np.uint16),
        np.array(copies, np.uint16),
        np.array(strangers, np.uint16),
    )


def read_seen(path: Path) -> Iterator[Seen]:
    """The read-back in ``path``, piece by piece; a torn last line is left out. Raises :class:`RecordError`."""
    try:
        with path.open("rb") as file:
            while lines := list(islice(file, 50_000)):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()
                yield seen_of(json.loads(line) for line in lines)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"cannot read: {error.strerror}", where=str(path)) from error
