"""Is AFTER worse than BEFORE: a table of changes with intervals, from one run of each or from interleaved pairs.

Changes are judged as log ratios: PASS where the one-sided 95 % bound keeps the limit, FAIL where the other bound breaks
it, else INCONCLUSIVE. One run of each cannot know how much runs differ, so the variation between runs is an assumption
(``run_variation``) on top of the sampling error; pairs measure it (Student's t over the pairs' log ratios).
``method="runbook"`` compares the figures as they stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from harness.errors import EXIT_COMPETITIVE, EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from harness.histogram import Histogram
from harness.judge.intervals import binomial_interval
from harness.model import NO_INTERVAL, Estimate, Interval, Verdict, json_number

ALPHA = 0.05
_Z = float(special.ndtri(1 - ALPHA))
METHODS = ("intervals", "runbook")
_MEMORY_IS = {
    "process": "the resident memory of its process",
    "engine": "the anonymous memory of all its container's processes",
    "service": "the resident memory it tells of itself",
}


@dataclass(frozen=True)
class RunFigures:
    """What one run measured; NaN or None where its record is silent.

    ``doubt``: why its timing is not to be trusted, ``lag_ms`` the most that may have added to its P99.
    ``memory_source``: whose word its memory is (``process``, ``engine``, ``service``), empty where nobody says.
    """

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    ops_per_s: float
    errors: float
    error_rate: float
    operations: float = math.nan
    duration_s: float = math.nan
    memory_mb: float = math.nan
    latency: Histogram | None = None
    open_loop: bool = False
    doubt: str = ""
    lag_ms: float = 0.0
    memory_source: str = ""


@dataclass(frozen=True)
class Limits:
    """What is allowed; ratios (0.05 is 5 %), ms where the name says so."""

    internal_regression: float = 0.05
    competitive_regression: float = 0.10
    competitor_p99_ms: float = 27.96
    error_rate_increase: float = 0.005
    latency_floor_ms: float = 0.5
    run_variation: float = 0.03
    open_loop_rate_variation: float = 0.002
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table. ``change`` is relative (unit ``ratio``) or in percentage points (unit ``pp``).

    ``verdict`` is None for what is shown and not judged. ``limit`` says what decided, in words.
    """

    metric: str
    before: float
    after: float
    change: Estimate
    verdict: Verdict | None
    limit: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "metric": self.metric,
            "before": json_number(self.before),
            "after": json_number(self.after),
            "change": json_number(self.change.value),
            **self.change.interval.as_json(),
            "unit": self.change.unit,
            "verdict": self.verdict.value if self.verdict else None,
            "limit": self.limit,
            "note": self.note,
        }


@dataclass(frozen=True)
class Comparison:
    """The table and what follows from it."""

    rows: list[Row]
    competitive: Row | None
    pairs: int
    method: str

    @property
    def verdict(self) -> Verdict:
        """The worst of the judged rows."""
        rows = [*self.rows, self.competitive] if self.competitive else self.rows
        return Verdict.worst(row.verdict for row in rows if row.verdict is not None)

    @property
    def exit_code(self) -> int:
        """0 good, 1 internal regression, 2 competitive regression, 4 cannot tell."""
        if any(row.verdict is Verdict.FAIL for row in self.rows):
            return EXIT_FAILED
        if self.competitive is not None and self.competitive.verdict is Verdict.FAIL:
            return EXIT_COMPETITIVE
        return EXIT_OK if self.verdict is Verdict.PASS else EXIT_UNDECIDED

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "schema": 1,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "method": self.method,
            "pairs": self.pairs,
            "rows": [row.as_json() for row in self.rows],
            "competitive": self.competitive.as_json() if self.competitive else None,
        }


def compare_runs(
    before: Sequence[RunFigures],
    after: Sequence[RunFigures],
    limits: Limits,
    *,
    competitive: bool = False,
    method: str = "intervals",
) -> Comparison:
    """Compare pairs of runs: ``before[i]`` was run next to ``after[i]``.

    Raises ValueError where the numbers of runs differ, there is none, or the method is unknown.
    """
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} runs before and {len(after)} after do not make pairs")
    if method not in METHODS:
        raise ValueError(f"no such method: {method!r}; one of {', '.join(METHODS)}")
    doubt = _doubt([*before, *after]) if method == "intervals" else ""
    rows = []
    for name, percentile in (("P50", 50.0), ("P95", 95.0), ("P99", 99.0)):
        change = _log_ratio(before, after, f"{name.lower()}_ms", percentile, limits, method)
        rows.append(_latency_row(name, before, after, change, limits, doubt))
    rows.append(_throughput_row(before, after, limits, method, doubt))
    rows.append(_errors_row(before, after))
    rows.append(_error_rate_row(before, after, limits, method))
    if not math.isnan(_mean(before, "memory_mb")) and not math.isnan(_mean(after, "memory_mb")):
        rows.append(_memory_row(before, after, limits))
    against = _competitive_row(after, limits, method, doubt) if competitive else None
    return Comparison(rows, against, len(before), method)


def _doubt(runs: Sequence[RunFigures]) -> str:
    """Why these runs are not to be trusted: the first reason, and how many runs have one."""
    doubtful = [run for run in runs if run.doubt]
    if not doubtful:
        return ""
    others = f", and {len(doubtful) - 1} more of {len(runs)} runs" if len(doubtful) > 1 else ""
    return f"{doubtful[0].name}: {doubtful[0].doubt}{others}"


def _mean(runs: Sequence[RunFigures], name: str) -> float:
    """The geometric mean of a figure over runs; only ever of runs that are compared as pairs."""
    values = [float(getattr(run, name)) for run in runs]
    if any(not math.isfinite(value) or value < 0 for value in values):
        return math.nan
    return math.exp(sum(map(math.log, values)) / len(values)) if min(values) > 0 else sum(values) / len(values)


def _means(before: Sequence[RunFigures], after: Sequence[RunFigures], name: str) -> tuple[float, float]:
    return _mean(before, name), _mean(after, name)


def _log_ratio(
    before: Sequence[RunFigures],
    after: Sequence[RunFigures],
    name: str,
    percentile: float | None,
    limits: Limits,
    method: str,
) -> Estimate:
    """ln(after / before) with its interval; unknown where a figure is missing or not above zero."""
    ratios = []
    for old, new in zip(before, after, strict=True):
        values = float(getattr(old, name)), float(getattr(new, name))
        if not all(math.isfinite(value) and value > 0 for value in values):
            return Estimate(math.nan, NO_INTERVAL, "log", 0, None, "a run does not say")
        ratios.append(math.log(values[1] / values[0]))
    centre = float(np.mean(ratios))
    if method == "runbook":
        return Estimate(centre, Interval(centre, centre), "log", len(ratios))
    if len(ratios) == 1:
        steady = name == "ops_per_s" and before[0].open_loop and after[0].open_loop
        variation = limits.open_loop_rate_variation if steady else limits.run_variation
        sampling = [_sampling_error(run, percentile) for run in (before[0], after[0])]
        half = _Z * math.sqrt(2 * variation**2 + sum(error**2 for error in sampling))
    else:
        spread = float(np.std(ratios, ddof=1))
        half = float(special.stdtrit(len(ratios) - 1, 1 - ALPHA)) * spread / math.sqrt(len(ratios))
    return Estimate(centre, Interval(centre - half, centre + half), "log", len(ratios))


def _sampling_error(run: RunFigures, percentile: float | None) -> float:
    """The standard error of a log percentile by the binomial of its rank; 0 where there is no histogram to tell."""
    if percentile is None or run.latency is None or run.latency.count < 2:
        return 0.0
    q = percentile / 100
    step = math.sqrt(q * (1 - q) / run.latency.count)
    low, high = (run.latency.percentile(100 * min(1.0, max(0.0, q + sign * step))) for sign in (-1, 1))
    return (math.log(high) - math.log(low)) / 2 if low > 0 else 0.0


def _relative(log_ratio: Estimate) -> Estimate:
    if not log_ratio.known:
        return Estimate(math.nan, NO_INTERVAL, "ratio", 0, None, log_ratio.note)
    ends = Interval(math.expm1(log_ratio.interval.low), math.expm1(log_ratio.interval.high))
    return Estimate(math.expm1(log_ratio.value), ends, "ratio", log_ratio.samples)


def _latency_row(
    name: str,
    before: Sequence[RunFigures],
    after: Sequence[RunFigures],
    log_ratio: Estimate,
    limits: Limits,
    doubt: str,
) -> Row:
    """P99 is judged against the relative limit or the floor in ms, whichever is larger; P50 and P95 are shown."""
    means = _means(before, after, f"{name.lower()}_ms")
    metric, change = f"{name} latency (ms)", _relative(log_ratio)
    if name != "P99":
        return Row(metric, *means, change, None)
    allowed, limit = limits.internal_regression, f"+{limits.internal_regression:.0%}"
    if means[0] > 0 and limits.latency_floor_ms / means[0] > allowed:
        allowed = limits.latency_floor_ms / means[0]
        limit = f"+{limits.latency_floor_ms:g} ms (the floor, as {limits.internal_regression:.0%} is less)"
    if not change.known:
        return Row(metric, *means, change, Verdict.INCONCLUSIVE, limit, change.note)
    if doubt and not _worse_beyond_lag(after, log_ratio, math.log1p(allowed)):
        return Row(metric, *means, change, Verdict.INCONCLUSIVE, limit, f"not to be trusted: {doubt}")
    verdict = _upper(change.interval, allowed)
    return Row(metric, *means, change, verdict, limit, _would_decide(log_ratio, math.log1p(allowed), verdict))


def _worse_beyond_lag(after: Sequence[RunFigures], log_ratio: Estimate, bound: float) -> bool:
    """Whether it is worse even if all the generator's lateness had been in its P99."""
    share = min(1 - run.lag_ms / run.p99_ms for run in after)
    return share > 0 and log_ratio.interval.low + math.log(share) > bound


def _upper(interval: Interval, allowed: float) -> Verdict:
    if interval.high <= allowed:
        return Verdict.PASS
    return Verdict.FAIL if interval.low > allowed else Verdict.INCONCLUSIVE


def _would_decide(log_ratio: Estimate, bound: float, verdict: Verdict) -> str:
    """How many interleaved pairs of this spread would decide, where the runs cannot tell."""
    if verdict is not Verdict.INCONCLUSIVE:
        return ""
    half, distance = log_ratio.interval.width / 2, abs(bound - log_ratio.value)
    if distance <= 0:
        return "the change lies on the limit: no number of runs decides that"
    pairs = max(3, math.ceil(log_ratio.samples * (half / distance) ** 2) + 1)
    return f"the runs cannot tell; about {pairs} interleaved pairs would (harness perf --pairs {pairs})"


def _throughput_row(
    before: Sequence[RunFigures], after: Sequence[RunFigures], limits: Limits, method: str, doubt: str
) -> Row:
    log_ratio = _log_ratio(before, after, "ops_per_s", None, limits, method)
    metric, change, means = "Throughput (ops/s)", _relative(log_ratio), _means(before, after, "ops_per_s")
    limit = f"-{limits.internal_regression:.0%}"
    if not change.known:
        return Row(metric, *means, change, Verdict.INCONCLUSIVE, limit, change.note)
    allowed = -limits.internal_regression
    ends = change.interval
    verdict = Verdict.PASS if ends.low >= allowed else Verdict.FAIL if ends.high < allowed else Verdict.INCONCLUSIVE
    if doubt and verdict is Verdict.FAIL:  # what a late generator did not send, the target could not serve
        return Row(metric, *means, change, Verdict.INCONCLUSIVE, limit, f"not to be trusted: {doubt}")
    return Row(metric, *means, change, verdict, limit, _would_decide(log_ratio, math.log1p(allowed), verdict))


def _memory_row(before: Sequence[RunFigures], after: Sequence[RunFigures], limits: Limits) -> Row:
    """Shown and not judged; undecided where the two are not the same figure (docs/soak.md: whose word it is)."""
    metric, means = "Memory (MB)", _means(before, after, "memory_mb")
    sides = [sorted({run.memory_source for run in runs if run.memory_source}) for runs in (before, after)]
    if len({source for side in sides for source in side}) < 2:
        return Row(metric, *means, _relative(_log_ratio(before, after, "memory_mb", None, limits, "runbook")), None)
    said = [" and ".join(f"{source} ({_MEMORY_IS.get(source, 'another figure')})" for source in side) for side in sides]
    told = [one or "nobody says" for one in said]
    note = f"not the same figure: before by {told[0]}, after by {told[1]}"
    return Row(metric, *means, Estimate(math.nan, NO_INTERVAL, "ratio", 0, None, note), Verdict.INCONCLUSIVE, "", note)


def _errors_row(before: Sequence[RunFigures], after: Sequence[RunFigures]) -> Row:
    old, new = (sum(run.errors for run in runs) for runs in (before, after))
    grown = new - old
    return Row("Errors", old, new, Estimate(grown, Interval(grown, grown), "requests", len(before)), None)


def _error_rate_row(before: Sequence[RunFigures], after: Sequence[RunFigures], limits: Limits, method: str) -> Row:
    """The difference of two shares; its bounds are those of either side put together, so rather too wide."""
    limit = f"+{limits.error_rate_increase * 100:g} pp"
    rates, ends = [], []
    for runs in (before, after):
        trials, errors = (sum(getattr(run, name) for run in runs) for name in ("operations", "errors"))
        rates.append(errors / trials if trials > 0 else float(np.mean([run.error_rate for run in runs])))
        ends.append(binomial_interval(round(errors), round(trials)) if trials > 0 else NO_INTERVAL)
    grown = 100 * (rates[1] - rates[0])
    if method == "runbook":
        change = Estimate(grown, Interval(grown, grown), "pp", len(before))
    elif not all(end.known for end in ends):
        change = Estimate(grown, NO_INTERVAL, "pp", 0)
        note = "a run does not say how many requests it made: its error rate has no interval"
        return Row("Error rate", rates[0], rates[1], change, Verdict.INCONCLUSIVE, limit, note)
    else:
        both = Interval(100 * (ends[1].low - ends[0].high), 100 * (ends[1].high - ends[0].low))
        change = Estimate(grown, both, "pp", sum(round(run.operations) for run in [*before, *after]))
    if math.isnan(grown):
        return Row("Error rate", rates[0], rates[1], change, Verdict.INCONCLUSIVE, limit, "a run does not say")
    verdict = _upper(change.interval, limits.error_rate_increase * 100)
    note = "too few requests to tell" if verdict is Verdict.INCONCLUSIVE else ""
    return Row("Error rate", rates[0], rates[1], change, verdict, limit, note)


def _competitive_row(after: Sequence[RunFigures], limits: Limits, method: str, doubt: str) -> Row:
    """P99 against the competitor's published figure, which has no interval of its own."""
    rival = RunFigures("Neo4j", math.nan, math.nan, limits.competitor_p99_ms, math.nan, math.nan, math.nan)
    rivals = [rival] * len(after)
    assumed = Limits(**{**limits.__dict__, "run_variation": limits.run_variation / math.sqrt(2)})
    log_ratio = _log_ratio(rivals, after, "p99_ms", 99.0, assumed, method)
    change, limit = _relative(log_ratio), f"+{limits.competitive_regression:.0%}"
    means = limits.competitor_p99_ms, _mean(after, "p99_ms")
    if not change.known or doubt:
        return Row(
            "P99 against Neo4j (ms)",
            *means,
            change,
            Verdict.INCONCLUSIVE,
            limit,
            change.note or "not to be trusted, as P99",
        )
    verdict = _upper(change.interval, limits.competitive_regression)
    note = "slower than Neo4j, within the limit" if verdict is Verdict.PASS and change.interval.low > 0 else ""
    note = note or _would_decide(log_ratio, math.log1p(limits.competitive_regression), verdict)
    return Row("P99 against Neo4j (ms)", *means, change, verdict, limit, note)
