"""What recalls returned, for a panel of questions, and what they should have returned.

A question is a memory, its space, and the cue it is asked with. Which memories were returned, and how sure the service
was of its answer, is kept for a panel of them (every n-th item), so that a record grows by a bounded amount and both
cohorts answer the same questions. ``truth.bin`` holds the memories nearest to each cue, by brute force over what was
acknowledged. The judge reads both.

Version 1 of the answers kept no confidence, and no answer without a memory of ours. It is still read; its confidences
are NaN, which is no data.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError, RecordTooNew

KEPT = 10  # results kept of an answer
NEAREST = 20  # nearest memories kept of a question: more than KEPT, so that near ties can be told
MAGIC = b"ENGRANS2"
MAGIC_OF_1 = b"ENGRANS1"
TRUTH_MAGIC = b"ENGRTRU1"
NONE = 0xFFFFFFFF
ANSWER_OF_1 = np.dtype([("sequence", "<u4"), ("count", "u1"), ("items", "<u4", (KEPT,))])
# confidence: of the answer as a whole (``recall_confidence``), 0 to 1; NaN where it bore none
ANSWER = np.dtype([("sequence", "<u4"), ("count", "u1"), ("items", "<u4", (KEPT,)), ("confidence", "<f4")])
TRUTH = np.dtype(
    [
        ("space", "<u2"),
        ("item", "<u4"),
        ("cue", "u1"),
        ("count", "u1"),
        ("items", "<u4", (NEAREST,)),
        ("nearness", "<f4", (NEAREST,)),  # cosine to the cue, largest first
    ]
)
PACKER = struct.Struct(f"<IB{KEPT}If")
TRUTH_FILE = "truth.bin"
assert PACKER.size == ANSWER.itemsize

Answers = npt.NDArray[np.void]
Truth = npt.NDArray[np.void]


def no_answers() -> Answers:
    """None at all."""
    return np.zeros(0, dtype=ANSWER)


def no_truth() -> Truth:
    """None at all."""
    return np.zeros(0, dtype=TRUTH)


def read_answers(folder: Path) -> Answers:
    """All ``answers-*.bin`` of a folder, by sequence; records of before there were any have none."""
    parts = [_read_answers(path) for path in sorted(folder.glob("answers-*.bin"))]
    merged = np.concatenate(parts) if parts else no_answers()
    return merged[np.argsort(merged["sequence"], kind="stable")]


def read_truth(folder: Path) -> Truth:
    """``truth.bin`` of a folder; empty where it is not there."""
    path = folder / TRUTH_FILE
    return _read(path, TRUTH_MAGIC, TRUTH) if path.is_file() else no_truth()


def write_truth(folder: Path, truth: Truth) -> None:
    """Write ``truth.bin``. Raises :class:`RecordError` where the disk will not take it."""
    path = folder / TRUTH_FILE
    try:
        path.write_bytes(TRUTH_MAGIC + truth.tobytes())
    except OSError as error:
        raise RecordError(f"cannot write the true answers: {error.strerror}", where=str(path)) from error


def _read_answers(path: Path) -> Answers:
    raw = _bytes_of(path)
    if not raw.startswith(MAGIC_OF_1):
        return _rows(raw, path, MAGIC, ANSWER)
    old = _rows(raw, path, MAGIC_OF_1, ANSWER_OF_1)
    found = np.zeros(len(old), dtype=ANSWER)
    for name in ("sequence", "count", "items"):
        found[name] = old[name]
    found["confidence"] = np.nan
    return found


def _read(path: Path, magic: bytes, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    return _rows(_bytes_of(path), path, magic, dtype)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read: {error.strerror}", where=str(path)) from error


def _rows(raw: bytes, path: Path, magic: bytes, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    if len(raw) < len(magic):
        return np.zeros(0, dtype=dtype)
    if not raw.startswith(magic):
        if raw.startswith(magic[:-1]):
            raise RecordTooNew("is of a newer format", where=str(path), hint="judge it with a newer harness")
        raise RecordError("not a file of recall answers", where=str(path))
    whole = (len(raw) - len(magic)) // dtype.itemsize
    return np.frombuffer(raw, dtype=dtype, count=whole, offset=len(magic))
