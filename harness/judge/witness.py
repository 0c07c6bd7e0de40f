"""The service's own account: counters, consolidation runs, binding state, health, process; and how far it agrees.

Every reading carries the instant it was asked for (``asked``) and answered (``t``), so agreement with the client is
bounded by what could have happened in between, not guessed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.judge.intervals import Floats, exactly, share
from harness.judge.recovery import SignalEvents
from harness.judge.view import CaseView
from harness.model import NO_INTERVAL, Estimate, Interval, Window, no_estimate

Reading = dict[str, Any]


@dataclass(frozen=True)
class CounterDelta:
    """How far a counter rose between two readings inside a window; both readings' asked/answered instants."""

    rise: float
    first: Interval
    last: Interval


def _inside(readings: tuple[Reading, ...], window: Window) -> list[Reading]:
    return [r for r in readings if float(r["asked"]) >= window.start and float(r["t"]) <= window.end]


def counter_delta(view: CaseView, name: str, window: Window) -> CounterDelta | None:
    """The rise of a service counter inside ``window``; None where it cannot be told.

    A missing series, a NaN, a counter that went backwards or fewer than two readings cannot be told.
    """
    values: list[tuple[Reading, float]] = []
    for reading in _inside(view.record.stream("service"), window):
        value = reading.get("values", {}).get(name)
        if not isinstance(value, int | float) or math.isnan(value):
            return None
        values.append((reading, float(value)))
    if len(values) < 2:
        return None
    if any(b < a for (_, a), (_, b) in itertools.pairwise(values)):
        return None
    (first, low), (last, high) = values[0], values[-1]
    return CounterDelta(
        high - low,
        Interval(float(first["asked"]), float(first["t"])),
        Interval(float(last["asked"]), float(last["t"])),
    )


def agreement(view: CaseView, name: str, window: Window, events: tuple[Floats, Floats, Floats]) -> Estimate:
    """What the service counted, as a share of what the client saw.

    ``events``: begun and ended instants (s) and a weight for each. The interval is what the instants allow: an event
    is certainly counted when it began and ended between the readings, possibly when it overlaps them.
    """
    begun, ended, weight = events
    delta = counter_delta(view, name, window)
    if delta is None:
        return no_estimate("ratio", f"{name} is missing, not a number, reset, or read less than twice in this window")
    certain = float(weight[(begun >= delta.first.high) & (ended <= delta.last.low)].sum())
    possible = float(weight[(ended >= delta.first.low) & (begun <= delta.last.high)].sum())
    if possible <= 0:
        return no_estimate("ratio", f"the client saw nothing that {name} could have counted")
    low = delta.rise / possible
    high = delta.rise / certain if certain > 0 else math.inf
    middle = delta.rise / ((certain + possible) / 2)
    return Estimate(middle, Interval(low, high), "ratio", int(possible))


def consolidation_runs(view: CaseView, window: Window | None = None) -> SignalEvents:
    """Consolidation runs as events, affected where failed, each known to lie between two polls.

    Consecutive polls that straddle more than one run give as many events with the same interval.
    """
    begun: list[float] = []
    ended: list[float] = []
    failed: list[bool] = []
    previous: Reading | None = None
    for reading in view.record.stream("consolidation"):
        if not reading.get("ok"):
            continue
        if previous is not None:
            bad = int(reading["failed"]) - int(previous["failed"])
            good = int(reading["successful"]) - int(previous["successful"])
            if bad >= 0 and good >= 0:
                outcomes = [True] * bad + [False] * good
                begun += [float(previous["asked"])] * len(outcomes)
                ended += [float(reading["t"])] * len(outcomes)
                failed += outcomes
        previous = reading
    events = SignalEvents(
        "consolidation_failures", np.array(begun), np.array(ended), np.array(failed, dtype=np.bool_), 0.05
    )
    return events if window is None else events.within(window.start, window.end)


def missed_successes(view: CaseView, window: Window) -> tuple[int, int]:
    """Consolidation successes that did not come when they were due, and how many were due.

    Read from the age of the last success alone, which no failure counter feeds: every distinct success instant is
    one success, and a stretch of n intervals between two of them has missed n - 1.
    """
    instants: list[float] = []
    interval = math.nan
    for reading in _inside(view.record.stream("consolidation"), window):
        age = reading.get("last_success_age_s")
        if not reading.get("ok") or not isinstance(age, int | float):
            continue
        interval = float(reading.get("interval_s") or math.nan)
        at = (float(reading["asked"]) + float(reading["t"])) / 2 - float(age)
        if not instants or at - instants[-1] > 0.4 * interval:
            instants.append(at)
    if math.isnan(interval) or interval <= 0:
        return 0, 0
    # The last success before the window dates the first due one inside; what was due before the window is not its own.
    known = bool(instants) and instants[0] < window.start
    edges = [*instants, window.end] if known else [window.start, *instants, window.end]
    missed = 0
    for a, b in itertools.pairwise(edges):
        parts = max(1, round((b - a) / interval))
        missed += sum(a + (b - a) * part / parts >= window.start for part in range(1, parts))
    return missed, missed + sum(at >= window.start for at in instants)


def invalid_bindings(view: CaseView, window: Window) -> Estimate:
    """The share of bindings whose strength is invalid, as the admin API shows the state: the worst reading's.

    A restored backup leaves the index empty until the next consolidation: none is invalid then. An index that was never
    seen to hold a binding says nothing.
    """
    stream = view.record.stream("bindings")
    readings = [r for r in _inside(stream, window) if r.get("ok")]
    if not readings:
        return no_estimate("ratio", "the binding state was not read in this window")
    if not any(r.get("ok") and int(r["total"]) > 0 for r in stream):
        return no_estimate("ratio", "no reading of the binding state showed a binding")
    values = [int(r["invalid"]) / max(1, int(r["total"])) for r in readings]
    return Estimate(float(np.median(values)), Interval(min(values), max(values)), "ratio", len(values))


def availability(view: CaseView, window: Window) -> Estimate:
    """The share of health probes answered with success."""
    readings = _inside(view.record.stream("health"), window)
    return share(sum(bool(r.get("ok")) for r in readings), len(readings), "health probes")


def rss_growth(view: CaseView, window: Window) -> Estimate:
    """Growth of the target's resident memory in MB per hour: Theil-Sen over one-second minima.

    A short look: it can see what the runbook calls a leak (> 1 GB/h, §0.2), not what a soak sees.
    """
    unit = "MB/h"
    rows = [
        (float(r["t"]), float(r["rss_bytes"]))
        for r in _inside(view.record.stream("process"), window)
        if "rss_bytes" in r
    ]
    if len(rows) < 10:
        return no_estimate(unit, "the target's memory was not read in this window")
    times = np.array([t for t, _ in rows])
    memory = np.array([m for _, m in rows]) / 1e6
    second = np.floor(times).astype(np.int64)
    floor_t = np.array([times[second == s].mean() for s in np.unique(second)])
    floor_m = np.array([memory[second == s].min() for s in np.unique(second)])
    if len(floor_t) < 5:
        return no_estimate(unit, "memory was read for less than five seconds")
    from scipy.stats import theilslopes

    fit = theilslopes(floor_m, floor_t / 3600.0, alpha=0.90)
    return Estimate(float(fit.slope), Interval(float(fit.low_slope), float(fit.high_slope)), unit, len(rows))


def open_files_growth(view: CaseView, window: Window) -> Estimate:
    """How many more descriptors the target holds at the end of the window than at its start.

    Sockets count only beyond what the load may hold open: a stall makes every slot connect, which is no leak.
    """
    rows = [r for r in _inside(view.record.stream("process"), window) if "fds" in r]
    if len(rows) < 4:
        return no_estimate("descriptors", "the target's descriptors were not read in this window")
    sockets = np.array([int(r.get("sockets", 0)) for r in rows])
    files = np.array([int(r["fds"]) for r in rows]) - sockets + np.maximum(0, sockets - _slots(view))
    half = max(2, len(rows) // 5)
    return exactly(int(np.median(files[-half:]) - np.median(files[:half])), len(rows), "descriptors", "readings")


def _slots(view: CaseView) -> int:
    """Connections the load may hold open at most."""
    slots = view.record.load.get("slots")
    return int(slots) if isinstance(slots, int) else 0


# What the runbook's gates and alerts read (ENGRAM, metric names); all must be there and be numbers at all times.
REQUIRED_METRICS: tuple[str, ...] = (
    "engram_recall_total",
    "engram_recall_errors_total",
    "engram_blended_recall_total",
    "engram_blended_recall_convergent_total",
    "engram_blended_recall_pattern_completed_total",
    "engram_semantic_pathway_timeout_total",
    "engram_concepts_formed_total",
    "engram_bindings_created_total",
    "engram_consolidation_runs_total",
    "engram_consolidation_failures_total",
    "engram_concept_quality_violations_total",
    "engram_binding_quality_violations_total",
    "engram_fan_effect_penalties_total",
    "engram_bindings_total",
    "engram_episodes_total",
    "engram_concept_coherence",
    "engram_blended_recall_convergent_ratio",
    "engram_spreading_breaker_state",
    "engram_consolidation_freshness_seconds",
    "process_resident_memory_bytes",
    "engram_recall_duration_seconds_count",
    "engram_blended_recall_duration_seconds_count",
    "engram_consolidation_duration_seconds_count",
)


def broken_metrics(view: CaseView, window: Window) -> Estimate:
    """How many of :data:`REQUIRED_METRICS` were missing or no number in any scrape of the window."""
    readings = [r for r in _inside(view.record.stream("service"), window) if r.get("ok")]
    broken = {
        name
        for reading in readings
        for name in REQUIRED_METRICS
        if not isinstance(reading.get("values", {}).get(name), int | float)
    }
    found = exactly(len(broken), len(readings), "metrics", "scrapes")
    return replace(found, note=", ".join(sorted(broken)[:3])) if broken and readings else found


def uncounted(view: CaseView, name: str, window: Window, events: tuple[Floats, Floats]) -> Estimate:
    """Events the client saw (begun, ended; s) and the service's counter lacks; the interval is what instants allow."""
    begun, ended = events
    delta = counter_delta(view, name, window)
    if delta is None:
        return no_estimate("events", f"{name} is missing, not a number, reset, or read less than twice in this window")
    certain = int(np.count_nonzero((begun >= delta.first.high) & (ended <= delta.last.low)))
    possible = int(np.count_nonzero((ended >= delta.first.low) & (begun <= delta.last.high)))
    low, high = max(0.0, certain - delta.rise), max(0.0, possible - delta.rise)
    return Estimate((low + high) / 2, Interval(low, high), "events", max(1, possible))


def mean_from_histogram(view: CaseView, name: str, labels: str, window: Window) -> Estimate:
    """The mean of a Prometheus histogram inside a window, in ms, from its sum and count."""
    total = counter_delta(view, f"{name}_sum{labels}", window)
    count = counter_delta(view, f"{name}_count{labels}", window)
    if total is None or count is None or count.rise <= 0:
        return no_estimate("ms", f"{name}{labels} is missing, not a number, reset, or did not move in this window")
    value = total.rise / count.rise * 1e3
    return Estimate(value, NO_INTERVAL, "ms", int(count.rise))
