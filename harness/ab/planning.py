"""What an A/B test needs before it starts: requests, and so time, for every decision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.ab.analysis import Q, design_effect_of
from harness.ab.evidence import gather
from harness.errors import RecordError, UsageError
from harness.judge.power import (
    ALPHA,
    POWER,
    clean_requests,
    requests_for_quantile,
    requests_for_share,
    tail_weight,
    tail_weight_log_normal,
)
from harness.scenario.slo import Objectives

# Watched at every minute, a decision takes about so many times the sample of a single look: the critical value is about
# 3.3 where one look takes 1.645 and power 0.84 (docs/ab_calibration.md has the measured figures).
WATCHED = ((3.3 + 0.84) / (1.645 + 0.84)) ** 2


@dataclass(frozen=True)
class Line:
    """One decision: how many canary requests it takes, and how long that is."""

    question: str
    requests: int | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"question": self.question, "canary_requests": self.requests, "seconds": self.seconds}


@dataclass(frozen=True)
class Plan:
    """All of them."""

    assumed: str
    rows: tuple[Line, ...]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        rows = [row.as_json() for row in self.rows]
        return {"schema": 1, "alpha": ALPHA, "power": POWER, "assumed": self.assumed, "decisions": rows}

    def lines(self) -> list[str]:
        """For people."""
        found = [f"alpha {ALPHA:g}, power {POWER:.2f}; {self.assumed}", ""]
        found.append(f"{'To decide':<66}{'canary requests':>16}{'time':>12}")
        for row in self.rows:
            count = "no sample does" if row.requests is None else f"{row.requests:,}"
            found.append(f"{row.question:<66}{count:>16}{_duration(row.seconds):>12}")
        return found


def plan_of(
    limits: Objectives, *, rate: float, canary: float, sigma: float, error_rate: float, pilot: Path | None
) -> Plan:
    """Requests and time for P99 and error rate at ``rate`` requests a second of which ``canary`` are the canary's.

    Raises :class:`UsageError` or :class:`RecordError` where a pilot run cannot be read.
    """
    weight, effect, assumed = tail_weight_log_normal(Q, sigma), 1.0, f"log-normal latencies of sigma {sigma:g}"
    if pilot is not None:
        weight, effect, assumed = _of_pilot(pilot)
    margin = limits.limits["p99_increase"].value
    per_canary = (1 - canary) / canary

    def p99(change: float) -> int | None:
        return requests_for_quantile(
            Q, margin, weight, true_change=change, design_effect=effect, control_per_canary=per_canary
        )

    increase = limits.limits["error_rate_increase"].value
    threefold = requests_for_share(error_rate, min(1.0, 3 * error_rate))
    questions = [
        (f"identical arms keep P99 within {margin:.0%}", p99(0.0)),
        ("a P99 of +15 % is too much", p99(0.15)),
        ("the same, looked at every minute", _times(p99(0.15), WATCHED)),
        (f"a P99 of {margin:+.0%}, on the margin, is too much or not", p99(margin)),
        (f"an error rate of {error_rate:.2%} against {3 * error_rate:.2%}", threefold),
        (f"errors rose by less than {100 * increase:g} points", requests_for_share(error_rate, error_rate + increase)),
        ("without one error: an error rate of at most 0.1 %", clean_requests(0.001)),
    ]
    rows = [Line(text, count, math.inf if count is None else count / (rate * canary)) for text, count in questions]
    return Plan(f"{assumed}; {rate:g} requests/s, {canary:.0%} canary", tuple(rows))


def _of_pilot(pilot: Path) -> tuple[float, float, str]:
    try:
        found = gather(pilot, None, "whole").latency
    except UsageError:
        found = gather(pilot, pilot, "whole").latency
    if found is None or math.isnan(weight := tail_weight(found[0].values, Q)):
        raise RecordError("is too small to read the spread of latencies from", where=str(pilot))
    effect = design_effect_of(found[0])
    return weight, effect, f"latencies as in {pilot}, a request worth 1/{effect:.1f}"


def _times(count: int | None, factor: float) -> int | None:
    return None if count is None else math.ceil(count * factor)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "never"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
