"""What a comparison of two arms answers: two estimates, their difference with its interval, a verdict, and why."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from harness.model import NO_INTERVAL, Estimate, Interval, Verdict, json_number, no_estimate

RELATIVE, FLOOR = "relative", "absolute floor"
DEFAULT, RUNBOOK = "default", "runbook"
METHODS = (DEFAULT, RUNBOOK)


@dataclass(frozen=True)
class Comparison:
    """One metric, canary against control (or one figure against its limit, where ``control`` is unknown).

    ``change`` holds a one-sided 95 % bound at each end, and those bounds decide; ``interval95`` is the two-sided 95 %
    interval for people to read. The unit of ``change`` is ``ratio`` (canary / control - 1), ``pp`` (percentage points)
    or that of the figure itself. ``limit`` is in that unit. ``decided_by`` is ``relative`` or ``absolute floor`` where
    a margin has both. ``needed`` is the sample (in ``needed_unit``, per arm) that would decide an INCONCLUSIVE.
    ``false_alarms`` says what share of runs without any change the method calls a regression, where that was measured.
    """

    metric: str
    control: Estimate
    canary: Estimate
    change: Estimate
    interval95: Interval
    limit: float
    op: str
    verdict: Verdict
    decided_by: str = ""
    needed: int | None = None
    needed_unit: str = "requests"
    note: str = ""
    method: str = DEFAULT
    false_alarms: str = ""

    def named(self, metric: str) -> Comparison:
        """The same under another name."""
        return dataclasses.replace(self, metric=metric)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; plain data, deterministic."""
        return {
            "metric": self.metric,
            "control": estimate_json(self.control),
            "canary": estimate_json(self.canary),
            "change": {**estimate_json(self.change), "interval95": self.interval95.as_json()},
            "limit": json_number(self.limit),
            "op": self.op,
            "verdict": self.verdict.value,
            "decided_by": self.decided_by,
            "needed": {"samples": self.needed, "unit": self.needed_unit} if self.needed is not None else None,
            "note": self.note,
            "method": self.method,
            "false_alarms": self.false_alarms,
        }


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate as plain data."""
    return {
        "value": json_number(estimate.value),
        **estimate.interval.as_json(),
        "unit": estimate.unit,
        "samples": estimate.samples,
    }


def undecided(
    metric: str,
    why: str,
    *,
    unit: str = "ratio",
    limit: float = math.nan,
    op: str = "<",
    control: Estimate | None = None,
    canary: Estimate | None = None,
    needed: int | None = None,
    needed_unit: str = "requests",
    method: str = DEFAULT,
) -> Comparison:
    """A comparison that cannot be made, and why: INCONCLUSIVE, never PASS."""
    nothing = no_estimate(unit, why)
    return Comparison(
        metric,
        control or nothing,
        canary or nothing,
        nothing,
        NO_INTERVAL,
        limit,
        op,
        Verdict.INCONCLUSIVE,
        needed=needed,
        needed_unit=needed_unit,
        note=why,
        method=method,
    )


def decide(interval: Interval, op: str, limit: float) -> Verdict:
    """PASS where the whole interval keeps ``op limit``, FAIL where none of it does, else INCONCLUSIVE.

    An end that is unknown or infinite decides nothing on its own side; a limit that is no number decides nothing.
    """
    if not interval.known or math.isnan(limit) or interval.low > interval.high:
        return Verdict.INCONCLUSIVE
    if op in ("<", "<="):
        passes = interval.high <= limit if op == "<=" else interval.high < limit
        fails = interval.low > limit
    elif op in (">", ">="):
        passes = interval.low >= limit if op == ">=" else interval.low > limit
        fails = interval.high < limit
    else:
        raise ValueError(f"no such comparison: {op!r}")
    return Verdict.PASS if passes else Verdict.FAIL if fails else Verdict.INCONCLUSIVE


def sample_to_decide(samples: int, value: float, interval: Interval, limit: float) -> int | None:
    """How many samples of this spread would bring the nearer end of ``interval`` to the limit; None where none would.

    The half-width shrinks with the root of the sample, so n' = n (half / distance)^2.
    """
    distance = abs(limit - value)
    edge = interval.high if limit > value else interval.low
    half = abs(edge - value)
    if not (math.isfinite(distance) and math.isfinite(half)) or distance <= 0 or samples <= 0:
        return None
    more = samples * (half / distance) ** 2
    return math.ceil(more) if more < 1e12 else None
