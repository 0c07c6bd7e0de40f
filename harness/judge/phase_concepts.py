"""What a phase's recorded runs say of consolidation, concepts and bindings.

Durations of consolidation are normalised to the runbook's interval of 5 minutes (1.1), so that a rehearsal whose
consolidation runs every half second is held against the same bounds.
"""

from __future__ import annotations

import math

import numpy as np

from harness.judge import witness
from harness.judge.intervals import exactly, share
from harness.judge.phase_measures import exact, measure
from harness.judge.phase_runs import PhaseRuns
from harness.model import Estimate, Interval, no_estimate

CONSOLIDATION_S = 300.0  # rollout runbook 1.1: concept_formation_interval_minutes = 5
_LATE_S = 0.25  # what a busy machine delays a run that is not late itself


@measure(machine=True)
def consolidation_p99_s(runs: PhaseRuns) -> Estimate:
    """P99 of a consolidation run: the histogram's bucket that holds it."""
    return bucket_quantile(runs, "engram_consolidation_duration_seconds", 0.99, "s")


def _runs_of_consolidation(runs: PhaseRuns) -> tuple[int, int]:
    events = [witness.consolidation_runs(run.view, run.window) for run in runs.runs]
    return sum(e.hits for e in events), sum(e.count for e in events)


@measure()
def consolidation_success(runs: PhaseRuns) -> Estimate:
    """Share of consolidation runs that succeeded."""
    bad, total = _runs_of_consolidation(runs)
    return share(total - bad, total, "consolidation runs")


@measure()
def consolidation_failure_ratio(runs: PhaseRuns) -> Estimate:
    """Share of consolidation runs that failed."""
    bad, total = _runs_of_consolidation(runs)
    return share(bad, total, "consolidation runs")


@measure(machine=True)
def consolidation_on_time(runs: PhaseRuns) -> Estimate:
    """Share of due consolidation successes that came."""
    pairs = [witness.missed_successes(run.view, run.window) for run in runs.runs if run.window is not None]
    missed, due = sum(m for m, _ in pairs), sum(d for _, d in pairs)
    return share(due - missed, due, "due successes")


@measure(machine=True)
def consolidation_freshness_s(runs: PhaseRuns) -> Estimate:
    """The oldest a consolidation got, at the runbook's interval; a busy machine's lateness is in the bounds."""
    found: list[tuple[float, float]] = []
    for row in (row for part in runs.readings("consolidation") for row in part):
        age, interval = row.get("last_success_age_s"), row.get("interval_s")
        if isinstance(age, int | float) and isinstance(interval, int | float) and interval > 0:
            scale = CONSOLIDATION_S / float(interval)
            found.append((float(age) * scale, _LATE_S * scale))
    oldest = exact(np.asarray([age for age, _ in found]), "max", "s", "ages of the last consolidation")
    if not oldest.known:
        return oldest
    late = max(found)[1]
    return Estimate(oldest.value, Interval(max(0.0, oldest.value - late), oldest.value), "s", oldest.samples)


@measure()
def concepts_per_hour(runs: PhaseRuns) -> Estimate:
    """Concepts formed an hour, at the runbook's interval."""
    formed, why = runs.counters("engram_concepts_formed_total")
    turns, why_not = runs.counters("engram_consolidation_runs_total")
    if why or why_not or turns <= 0:
        return no_estimate("concepts/h", why or why_not or "no consolidation ran")
    value = formed / turns * 3600.0 / CONSOLIDATION_S
    return Estimate(value, Interval(value, value), "concepts/h", int(turns))


@measure()
def concepts_formed(runs: PhaseRuns) -> Estimate:
    """Concepts the service says it formed."""
    return exact(np.asarray([runs.last("engram_concepts_formed_total")]), "max", "concepts", "formed concepts")


@measure()
def coherence_above_0_6(runs: PhaseRuns) -> Estimate:
    """Share of the concepts formed whose coherence is above 0.6."""
    below = last_each(runs, "engram_concept_coherence_distribution_bucket{le=0.6}")
    total = last_each(runs, "engram_concept_coherence_distribution_count")
    if math.isnan(below) or math.isnan(total):
        return no_estimate("ratio", "engram_concept_coherence_distribution is missing or no number")
    return share(int(total - below), int(total), "concepts formed")


@measure()
def coherence_mean(runs: PhaseRuns) -> Estimate:
    """Mean coherence of the concepts: the lowest reading."""
    return exact(runs.gauge("engram_concept_coherence"), "min", "", "coherence")


@measure()
def coherence_invalid(runs: PhaseRuns) -> Estimate:
    """Share of concepts whose coherence cannot be one: above 1 by the histogram, or the mean is no number in [0, 1]."""
    total = last_each(runs, "engram_concept_coherence_distribution_count")
    inside = last_each(runs, "engram_concept_coherence_distribution_bucket{le=1.0}")
    mean = runs.gauge("engram_concept_coherence")
    if math.isnan(total) or math.isnan(inside) or total <= 0 or not len(mean):
        return no_estimate("ratio", "no concept was formed, or its coherence was not exported")
    wrong = int(total - inside) + int((~np.isfinite(mean) | (mean < 0) | (mean > 1)).sum())
    value = min(1.0, wrong / total)
    return Estimate(value, Interval(value, value), "ratio", int(total))


@measure()
def concept_violations(runs: PhaseRuns) -> Estimate:
    """Concept quality violations per concept formed."""
    bad = last_each(runs, "engram_concept_quality_violations_total")
    formed = last_each(runs, "engram_concepts_formed_total")
    if math.isnan(bad) or math.isnan(formed):
        return no_estimate("ratio", "the counters of concept quality are missing or no number")
    return share(int(min(bad, formed)), int(formed), "concepts formed")


@measure()
def bindings(runs: PhaseRuns) -> Estimate:
    """Bindings in the index."""
    return exact(runs.gauge("engram_bindings_total"), "min", "bindings", "bindings")


@measure()
def bindings_per_episode(runs: PhaseRuns) -> Estimate:
    """The most bindings per episode."""
    episodes = runs.gauge("engram_episodes_total")
    found = runs.gauge("engram_bindings_total")
    ratio = np.divide(found, episodes, out=np.full_like(found, np.nan), where=episodes > 0) if len(found) else found
    return exact(ratio, "max", "bindings/episode", "bindings per episode")


@measure()
def binding_violations(runs: PhaseRuns) -> Estimate:
    """Binding strengths outside [0, 1]: counted by the service, or shown by its state."""
    rise, why = runs.counters("engram_binding_quality_violations_total")
    rows = [r for part in runs.readings("bindings") for r in part if r.get("ok")]
    if why:
        return no_estimate("bindings", why)
    worst = max((int(r["invalid"]) for r in rows), default=0)
    return exactly(max(int(rise), worst), len(rows) or 1, "bindings", "readings of the binding state")


@measure()
def fan_penalty_mean(runs: PhaseRuns) -> Estimate:
    """Mean penalty of the fan effect."""
    total, why = runs.counters("engram_fan_effect_penalty_sum")
    count, why_not = runs.counters("engram_fan_effect_penalties_total")
    if why or why_not or count <= 0:
        return no_estimate("", why or why_not or "no association was weakened")
    return Estimate(total / count, Interval(total / count, total / count), "", int(count))


def last_each(runs: PhaseRuns, name: str) -> float:
    """The last reading of a counter, summed over the runs: what happened since each service started."""
    total = 0.0
    for part in runs.readings("service"):
        value = part[-1].get("values", {}).get(name) if part else None
        if not isinstance(value, int | float):
            return math.nan
        total += float(value)
    return total if runs.runs else math.nan


def bucket_quantile(runs: PhaseRuns, name: str, q: float, unit: str) -> Estimate:
    """The bucket of a histogram that holds the quantile: known to lie between its edges, and no better."""
    prefix = f"{name}_bucket{{le="
    last = [part[-1].get("values", {}) for part in runs.readings("service") if part]
    edges = sorted({float(key[len(prefix) : -1]) for values in last for key in values if key.startswith(prefix)})
    if not edges:
        return no_estimate(unit, f"{name} was not exported")
    label = {float(key[len(prefix) : -1]): key for values in last for key in values if key.startswith(prefix)}
    counts = [sum(float(values.get(label[edge], math.nan)) for values in last) for edge in edges]
    total = counts[-1]
    if not math.isfinite(total) or total <= 0:
        return no_estimate(unit, f"{name} counted nothing")
    place = next(i for i, count in enumerate(counts) if count >= q * total)
    low, high = edges[place - 1] if place else 0.0, edges[place]
    return Estimate(high if math.isfinite(high) else low, Interval(low, high), unit, int(total))
