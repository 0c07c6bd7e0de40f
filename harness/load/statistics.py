"""What the supervisor tells about a load: live counts while it runs, a summary when it has ended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.histogram import Histogram
from harness.load.live import (
    W_CONNECTS,
    W_CPU,
    W_IN_FLIGHT,
    W_NO_SLOT,
    W_PEAK_RSS,
    W_RSS,
    W_SENT,
    LiveSnapshot,
)
from harness.model import NOT_THE_SERVICE, RECALL_OPS, Op, Outcome

Outcomes = dict[Op, dict[Outcome, int]]


@dataclass(frozen=True)
class LiveStats:
    """Counts and histograms from the start of the arrivals to ``t`` (or between two instants: :meth:`since`).

    ``offered`` counts what the schedule had due by ``t``, ``completed`` what has ended, one way or another (what fell
    due and was never sent counts as cancelled). ``latency`` is done - intended, ``service`` done - sent, ``lag`` the
    generator's own lateness. ``elapsed_s`` is what the counts were gathered over.
    """

    t: float
    elapsed_s: float
    offered: int
    sent: int
    completed: int
    no_free_slot: int
    in_flight: int
    connects: int
    outcomes: Outcomes
    latency_by_op: dict[Op, Histogram]
    service_by_op: dict[Op, Histogram]
    lag: Histogram
    loop_lag: Histogram
    cpu_s: float
    rss_bytes: int
    peak_rss_bytes: int

    @property
    def latency(self) -> Histogram:
        """Corrected latency of all operations."""
        return Histogram.merged(self.latency_by_op.values())

    @property
    def service(self) -> Histogram:
        """Service time of all operations."""
        return Histogram.merged(self.service_by_op.values())

    @property
    def recall_latency(self) -> Histogram:
        """Corrected latency of what recalls."""
        return Histogram.merged(self.latency_by_op[op] for op in RECALL_OPS)

    @property
    def by_outcome(self) -> dict[Outcome, int]:
        """Ended requests by outcome, over all operations."""
        total: dict[Outcome, int] = {}
        for row in self.outcomes.values():
            for outcome, count in row.items():
                total[outcome] = total.get(outcome, 0) + count
        return total

    @property
    def ok(self) -> int:
        """Requests that ended well."""
        return self.by_outcome.get(Outcome.OK, 0)

    @property
    def errors(self) -> dict[Outcome, int]:
        """What went wrong at the service: every outcome but OK and our own cancelling."""
        return {k: n for k, n in self.by_outcome.items() if k != Outcome.OK and k not in NOT_THE_SERVICE}

    @property
    def error_rate(self) -> float:
        """Errors by judged requests; NaN where none ended."""
        wrong = sum(self.errors.values())
        return wrong / (wrong + self.ok) if wrong + self.ok else math.nan

    @property
    def rate(self) -> float:
        """Completed requests a second; NaN over no time at all."""
        return self.completed / self.elapsed_s if self.elapsed_s > 0 else math.nan

    @property
    def offered_rate(self) -> float:
        """Arrivals due a second; NaN over no time at all."""
        return self.offered / self.elapsed_s if self.elapsed_s > 0 else math.nan

    def p_ms(self, p: float) -> float:
        """The ``p``-th percentile of corrected latency in ms; NaN without samples."""
        return self.latency.percentile(p) * 1000

    def since(self, earlier: LiveStats) -> LiveStats:
        """What happened between ``earlier`` and this; states (in flight, RSS) are this one's."""
        return LiveStats(
            t=self.t,
            elapsed_s=self.t - earlier.t,
            offered=self.offered - earlier.offered,
            sent=self.sent - earlier.sent,
            completed=self.completed - earlier.completed,
            no_free_slot=self.no_free_slot - earlier.no_free_slot,
            in_flight=self.in_flight,
            connects=self.connects - earlier.connects,
            outcomes=_minus(self.outcomes, earlier.outcomes),
            latency_by_op={op: h - earlier.latency_by_op[op] for op, h in self.latency_by_op.items()},
            service_by_op={op: h - earlier.service_by_op[op] for op, h in self.service_by_op.items()},
            lag=self.lag - earlier.lag,
            loop_lag=self.loop_lag - earlier.loop_lag,
            cpu_s=self.cpu_s - earlier.cpu_s,
            rss_bytes=self.rss_bytes,
            peak_rss_bytes=self.peak_rss_bytes,
        )


def live_stats(snapshots: Iterable[LiveSnapshot], t: float, elapsed_s: float, offered: int) -> LiveStats:
    """Add the processes' live files up. CPU seconds count from each process' start."""
    parts = list(snapshots)

    def total(word: int) -> int:
        return sum(part.word(word) for part in parts)

    outcomes: Outcomes = {}
    for part in parts:
        for op, row in part.outcomes().items():
            mine = outcomes.setdefault(op, {})
            for outcome, count in row.items():
                mine[outcome] = mine.get(outcome, 0) + count
    return LiveStats(
        t=t,
        elapsed_s=elapsed_s,
        offered=offered,
        sent=total(W_SENT),
        completed=sum(sum(row.values()) for row in outcomes.values()),
        no_free_slot=total(W_NO_SLOT),
        in_flight=total(W_IN_FLIGHT),
        connects=total(W_CONNECTS),
        outcomes=outcomes,
        latency_by_op={op: Histogram.merged(part.latency(op) for part in parts) for op in Op},
        service_by_op={op: Histogram.merged(part.service(op) for part in parts) for op in Op},
        lag=Histogram.merged(part.lag() for part in parts),
        loop_lag=Histogram.merged(part.loop_lag() for part in parts),
        cpu_s=sum(part.real(W_CPU) for part in parts),
        rss_bytes=total(W_RSS),
        peak_rss_bytes=total(W_PEAK_RSS),
    )


def _minus(now: Outcomes, earlier: Outcomes) -> Outcomes:
    found: Outcomes = {}
    for op, row in now.items():
        before = earlier.get(op, {})
        rest = {outcome: count - before.get(outcome, 0) for outcome, count in row.items()}
        kept = {outcome: count for outcome, count in rest.items() if count > 0}
        if kept:
            found[op] = kept
    return found


@dataclass(frozen=True)
class LoadSummary:
    """A load that has ended. ``due`` = ``sent`` + ``unsent``; ``cpu_s`` is what the generator used for it."""

    t0: float
    t_stop: float
    due: int
    sent: int
    unsent: int
    completed: int
    processes: int
    slots: int
    cpu_s: float
    digest: str
    live: LiveStats

    @property
    def duration_s(self) -> float:
        """From arrival 0's origin to the end of the arrivals."""
        return self.t_stop - self.t0

    def as_json(self) -> dict[str, Any]:
        """As it stands in ``samples/load.json``; units last in the names."""
        live = self.live
        lasted = self.duration_s
        return {
            "schema": 1,
            "t0": self.t0,
            "t_stop": self.t_stop,
            "duration_s": lasted,
            "processes": self.processes,
            "slots": self.slots,
            "due": self.due,
            "sent": self.sent,
            "unsent": self.unsent,
            "completed": self.completed,
            "ok": live.ok,
            "no_free_slot": live.no_free_slot,
            "connects": live.connects,
            "offered_per_s": self.due / lasted if lasted > 0 else math.nan,
            "achieved_per_s": self.completed / lasted if lasted > 0 else math.nan,
            "outcomes": {
                op.name.lower(): {outcome.name.lower(): count for outcome, count in row.items()}
                for op, row in live.outcomes.items()
            },
            "latency_ms": {"all": _percentiles(live.latency), **_by_op(live.latency_by_op)},
            "service_ms": {"all": _percentiles(live.service), **_by_op(live.service_by_op)},
            "schedule_lag_ms": _percentiles(live.lag),
            "loop_lag_ms": _percentiles(live.loop_lag),
            "cpu_s": self.cpu_s,
            "cpu_us_per_request": self.cpu_s / self.completed * 1e6 if self.completed else math.nan,
            "peak_rss_mb": live.peak_rss_bytes / 1e6,
            "schedule_sha256": self.digest,
            "latency_hdr": {op.name.lower(): h.to_hdr() for op, h in live.latency_by_op.items() if h.count},
        }


def _by_op(histograms: dict[Op, Histogram]) -> dict[str, dict[str, float]]:
    return {op.name.lower(): _percentiles(h) for op, h in histograms.items() if h.count}


def _percentiles(histogram: Histogram) -> dict[str, float]:
    found: dict[str, float] = {f"p{p:g}": histogram.percentile(p) * 1000 for p in (50, 95, 99, 99.9)}
    return {"count": histogram.count, **found, "max": histogram.percentile(100) * 1000}
