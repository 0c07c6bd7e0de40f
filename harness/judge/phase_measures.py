"""What a phase's recorded runs say, quantity by quantity (the ``measure`` of ``scenarios/rollout/quantities.toml``).

Durations of consolidation are normalised to the runbook's interval of 5 minutes (1.1), so that a rehearsal whose
consolidation runs every half second is held against the same bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.judge import witness
from harness.judge.arms import Arm, unfit
from harness.judge.intervals import Floats, exactly, share
from harness.judge.phase_runs import PhaseRuns, failed
from harness.judge.quantities import QUANTITIES
from harness.judge.sides import pooled_estimate
from harness.judge.view import latency_ms
from harness.model import Estimate, Flag, Found, Interval, Outcome, Pathway, SemanticMissing, no_estimate
from harness.timeline.samples import Samples

Measure = Callable[[PhaseRuns], Estimate]
MEASURES: dict[str, Measure] = {}
MACHINE: set[str] = set()  # what a starved machine or a late generator raises
CONSOLIDATION_S = 300.0  # rollout runbook 1.1: concept_formation_interval_minutes = 5
_FEWEST_USERS = 3
_LATE_S = 0.25  # what a busy machine delays a run that is not late itself
_OVERLAP_EVERY = 10  # blended recalls per one that the service compares


def measure(*, machine: bool = False) -> Callable[[Measure], Measure]:
    """Register a measure under its function's name; ``machine``: a busy machine raises it."""

    def register(function: Measure) -> Measure:
        MEASURES[function.__name__] = function
        if machine:
            MACHINE.add(function.__name__)
        return function

    return register


def _figure(one: Arm, make: str, unit: str, q: float = 0.99) -> Estimate:
    why = unfit(one, constant_is_unfit=make == "quantile")
    if why:
        return no_estimate(unit, why)
    if one.user_count < _FEWEST_USERS:
        return no_estimate(unit, f"{one.name}: {one.user_count} users are too few to know how much users differ")
    return pooled_estimate(one, make, q, unit)


def _blended(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(samples["pathway"] == int(Pathway.BLENDED))


def _ok(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(samples["outcome"] == int(Outcome.OK))


@measure(machine=True)
def recall_p99_ms(runs: PhaseRuns) -> Estimate:
    """P99 of the canary's recalls, from the intended start."""
    return _figure(runs.arm("canary", latency_ms, cohort="canary"), "quantile", "ms")


@measure(machine=True)
def all_recall_p99_ms(runs: PhaseRuns) -> Estimate:
    """P99 of all recalls."""
    return _figure(runs.arm("all", latency_ms), "quantile", "ms")


@measure(machine=True)
def blended_p99_ms(runs: PhaseRuns) -> Estimate:
    """P99 of the recalls that were blended."""
    return _figure(runs.arm("blended", latency_ms, _blended), "quantile", "ms")


@measure(machine=True)
def blended_p95_ms(runs: PhaseRuns) -> Estimate:
    """P95 of the recalls that were blended."""
    return _figure(runs.arm("blended", latency_ms, _blended), "quantile", "ms", 0.95)


@measure()
def recall_within_slo(runs: PhaseRuns) -> Estimate:
    """Share of recalls answered within the objective of the SLO file."""
    limit = next((run.view.limit("recall_p99_ms") for run in runs.runs), math.nan)

    def inside(samples: Samples) -> Floats:
        return ((latency_ms(samples) <= limit) & _ok(samples)).astype(np.float64)

    return _figure(runs.arm("all", inside), "share", "ratio")


@measure()
def error_rate(runs: PhaseRuns) -> Estimate:
    """Share of recalls that failed."""
    return _figure(runs.arm("all", failed), "share", "ratio")


@measure()
def canary_error_rate(runs: PhaseRuns) -> Estimate:
    """Share of the canary's recalls that failed."""
    return _figure(runs.arm("canary", failed, cohort="canary"), "share", "ratio")


@measure()
def availability(runs: PhaseRuns) -> Estimate:
    """Share of health probes answered."""
    rows = [row for part in runs.readings("health") for row in part]
    return share(sum(bool(row.get("ok")) for row in rows), len(rows), "health probes")


@measure()
def crashes(runs: PhaseRuns) -> Estimate:
    """Runs in which the service died or started anew by itself."""
    looked = sum(len(part) for part in runs.readings("process")) or sum(run.crashed for run in runs.runs)
    return exactly(sum(run.crashed for run in runs.runs), looked, "crashes", "readings of the process")


@measure()
def memory_share(runs: PhaseRuns) -> Estimate:
    """The largest resident memory as a share of what the service may use."""
    limit = runs.gauge("engram_memory_limit_bytes")
    rss = runs.gauge("process_resident_memory_bytes")
    return _exact(rss / limit if len(rss) else rss, "max", "ratio", "resident memory")


@measure()
def rss_growth_mb_per_h(runs: PhaseRuns) -> Estimate:
    """Growth of resident memory: the run that grew most."""
    found = [witness.rss_growth(run.view, run.window) for run in runs.runs if run.window is not None]
    known = [e for e in found if e.known]
    if not known or len(known) < len(runs.runs):
        return next((e for e in found if not e.known), no_estimate("MB/h", "no run was recorded"))
    return max(known, key=lambda e: e.interval.low)


@measure(machine=True)
def consolidation_p99_s(runs: PhaseRuns) -> Estimate:
    """P99 of a consolidation run: the histogram's bucket that holds it."""
    return _bucket_quantile(runs, "engram_consolidation_duration_seconds", 0.99, "s")


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
    oldest = _exact(np.asarray([age for age, _ in found]), "max", "s", "ages of the last consolidation")
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
    return _exact(np.asarray([runs.last("engram_concepts_formed_total")]), "max", "concepts", "formed concepts")


@measure()
def coherence_above_0_6(runs: PhaseRuns) -> Estimate:
    """Share of the concepts formed whose coherence is above 0.6."""
    below = _last_each(runs, "engram_concept_coherence_distribution_bucket{le=0.6}")
    total = _last_each(runs, "engram_concept_coherence_distribution_count")
    if math.isnan(below) or math.isnan(total):
        return no_estimate("ratio", "engram_concept_coherence_distribution is missing or no number")
    return share(int(total - below), int(total), "concepts formed")


@measure()
def coherence_mean(runs: PhaseRuns) -> Estimate:
    """Mean coherence of the concepts: the lowest reading."""
    return _exact(runs.gauge("engram_concept_coherence"), "min", "", "coherence")


@measure()
def coherence_invalid(runs: PhaseRuns) -> Estimate:
    """Share of concepts whose coherence cannot be one: above 1 by the histogram, or the mean is no number in [0, 1]."""
    total = _last_each(runs, "engram_concept_coherence_distribution_count")
    inside = _last_each(runs, "engram_concept_coherence_distribution_bucket{le=1.0}")
    mean = runs.gauge("engram_concept_coherence")
    if math.isnan(total) or math.isnan(inside) or total <= 0 or not len(mean):
        return no_estimate("ratio", "no concept was formed, or its coherence was not exported")
    wrong = int(total - inside) + int((~np.isfinite(mean) | (mean < 0) | (mean > 1)).sum())
    value = min(1.0, wrong / total)
    return Estimate(value, Interval(value, value), "ratio", int(total))


@measure()
def concept_violations(runs: PhaseRuns) -> Estimate:
    """Concept quality violations per concept formed."""
    bad = _last_each(runs, "engram_concept_quality_violations_total")
    formed = _last_each(runs, "engram_concepts_formed_total")
    if math.isnan(bad) or math.isnan(formed):
        return no_estimate("ratio", "the counters of concept quality are missing or no number")
    return share(int(min(bad, formed)), int(formed), "concepts formed")


@measure()
def bindings(runs: PhaseRuns) -> Estimate:
    """Bindings in the index."""
    return _exact(runs.gauge("engram_bindings_total"), "min", "bindings", "bindings")


@measure()
def bindings_per_episode(runs: PhaseRuns) -> Estimate:
    """The most bindings per episode."""
    episodes = runs.gauge("engram_episodes_total")
    found = runs.gauge("engram_bindings_total")
    ratio = np.divide(found, episodes, out=np.full_like(found, np.nan), where=episodes > 0) if len(found) else found
    return _exact(ratio, "max", "bindings/episode", "bindings per episode")


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


@measure()
def blended_share(runs: PhaseRuns) -> Estimate:
    """Share of recalls that were blended: answers that say so."""
    one = runs.arm("all", lambda s: _blended(s).astype(np.float64), _ok)
    return exactly_share(one)


def exactly_share(one: Arm) -> Estimate:
    """A share of what was seen, without sampling error: for what must never (or always) happen."""
    if one.count == 0:
        return no_estimate("ratio", "no answered recalls")
    value = float(one.values.mean())
    return Estimate(value, Interval(value, value), "ratio", one.count)


@measure()
def cohort_deviation(runs: PhaseRuns) -> Estimate:
    """How far the canary's share of users lies from the rate asked for: the run that is furthest off."""
    found = [QUANTITIES["cohort_deviation"].measure(r.view, r.window) for r in runs.runs if r.window is not None]
    known = [e for e in found if e.known]
    return max(known, key=lambda e: e.value) if known else no_estimate("ratio", "no answer named a cohort")


@measure()
def recall_found(runs: PhaseRuns) -> Estimate:
    """Share of whole cues that returned the memory they asked for."""

    def asked(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(_ok(samples) & (samples["found"] != int(Found.NOT_ASKED)), dtype=np.bool_)

    one = runs.arm("all", lambda s: (s["found"] == int(Found.YES)).astype(np.float64), asked)
    return _figure(one, "share", "ratio")


@measure()
def convergent_ratio(runs: PhaseRuns) -> Estimate:
    """Share of blended recalls whose pathways agree."""
    one = runs.arm("blended", lambda s: (s["convergent"] > 0).astype(np.float64), lambda s: _ok(s) & _blended(s))
    return _figure(one, "share", "ratio")


@measure(machine=True)
def semantic_timeout_ratio(runs: PhaseRuns) -> Estimate:
    """Share of recalls that were to be blended and lost their semantic half to the clock."""
    tried = [int(r) for r in SemanticMissing if r not in (SemanticMissing.OFF, SemanticMissing.UNKNOWN)]
    one = runs.arm(
        "blended",
        lambda s: (s["semantic_missing"] == int(SemanticMissing.TIMEOUT)).astype(np.float64),
        lambda s: _ok(s) & np.isin(s["semantic_missing"], tried),
    )
    return _figure(one, "share", "ratio")


@measure()
def breaker_open(runs: PhaseRuns) -> Estimate:
    """1 where the spreading breaker was seen open."""
    return _exact(runs.gauge("engram_spreading_breaker_state"), "max", "", "breaker")


@measure()
def topk_overlap(runs: PhaseRuns) -> Estimate:
    """Overlap of the canary's top results with the episodic ones, as the service samples it.

    The service compares about one blended recall in ten; the bounds are those of a share of as many trials, which is
    the most a mean of shares can spread.
    """
    level = _exact(runs.gauge("engram_recall_topk_overlap_ratio{cohort=canary}"), "min", "ratio", "the overlap")
    rise, why = runs.counters("engram_blended_recall_total")
    if not level.known or why:
        return level if not level.known else no_estimate("ratio", why)
    if not 0 <= level.value <= 1:
        return no_estimate("ratio", f"an overlap of {level.value:g}")
    values = runs.gauge("engram_recall_topk_overlap_ratio{cohort=canary}")
    trials = int(rise / _OVERLAP_EVERY)
    mean = float(values.mean())
    counted = share(math.floor(mean * trials + 1e-9), trials, "compared recalls")
    if not counted.known:
        return counted
    bounds = Interval(min(counted.interval.low, mean), max(counted.interval.high, mean))
    return Estimate(mean, bounds, "ratio", trials)


@measure()
def pattern_completion_share(runs: PhaseRuns) -> Estimate:
    """Share of recalls that were to be blended and needed pattern completion."""
    one = runs.arm(
        "blended",
        lambda s: ((s["flags"] & int(Flag.PATTERN_COMPLETED)) > 0).astype(np.float64),
        lambda s: np.asarray(_ok(s) & _blended(s), dtype=np.bool_),
    )
    return _figure(one, "share", "ratio")


@measure()
def queries_per_day(runs: PhaseRuns) -> Estimate:
    """Recalls of the smaller cohort a day, at the rate the runs had."""
    days = runs.covered_s / runs.time_scale / 86_400.0
    sizes = [runs.arm(name, failed, cohort=name).count for name in ("canary", "control")]
    if days <= 0:
        return no_estimate("queries/day", "no run was recorded")
    value = min(sizes) / days
    return Estimate(value, Interval(value, value), "queries/day", min(sizes))


@measure()
def baseline_figures(runs: PhaseRuns) -> Estimate:
    """How many of P50, P95, P99, throughput and error rate are known."""
    one = runs.arm("all", latency_ms)
    known = 0 if unfit(one) else 5
    return exactly(known, one.count, "figures", "recalls")


def _exact(values: Floats, which: str, unit: str, what: str) -> Estimate:
    if not len(values):
        return no_estimate(unit, f"no readings of {what}")
    if not bool(np.isfinite(values).all()):
        return no_estimate(unit, f"{int((~np.isfinite(values)).sum())} of {len(values)} readings of {what} are missing")
    value = float(values.max() if which == "max" else values.min())
    return Estimate(value, Interval(value, value), unit, len(values))


def _last_each(runs: PhaseRuns, name: str) -> float:
    """The last reading of a counter, summed over the runs: what happened since each service started."""
    total = 0.0
    for part in runs.readings("service"):
        value = part[-1].get("values", {}).get(name) if part else None
        if not isinstance(value, int | float):
            return math.nan
        total += float(value)
    return total if runs.runs else math.nan


def _bucket_quantile(runs: PhaseRuns, name: str, q: float, unit: str) -> Estimate:
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
