"""The criteria of a soak that are about slopes: P99, memory, descriptors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from harness.judge.drift import drift_verdict
from harness.judge.intervals import Floats
from harness.judge.leak import LeakEstimate, leak_now, leak_verdict
from harness.judge.soak_verdict import CriterionResult, Question, clock_text
from harness.model import Estimate, Interval, Verdict, no_estimate

_MARGIN_MB_PER_H = 1.0  # where the scenario judges no leak of its own
_EDGE_SHARE = 0.1  # of the settled time: what "early" and "late" mean for growth
_LEAST_EDGE_S = 1800.0
_BLOCK_S = 900.0  # minima are taken over this: what is used for a moment is no growth
_Z = 1.645
_TOO_LITTLE = "too little recorded to compare early with late"
_CORRELATED = 2.0  # neighbouring minima are alike: twice the standard error of independent ones


def p99_drift(q: Question) -> CriterionResult:
    """Relative change of P99 per hour, by the drift method or the runbook's pairwise comparison."""
    options = q.criterion.options
    windows = [w for w in q.series.windows.closed if not w.spoiled]
    if not windows:
        value = no_estimate("ratio/h", "no window without warm-up or fault is whole yet")
        return q.answer(Verdict.INCONCLUSIVE, value, value.note)
    middles = [(w.start_s + w.end_s) / 2 for w in windows]
    total = float(options.get("total", 0.0))
    found = drift_verdict(
        middles,
        [w.p99_ms for w in windows],
        [w.count for w in windows],
        margin_per_h=q.criterion.bound,
        total_margin=total or None,
        method=str(options.get("method", "trend")),
    )
    change = replace(found.change, unit="ratio/h", samples=sum(w.count for w in windows) if found.change.samples else 0)
    note = found.note
    if found.total.samples:
        low, high = found.total.interval.low, found.total.interval.high
        limit = f", the limit is {total:.0%}" if total else ""
        note += f"; in all {found.total.value:+.1%} [{low:+.1%}, {high:+.1%}]{limit}"
    if found.verdict is Verdict.PASS and not q.over:
        return q.answer(Verdict.INCONCLUSIVE, change, note)
    at = None if found.decided_at_s is None else middles[0] + found.decided_at_s
    return q.answer(found.verdict, change, note, decided_at_s=at)


def _fit(q: Question, *, history: bool) -> LeakEstimate:
    series = q.series
    look = leak_verdict if history else leak_now
    margin = q.facts.scenario.criterion("leak")
    found = look(
        series.column("to_s"),
        series.column("rss_mb"),
        margin_mb_per_h=margin.bound if margin else _MARGIN_MB_PER_H,
        excluded=series.excluded(),
        restarts=[restart.at_s for restart in series.restarts],
    )
    why = series.untold("rss_bytes", "rss_mb")
    return replace(found, note=f"{found.note}: {why}") if why else found


def leak(q: Question) -> CriterionResult:
    """MB per hour with its interval, against the margin; decided as soon as it can be told."""
    found = _fit(q, history=q.over)
    at = None if found.decided_at_s is None else float(q.series.column("to_s")[0]) + found.decided_at_s
    if found.verdict is Verdict.INCONCLUSIVE:
        at = math.nan
    since = (
        "" if math.isnan(found.settled_at_s) else f"{clock_text(found.settled_at_s)} to {clock_text(q.series.end_s)}"
    )
    return q.answer(found.verdict, found.slope, found.note, decided_at_s=at, window=since)


def rss_settled(q: Question) -> CriterionResult:
    """From when on no warm-up shows, in hours; decided once a trend without it can be told from growth."""
    found = _fit(q, history=False)
    if math.isnan(found.settled_at_s) or not found.slope.known:
        return q.answer(Verdict.INCONCLUSIVE, no_estimate("h", found.note), found.note)
    hours = found.settled_at_s / 3600.0
    value = Estimate(hours, Interval(hours, hours), "h", found.slope.samples)
    seen_h = q.series.end_s / 3600.0
    growing = found.verdict is Verdict.FAIL
    if hours > q.criterion.bound or (growing and seen_h > q.criterion.bound):
        return q.answer(Verdict.FAIL, value, "it still grows" if growing else "it settled late")
    if seen_h < min(q.criterion.bound, q.series.duration_s / 3600.0) and not q.over:
        return q.answer(Verdict.INCONCLUSIVE, value, "no warm-up shows any more, so far")
    if seen_h < q.criterion.bound / 2:
        return q.answer(Verdict.INCONCLUSIVE, value, f"only {seen_h:.2g} h were recorded")
    if found.slope.interval.width > _most_width(q):
        return q.answer(Verdict.INCONCLUSIVE, value, "too noisy to tell whether it settled")
    return q.answer(Verdict.PASS, value, "", decided_at_s=max(found.settled_at_s, min(q.series.end_s, 21600.0)))


def _most_width(q: Question) -> float:
    """MB/h: a fit that could hide the growth limit of the whole soak says nothing about settling."""
    limit = q.facts.scenario.criterion("memory_growth")
    if limit is None:
        return math.inf
    level = float(np.nanmedian(q.series.column("rss_mb")))
    hours = max(1.0, q.series.end_s / 3600.0)
    return 2 * max(limit.bound * level, float(limit.options.get("floor_mb", 0.0))) / hours


def _edges(q: Question, column: str) -> tuple[Floats, Floats, float] | None:
    """Block minima of the first and the last tenth of the longest run of one process, and its hours; None if short."""
    series = q.series
    end, values, process = series.column("to_s"), series.column(column), series.column("process")
    keep = series.steady & np.isfinite(values)
    numbers = np.unique(process[keep & np.isfinite(process)])
    if len(numbers):
        longest = max(numbers, key=lambda n: float(np.ptp(end[keep & (process == n)])))
        keep &= process == longest
    if keep.sum() < 8:
        return None
    t, y = end[keep], values[keep]
    span = float(t[-1] - t[0])
    block = np.floor((t - t[0]) / min(_BLOCK_S, span / 20)).astype(np.int64)
    _, first = np.unique(block, return_index=True)
    minima, at = np.minimum.reduceat(y, first), t[first]
    edge = min(max(_LEAST_EDGE_S, _EDGE_SHARE * span), 0.3 * span)
    early, late = minima[at <= t[0] + edge], minima[at >= t[-1] - edge]
    return (early, late, span / 3600.0) if len(early) >= 2 and len(late) >= 2 else None


def _difference(early: Floats, late: Floats) -> tuple[float, float]:
    """Growth between the medians, and half the width of its interval."""
    error = sum(float(1.4826 * np.median(np.abs(x - np.median(x)))) ** 2 / len(x) for x in (early, late))
    return float(np.median(late) - np.median(early)), _Z * _CORRELATED * 1.2533 * math.sqrt(error)


def memory_growth(q: Question) -> CriterionResult:
    """Growth from early to late as a share of the early level; below the floor in MB it is noise."""
    edges = _edges(q, "rss_mb")
    if edges is None:
        why = q.series.untold("rss_bytes", "rss_mb")
        value = no_estimate("ratio", f"no memory recorded: {why}" if why else _TOO_LITTLE)
        return q.answer(Verdict.INCONCLUSIVE, value, value.note)
    early, late, hours = edges
    growth, spread = _difference(early, late)
    level = float(np.median(early))
    value = Estimate(
        growth / level, Interval((growth - spread) / level, (growth + spread) / level), "ratio", len(early) + len(late)
    )
    floor_mb = float(q.criterion.options.get("floor_mb", 0.0))
    bound_mb = max(q.criterion.bound * level, floor_mb)
    which = f"{q.criterion.bound:.0%} of {level:.0f} MB" if bound_mb > floor_mb else f"the floor of {floor_mb:g} MB"
    note = f"{growth:+.1f} MB ±{spread:.1f} over {hours:.3g} h; the limit is {bound_mb:.1f} MB ({which})"
    if not q.over:
        return q.answer(Verdict.INCONCLUSIVE, value, note)
    verdict = Verdict.PASS if growth + spread < bound_mb else Verdict.FAIL if growth - spread > bound_mb else None
    return q.answer(verdict or Verdict.INCONCLUSIVE, value, note)


def open_files(q: Question) -> CriterionResult:
    """Growth of the descriptors from early to late."""
    edges = _edges(q, "fds")
    if edges is None:
        why = q.series.untold("fds", "fds")
        usual = "the target does not tell its open files, or for too short a time"
        value = no_estimate("files", f"no open files recorded: {why}" if why else usual)
        # Of a target started here they are ours to find out; one that is only attached may keep them to itself.
        told = bool(why or np.isfinite(q.series.column("fds")).any()) or not len(q.series)
        return q.answer(Verdict.INCONCLUSIVE if told else Verdict.UNSUPPORTED, value, value.note)
    growth, spread = _difference(edges[0], edges[1])
    value = Estimate(growth, Interval(growth - spread, growth + spread), "files", len(edges[0]) + len(edges[1]))
    if not q.over:
        return q.answer(Verdict.INCONCLUSIVE, value, "so far")
    return q.against(value, "open files")
