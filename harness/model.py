"""The vocabulary: verdicts, intervals, windows, and the codes that samples are recorded with.

Stdlib only, and imported by every room. Units stand last in names (``latency_ms``, ``recovery_time_s``).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1


class Verdict(enum.StrEnum):
    """The outcome of a case, a check or a session; the worst of its parts (DESIGN.md, "Verdicts")."""

    FAIL = "FAIL"
    ABORTED = "ABORTED"
    NOT_EXERCISED = "NOT_EXERCISED"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSUPPORTED = "UNSUPPORTED"
    PASS = "PASS"

    @property
    def badness(self) -> int:
        """0 for PASS, rising to FAIL."""
        return _BADNESS[self]

    @staticmethod
    def worst(verdicts: Iterable[Verdict]) -> Verdict:
        """The worst of ``verdicts``. None at all is INCONCLUSIVE: no data is never a pass."""
        found = list(verdicts)
        return max(found, key=lambda v: v.badness) if found else Verdict.INCONCLUSIVE


_BADNESS = {v: i for i, v in enumerate(reversed(list(Verdict)))}


@dataclass(frozen=True)
class Interval:
    """A closed interval; ``high`` is infinite where the truth is right-censored, NaN bounds mean no data."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def known(self) -> bool:
        """Whether both ends are numbers (infinity is a number; NaN is not)."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies inside, ends included."""
        return self.low <= value <= self.high

    def as_json(self) -> dict[str, float | str | None]:
        return {"low": json_number(self.low), "high": json_number(self.high)}


NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Estimate:
    """A quantity measured from samples.

    ``value`` in ``unit``; ``interval`` holds a one-sided 95 % bound at each end (so 90 % two-sided), which is what a
    tolerance is tested with (STATISTICS.md, first row); ``samples`` counts what it was estimated from; ``needed`` is
    the sample that would decide, where that can be told.
    """

    value: float
    interval: Interval
    unit: str
    samples: int
    needed: int | None = None
    note: str = ""

    @property
    def known(self) -> bool:
        return self.samples > 0 and self.interval.known and not math.isnan(self.value)


def no_estimate(unit: str, note: str) -> Estimate:
    """The estimate of a quantity nothing was recorded of; it never passes a check."""
    return Estimate(math.nan, NO_INTERVAL, unit, 0, None, note)


@dataclass(frozen=True)
class Window:
    """A named stretch of the monotonic clock, in seconds."""

    name: str
    start: float
    end: float

    @property
    def duration_s(self) -> float:
        return max(0.0, self.end - self.start)


@dataclass(frozen=True)
class Status:
    """What is happening now, for people; NaN where not known yet.

    ``time_left_s`` of the phase, completed operations per second and recall p99 in ms over the last seconds, errors
    since the load started (None before).
    """

    case: str
    phase: str
    time_left_s: float
    rate_ops_per_s: float
    p99_ms: float
    errors: int | None


class Op(enum.IntEnum):
    """What a request did."""

    STORE = 0
    RECALL = 1
    EMBEDDING_SEARCH = 2
    PATTERN_COMPLETION = 3
    READ = 4
    DELETE = 5


RECALL_OPS = frozenset({Op.RECALL, Op.EMBEDDING_SEARCH})


class Outcome(enum.IntEnum):
    """How a request ended: a bounded set, so that errors can be counted without keeping texts."""

    OK = 0
    TIMEOUT = 1
    REFUSED = 2
    RESET = 3
    HTTP_4XX = 4
    HTTP_5XX = 5
    UNEXPECTED_STATUS = 6
    NOT_JSON = 7
    WRONG_SHAPE = 8
    WRONG_ANSWER = 9
    TOO_LARGE = 10
    CANCELLED = 11
    OTHER = 12


# The generator itself gave up on these at the end of a run; they say nothing about the service.
NOT_THE_SERVICE = frozenset({Outcome.CANCELLED})


class Cohort(enum.IntEnum):
    """The cohort the answer named; UNKNOWN where it named none."""

    UNKNOWN = 0
    CONTROL = 1
    CANARY = 2


class Pathway(enum.IntEnum):
    """The pathway the answer named."""

    UNKNOWN = 0
    EPISODIC = 1
    BLENDED = 2


class SemanticMissing(enum.IntEnum):
    """Why an answer has no semantic half. OFF: it was never asked for one (flag off, or control cohort)."""

    PRESENT = 0
    TIMEOUT = 1
    FAILED = 2
    BREAKER_OPEN = 3
    OFF = 4
    OTHER = 5
    UNKNOWN = 6


class Cue(enum.IntEnum):
    """What a recall was asked with."""

    NONE = 0
    TEXT = 1
    EXACT = 2
    PARTIAL = 3
    NOISY = 4


class Found(enum.IntEnum):
    """Whether a recall returned the memory it was asked for."""

    NOT_ASKED = 0
    YES = 1
    NO = 2


class Flag(enum.IntFlag):
    """Bits of a sample."""

    NO_FREE_SLOT = 1  # sent late because every slot was still waiting for the target: the target's lateness
    INVALID_STRENGTH = 2  # the answer served a binding strength that is NaN, < 0 or > 1
    INVALID_CONFIDENCE = 4  # the answer served a confidence or activation outside [0, 1]
    PATTERN_COMPLETED = 8
    NEW_CONNECTION = 16
    PRELOAD = 32  # written before the arrivals started; acknowledged, but not part of any rate


def json_number(value: float) -> float | str | None:
    """A float as JSON can hold it: NaN is null, infinity is ``"inf"`` (or ``"-inf"``)."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def number_from_json(value: Any) -> float:
    """The inverse of :func:`json_number`."""
    return math.nan if value is None else float(value)
