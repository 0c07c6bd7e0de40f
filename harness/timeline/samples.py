"""One request, one fixed-size record.

Records are appended by the load process that sent the request and read by the judge. A file starts with
:data:`MAGIC`; a torn last record costs that record alone. Instants are seconds on the monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError, RecordTooNew
from harness.model import Op, Outcome

MAGIC = b"ENGRSMP1"
_FAMILY = b"ENGRSMP"

# intended, sent, done: the instant the schedule asked for, the instant the request left, the instant the answer was
# whole. Latency is done - intended; service time is done - sent; schedule lag is sent - intended.
FIELDS: tuple[tuple[str, str], ...] = (
    ("intended", "<f8"),
    ("sent", "<f8"),
    ("done", "<f8"),
    ("sequence", "<u4"),  # index in the seeded arrival schedule, gapless over all processes
    ("user", "<u4"),  # index of the user the request was sent for
    ("item", "<u4"),  # index of the memory it is about
    ("space", "<u2"),  # index of the memory space
    ("status", "<u2"),  # HTTP status, 0 where none came
    ("results", "<u2"),  # memories in the answer
    ("bindings_filtered", "<u2"),  # as the answer's metadata says
    ("convergent", "<u2"),  # as the answer's metadata says
    ("op", "u1"),
    ("outcome", "u1"),
    ("cohort", "u1"),
    ("pathway", "u1"),
    ("semantic_missing", "u1"),
    ("cue", "u1"),
    ("found", "u1"),
    ("flags", "u1"),
    ("rank", "<u2"),  # 1-based place of the memory asked for, 0 where not found or not asked
    ("version", "<u4"),  # for a store: the version written; for a read or recall: the version seen (0: none)
)
DTYPE = np.dtype([*FIELDS])
PACKER = struct.Struct("<dddIIIHHHHHBBBBBBBBHI")
assert PACKER.size == DTYPE.itemsize

Samples = npt.NDArray[np.void]


def empty_samples() -> Samples:
    """No samples at all."""
    return np.zeros(0, dtype=DTYPE)


def read_samples(path: Path) -> Samples:
    """Read one sample file; a torn last record is left out.

    Raises :class:`RecordError` where the file is no sample file, :class:`RecordTooNew` for a newer format.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read the samples: {error.strerror}", where=str(path)) from error
    if len(raw) < len(MAGIC):
        return empty_samples()
    if not raw.startswith(MAGIC):
        if raw.startswith(_FAMILY):
            raise RecordTooNew(
                "these samples are of a newer format", where=str(path), hint="judge them with a newer harness"
            )
        raise RecordError("not a sample file", where=str(path))
    whole = (len(raw) - len(MAGIC)) // DTYPE.itemsize
    found: Samples = np.frombuffer(raw, dtype=DTYPE, count=whole, offset=len(MAGIC))
    known = np.isfinite(found["intended"]) & (found["op"] <= max(Op)) & (found["outcome"] <= max(Outcome))
    if not known.all():
        raise RecordError(f"record {int(np.argmin(known))} is no sample: the file is damaged", where=str(path))
    return found


def read_all_samples(folder: Path) -> Samples:
    """All ``requests-*.bin`` of a folder, ordered by intended instant (ties by sequence)."""
    parts = [read_samples(p) for p in sorted(folder.glob("requests-*.bin"))]
    merged = np.concatenate(parts) if parts else empty_samples()
    return merged[np.lexsort((merged["sequence"], merged["intended"]))]


def pick(samples: Samples, keep: npt.NDArray[np.bool_]) -> Samples:
    """The samples where ``keep`` is true."""
    picked: Samples = samples[keep]
    return picked
