"""What a phase's recorded runs say, quantity by quantity (the ``measure`` of ``scenarios/rollout/quantities.toml``).

What is about consolidation, concepts and bindings stands in :mod:`harness.judge.phase_concepts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.judge import witness
from harness.judge.answers import cues_of, overlaps, panel_of
from harness.judge.arms import Arm, unfit
from harness.judge.intervals import Floats, exactly, share
from harness.judge.phase_runs import PhaseRuns, failed
from harness.judge.quality import FEWEST_QUESTIONS, compare_overlap
from harness.judge.quantities import QUANTITIES
from harness.judge.sides import pooled_estimate
from harness.judge.view import latency_ms
from harness.model import Estimate, Flag, Found, Interval, Outcome, Pathway, SemanticMissing, no_estimate
from harness.timeline.samples import Samples

_CUES = cues_of(None)
_TOP = 10
Measure = Callable[[PhaseRuns], Estimate]
MEASURES: dict[str, Measure] = {}
MACHINE: set[str] = set()  # what a starved machine or a late generator raises
_FEWEST_USERS = 3
_WARM_UP_MB = 20.0  # docs/soak.md and scenarios/soak/phase0.toml: 5 % of 60 MB is noise
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
    return exact(rss / limit if len(rss) else rss, "max", "ratio", "resident memory")


@measure()
def rss_growth_mb_per_h(runs: PhaseRuns) -> Estimate:
    """Growth of resident memory: the run that grew most.

    What a process takes when it gets warm is no leak: 20 MB of the growth are allowed for in the lower bound, as in
    the soak's memory growth. In a run of seconds only a leak of tens of megabytes can then be told from none.
    """
    found: list[Estimate] = []
    for run in runs.runs:
        if run.window is None or not run.duration_s:
            return no_estimate("MB/h", f"{run.name}: nothing was observed")
        grown = witness.rss_growth(run.view, run.window)
        if not grown.known:
            return grown
        low = grown.interval.low - _WARM_UP_MB / (run.duration_s / 3600.0)
        ends = Interval(min(low, grown.interval.high), grown.interval.high)
        found.append(Estimate(grown.value, ends, grown.unit, grown.samples))
    if not found:
        return no_estimate("MB/h", "no run was recorded")
    worst = max(found, key=lambda e: e.interval.high)
    low = max(e.interval.low for e in found)
    return Estimate(worst.value, Interval(low, worst.interval.high), "MB/h", worst.samples)


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
    return exact(runs.gauge("engram_spreading_breaker_state"), "max", "", "breaker")


@measure()
def topk_overlap(runs: PhaseRuns) -> Estimate:
    """Share of control's top results that the canary returned to the same questions, where both were asked enough.

    Else what the service says of itself: it compares about one blended recall in ten with what the episodic pathway
    alone would answer; the bounds are those of a share of as many trials, the most a mean of shares can spread.
    """
    panels = [panel_of(run.view, run.window) for run in runs.runs]
    compared = [overlaps(p, p.of("control", _CUES), p, p.of("canary", _CUES), _TOP) for p in panels]
    found = np.concatenate(compared) if compared else np.zeros(0)
    if len(found) >= FEWEST_QUESTIONS:
        return compare_overlap(found).change
    level = exact(runs.gauge("engram_recall_topk_overlap_ratio{cohort=canary}"), "min", "ratio", "the overlap")
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


def exact(values: Floats, which: str, unit: str, what: str) -> Estimate:
    if not len(values):
        return no_estimate(unit, f"no readings of {what}")
    if not bool(np.isfinite(values).all()):
        return no_estimate(unit, f"{int((~np.isfinite(values)).sum())} of {len(values)} readings of {what} are missing")
    value = float(values.max() if which == "max" else values.min())
    return Estimate(value, Interval(value, value), unit, len(values))
