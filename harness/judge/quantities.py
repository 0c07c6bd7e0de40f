"""The measurable quantities, by name: what ``outcome.during.<name>`` means.

Each is a pure function (view, window, arguments) -> estimate; the registry is what lets ``harness judge`` evaluate a
recorded check again from the samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.judge import alerting, rollback, witness
from harness.judge import view as seen
from harness.judge.intervals import exactly, mean, quantile, share
from harness.judge.shares import clustered_share
from harness.judge.view import CaseView, answered, attempted, blocks, recalls, service_ms
from harness.model import (
    Cohort,
    Estimate,
    Flag,
    Found,
    Interval,
    Op,
    Outcome,
    Pathway,
    SemanticMissing,
    Window,
    no_estimate,
)
from harness.timeline.samples import Samples

Measure = Callable[..., Estimate]


@dataclass(frozen=True)
class Quantity:
    """A named measure.

    ``machine``: what a late generator or a starved machine does to it: nothing (empty), ``raises`` it, or ``blurs`` it
    both ways. A check that fails in that direction is no proof against the target.
    """

    name: str
    measure: Measure
    machine: str
    meaning: str


QUANTITIES: dict[str, Quantity] = {}
_ENOUGH = 5  # requests, to say that most failed


def quantity(*, machine: str = "") -> Callable[[Measure], Measure]:
    """Register a measure under its function's name."""

    def register(measure: Measure) -> Measure:
        meaning = (measure.__doc__ or "").strip().splitlines()[0]
        name = measure.__name__
        QUANTITIES[name] = Quantity(name, measure, machine, meaning)
        return measure

    return register


def measure(view: CaseView, window_name: str, name: str, arguments: dict[str, Any]) -> Estimate:
    """Measure a quantity in a window of the case; unknown where the window was never recorded."""
    found = QUANTITIES[name]
    window = view.windows.get(window_name)
    if window is None:
        return no_estimate("", f"the window '{window_name}' was never recorded")
    return found.measure(view, window, **arguments)


def _of(view: CaseView, window: Window, of: str, cohort: str | None) -> Samples:
    samples = view.within(window)
    if of == "recall":
        samples = recalls(samples)
    elif of == "store":
        samples = samples[samples["op"] == int(Op.STORE)]
    if cohort == "canary":
        samples = samples[np.isin(samples["user"], view.canary_users)]
    elif cohort == "control":
        samples = samples[~np.isin(samples["user"], view.canary_users)]
    return samples


def _share_of(samples: Samples, hit: npt.NDArray[np.bool_], what: str) -> Estimate:
    return clustered_share(hit, blocks(samples), what)


@quantity()
def error_rate(view: CaseView, window: Window, of: str = "all", cohort: str | None = None) -> Estimate:
    """Share of requests that failed, were refused, timed out or answered wrongly (``of``: all, recall, store)."""
    samples = _of(view, window, of, cohort)
    return _share_of(samples, samples["outcome"] != int(Outcome.OK), "requests")


@quantity(machine="raises")
def failed_moments(view: CaseView, window: Window, of: str = "recall") -> Estimate:
    """Quarters of a second with at least five requests, most of which failed, counted.

    A short outage is a fact, though its share of all requests says little of how often there will be one.
    """
    samples = _of(view, window, of, None)
    _, moment = np.unique(blocks(samples), return_inverse=True)
    asked = np.bincount(moment)
    failed = np.bincount(moment, weights=samples["outcome"] != int(Outcome.OK))
    looked_at = asked >= _ENOUGH
    return exactly(int((looked_at & (failed * 2 > asked)).sum()), int(looked_at.sum()), "moments", "moments")


@quantity(machine="raises")
def latency_ms(
    view: CaseView, window: Window, p: float = 99.0, of: str = "recall", cohort: str | None = None
) -> Estimate:
    """Latency percentile from the intended start, in ms, answered or not (``of``: recall, store, all)."""
    samples = _of(view, window, of, cohort)
    return quantile(seen.latency_ms(samples), p / 100.0, blocks(samples), "ms")


@quantity(machine="raises")
def semantic_timeout_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of blended recalls that fell back because the semantic pathway was late.

    From the answers' own account where they give one, else from the service's counters.
    """
    tried = attempted(view.within(window))
    if len(tried):
        return _share_of(tried, tried["semantic_missing"] == int(SemanticMissing.TIMEOUT), "blended recalls")
    late = witness.counter_delta(view, "engram_semantic_pathway_timeout_total", window)
    total = witness.counter_delta(view, "engram_blended_recall_total", window)
    if late is None or total is None or total.rise <= 0:
        return no_estimate("ratio", "no blended recalls in this window")
    return share(int(min(late.rise, total.rise)), int(total.rise), "blended recalls")


@quantity(machine="raises")
def semantic_lost_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of blended recalls without their semantic half, for whatever reason."""
    tried = attempted(view.within(window))
    return _share_of(tried, tried["semantic_missing"] != int(SemanticMissing.PRESENT), "blended recalls")


@quantity()
def semantic_timeouts_counted_ratio(view: CaseView, window: Window) -> Estimate:
    """Semantic timeouts the service counted, as a share of those its answers admit."""
    tried = attempted(view.requests)
    late = tried[tried["semantic_missing"] == int(SemanticMissing.TIMEOUT)]
    events = (late["sent"], late["done"], np.ones(len(late)))
    return witness.agreement(view, "engram_semantic_pathway_timeout_total", window, events)


@quantity()
def recalls_counted_ratio(view: CaseView, window: Window) -> Estimate:
    """Recalls the service counted (all cohorts), as a share of those the client sent and saw answered."""
    asked = answered(recalls(view.requests))
    events = (asked["sent"], asked["done"], np.ones(len(asked)))
    return witness.agreement(view, "engram_recall_total", window, events)


@quantity()
def uncounted_recall_errors(view: CaseView, window: Window) -> Estimate:
    """Recalls the service answered with 5xx that ``engram_recall_errors_total`` does not count."""
    failed = recalls(view.requests)
    failed = failed[failed["outcome"] == int(Outcome.HTTP_5XX)]
    return witness.uncounted(view, "engram_recall_errors_total", window, (failed["sent"], failed["done"]))


@quantity()
def broken_metrics(view: CaseView, window: Window) -> Estimate:
    """Metrics of the contract that were missing or no number in any scrape."""
    return witness.broken_metrics(view, window)


@quantity(machine="blurs")
def reported_slowdown_ratio(view: CaseView, window: Window) -> Estimate:
    """How much slower the service says canary recalls became since the baseline, as a share of what the client saw.

    Differences are compared, not levels: what lies between client and service is in both windows alike.
    """
    baseline = view.windows.get("baseline")
    if baseline is None:
        return no_estimate("ratio", "no baseline was recorded")
    name, labels = "engram_recall_duration_seconds", "{cohort=canary}"
    before = witness.mean_from_histogram(view, name, labels, baseline)
    now = witness.mean_from_histogram(view, name, labels, window)
    if not before.samples or not now.samples:
        return no_estimate("ratio", before.note or now.note)
    seen_before = _of(view, baseline, "recall", "canary")
    seen_now = _of(view, window, "recall", "canary")
    old = mean(service_ms(seen_before), "ms", blocks(seen_before))
    new = mean(service_ms(seen_now), "ms", blocks(seen_now))
    if not old.known or not new.known:
        return no_estimate("ratio", "no recalls of canary users in a window")
    low, high = new.interval.low - old.interval.high, new.interval.high - old.interval.low
    if low <= 0:
        return no_estimate("ratio", "canary recalls did not become measurably slower")
    said = now.value - before.value
    bounds = sorted((said / high, said / low))
    return Estimate(said / (new.value - old.value), Interval(bounds[0], bounds[1]), "ratio", len(seen_now))


@quantity()
def consolidation_failure_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of consolidation runs that failed, by ``GET /api/v1/consolidations``."""
    runs = witness.consolidation_runs(view, window)
    return share(runs.hits, runs.count, "consolidation runs")


@quantity()
def consolidation_success_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of consolidation runs that succeeded."""
    runs = witness.consolidation_runs(view, window)
    return share(runs.count - runs.hits, runs.count, "consolidation runs")


@quantity()
def consolidation_failures_counted_ratio(view: CaseView, window: Window) -> Estimate:
    """Failed runs in ``engram_consolidation_failures_total``, as a share of successes that stayed out when due."""
    delta = witness.counter_delta(view, "engram_consolidation_failures_total", window)
    if delta is None:
        return no_estimate("ratio", "engram_consolidation_failures_total is missing, not a number or reset")
    # The counter is known between its own first and last reading only: what stayed out before and after is not in it.
    read = Window(window.name, delta.first.low, delta.last.high)
    missed, due = witness.missed_successes(view, read)
    if missed == 0:
        return no_estimate("ratio", f"all {due} successes came when due: nothing to count")
    # A run at either edge may be counted on one side and not on the other.
    bounds = Interval(delta.rise / (missed + 2), delta.rise / max(1, missed - 2))
    return Estimate(delta.rise / missed, bounds, "ratio", missed)


@quantity(machine="raises")
def missed_success_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of due consolidation successes that stayed out, by the age of the last success."""
    missed, due = witness.missed_successes(view, window)
    return share(missed, due, "due successes")


@quantity()
def binding_filter_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of blended recalls in which the service filtered at least one invalid binding."""
    tried = attempted(view.within(window))
    return _share_of(tried, tried["bindings_filtered"] > 0, "blended recalls")


@quantity()
def binding_violations_counted_ratio(view: CaseView, window: Window) -> Estimate:
    """Binding quality violations the service counted, as a share of the bindings its answers say were filtered.

    The service may count more: it also meets invalid bindings when it consolidates.
    """
    tried = attempted(view.requests)
    events = (tried["sent"], tried["done"], tried["bindings_filtered"].astype(np.float64))
    return witness.agreement(view, "engram_binding_quality_violations_total", window, events)


@quantity()
def invalid_bindings_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of bindings with an invalid strength in the service's state, by the admin API."""
    return witness.invalid_bindings(view, window)


@quantity()
def invalid_strengths_served(view: CaseView, window: Window) -> Estimate:
    """Answers that served a binding strength that is NaN, below 0 or above 1."""
    tried = answered(recalls(view.within(window)))
    bad = int(np.count_nonzero(tried["flags"] & int(Flag.INVALID_STRENGTH)))
    return exactly(bad, len(tried), "answers", "recalls")


@quantity()
def invalid_confidences_served(view: CaseView, window: Window) -> Estimate:
    """Answers that served a confidence, similarity or activation outside [0, 1]."""
    tried = answered(recalls(view.within(window)))
    bad = int(np.count_nonzero(tried["flags"] & int(Flag.INVALID_CONFIDENCE)))
    return exactly(bad, len(tried), "answers", "recalls")


@quantity()
def recall_found_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of recalls with a whole cue that returned the memory they asked for."""
    asked = answered(recalls(view.within(window)))
    asked = asked[asked["found"] != int(Found.NOT_ASKED)]
    return _share_of(asked, asked["found"] == int(Found.YES), "recalls of a known memory")


@quantity()
def result_count_ratio(view: CaseView, window: Window, cohort: str | None = None) -> Estimate:
    """Mean number of memories per recall, as a share of the baseline's."""
    baseline = view.windows.get("baseline")
    before = answered(_of(view, baseline, "recall", cohort)) if baseline else view.requests[:0]
    now = answered(_of(view, window, "recall", cohort))
    if not len(before) or not len(now):
        return no_estimate("ratio", "no answered recalls in this window or in the baseline")
    old = mean(before["results"].astype(np.float64), "memories", blocks(before))
    new = mean(now["results"].astype(np.float64), "memories", blocks(now))
    if not old.known or not new.known or old.interval.low <= 0:
        return no_estimate("ratio", "the baseline's recalls returned nothing")
    bounds = Interval(new.interval.low / old.interval.high, new.interval.high / old.interval.low)
    return Estimate(new.value / old.value, bounds, "ratio", len(now))


@quantity()
def cohort_deviation(view: CaseView, window: Window) -> Estimate:
    """How far the share of users labelled canary lies from the cohort rate asked for.

    A deterministic cohort of a known set of users has no sampling error; a user seen under both labels counts as
    deviating.
    """
    wanted = float(view.record.manifest.get("cohort_rate", float("nan")))
    asked = answered(recalls(view.within(window)))
    asked = asked[asked["cohort"] != int(Cohort.UNKNOWN)]
    users = np.unique(asked["user"])
    if len(users) == 0:
        return no_estimate("ratio", "no answer named a cohort")
    canary = np.unique(asked["user"][asked["cohort"] == int(Cohort.CANARY)])
    control = np.unique(asked["user"][asked["cohort"] == int(Cohort.CONTROL)])
    both = len(np.intersect1d(canary, control))
    value = abs(len(canary) / len(users) - wanted) + both / len(users)
    return Estimate(value, Interval(value, value), "ratio", len(users))


@quantity()
def split_deviation(view: CaseView, window: Window) -> Estimate:
    """How far the share of users served as canary lies from the cohort rate that was rolled back to."""
    return rollback.split_deviation(view, window)


@quantity()
def memory_growth_ratio(view: CaseView, window: Window) -> Estimate:
    """Growth of the process' memory over the baseline's highest, at the end of the window."""
    return rollback.memory_growth(view, window)


@quantity()
def blended_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of answered recalls that the blended pathway answered."""
    asked = answered(recalls(view.within(window)))
    asked = asked[asked["pathway"] != int(Pathway.UNKNOWN)]
    return _share_of(asked, asked["pathway"] == int(Pathway.BLENDED), "recalls that name their pathway")


@quantity(machine="blurs")
def availability(view: CaseView, window: Window) -> Estimate:
    """Share of health probes answered with success."""
    return witness.availability(view, window)


@quantity(machine="raises")
def failed_health_probes(view: CaseView, window: Window) -> Estimate:
    """Health probes that were not answered with success."""
    readings = witness.availability(view, window)
    if readings.samples == 0:
        return readings
    return exactly(round((1 - readings.value) * readings.samples), readings.samples, "probes", "health probes")


@quantity()
def failed_consolidations(view: CaseView, window: Window) -> Estimate:
    """Consolidation runs that failed, counted."""
    runs = witness.consolidation_runs(view, window)
    return exactly(runs.hits, runs.count, "runs", "consolidation runs")


@quantity()
def rss_growth_mb_per_h(view: CaseView, window: Window) -> Estimate:
    """Growth of the target's resident memory, MB per hour."""
    return witness.rss_growth(view, window)


@quantity()
def open_files_growth(view: CaseView, window: Window) -> Estimate:
    """Growth of the target's open file descriptors over the window."""
    return witness.open_files_growth(view, window)


@quantity()
def alert_active_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of readings in which the case's alert was pending or firing."""
    return alerting.active_ratio(view, window)
