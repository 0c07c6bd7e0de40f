"""The criteria of a soak. Pure: from a series, the read-back's counts and the scenario to results.

What cannot get better once it is broken (a crash, a stale consolidation, a lost memory) FAILs at that moment; what is
an average or must hold throughout is decided when nothing more will come.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.judge.intervals import Floats, exactly, mean, share
from harness.judge.soak_abort import AbortWatch
from harness.judge.soak_durability import ReadBackTally
from harness.judge.soak_errors import error_rate
from harness.judge.soak_series import SoakSeries
from harness.judge.soak_trend import leak, memory_growth, open_files, p99_drift, rss_settled
from harness.judge.soak_verdict import CriterionResult, Question, SoakFacts, SoakJudgement, clock_text
from harness.model import Estimate, Interval, Verdict, no_estimate
from harness.scenario.soak import Criterion

_LEAST_COMPLETE = 0.999  # of the planned time: the last interval may be cut short by a hair
_MOST_LAG_MS = 8.0  # of the load's own schedule; beyond it latencies are not the target's alone
_CPU_BLOCKS = 96


def judge_soak(series: SoakSeries, tally: ReadBackTally, aborts: AbortWatch, facts: SoakFacts) -> SoakJudgement:
    """Judge what was recorded so far, or in all."""
    results = [_completed(series, facts)]
    for criterion in facts.scenario.criteria:
        results.append(CRITERIA[criterion.name](Question(series, tally, facts, criterion)))
    verdict = Verdict.worst(result.verdict for result in results)
    if aborts.met:
        verdict = Verdict.FAIL  # a trigger is a bound of the runbook's own, and a harder one
    reasons = [
        f"abort trigger {met.trigger.name} at {clock_text(met.at_s)}: {met.detail}" for met in aborts.met.values()
    ]
    reasons += [_reason(r) for r in results if r.verdict not in (Verdict.PASS, Verdict.UNSUPPORTED)]
    failed = [r.name for r in results if r.verdict is Verdict.FAIL]
    standing = f"failing: {', '.join(failed)}" if failed else "within every bound so far"
    return SoakJudgement(tuple(results), verdict, tuple(reasons), standing, aborts)


def _reason(result: CriterionResult) -> str:
    return f"{result.label}: {result.reason or result.verdict.value}"


def _completed(series: SoakSeries, facts: SoakFacts) -> CriterionResult:
    planned = series.duration_s
    done = series.observed_s / planned if planned else math.nan
    value = Estimate(done, Interval(done, done), "ratio", len(series))
    criterion = Criterion("completed", 1.0, "the soak's own duration")
    question = Question(series, ReadBackTally(), facts, criterion)
    so_far = f"{clock_text(series.observed_s)} of {clock_text(planned)} observed"
    if facts.ended == "running":
        return question.answer(Verdict.INCONCLUSIVE, value, f"{so_far}; it is running", below=False)
    if facts.ended == "aborted":
        return question.answer(Verdict.ABORTED, value, f"{so_far}; {facts.reason}", below=False)
    if facts.ended != "soak_ended" or done < _LEAST_COMPLETE:
        why = facts.reason or "it was killed"
        return question.answer(
            Verdict.ABORTED, value, f"{so_far}; {why}; `harness soak --resume` goes on with it", below=False
        )
    return question.answer(Verdict.PASS, value, so_far, below=False)


def _no_crash(q: Question) -> CriterionResult:
    series = q.series
    crashes = [(at, why) for at, why in series.deaths]
    crashes += [(r.at_s, f"the target {r.detail}") for r in series.restarts if not r.ours]
    looked = int(np.nan_to_num(series.column("polls")).sum())
    value = exactly(len(crashes), looked, "crashes", "look at the target")
    if crashes:
        at, why = min(crashes)
        return q.answer(Verdict.FAIL, value, f"{why} at {clock_text(at)}", decided_at_s=at)
    if not value.known:
        return q.answer(Verdict.INCONCLUSIVE, value, "the target was never looked at")
    ours = sum(r.ours for r in series.restarts)
    note = (
        f"started anew {'once' if ours == 1 else f'{ours} times'} by the harness, after it was cut off" if ours else ""
    )
    return _at_the_end(q, value, note)


def _at_the_end(q: Question, value: Estimate, reason: str, *, below: bool = True, window: str = "") -> CriterionResult:
    """PASS once nothing more will come; until then it merely holds."""
    if q.over:
        return q.answer(Verdict.PASS, value, reason, below=below, window=window)
    return q.answer(Verdict.INCONCLUSIVE, value, reason or "holds so far", below=below, window=window)


def _freshness(q: Question) -> CriterionResult:
    ages = q.series.column("freshness_s")
    seen = np.isfinite(ages) & (q.series.column("fault") == 0)
    if not seen.any():
        return _untold(q, "s", "consolidations", "how old its last consolidation is")
    worst = float(np.max(ages[seen]))
    value = Estimate(worst, Interval(worst, worst), "s", int(seen.sum()))
    late = np.flatnonzero(seen & (ages >= q.criterion.bound))
    if len(late):
        at = float(q.series.column("to_s")[late[0]])
        return q.answer(
            Verdict.FAIL, value, f"older than {q.criterion.bound:g} s from {clock_text(at)} on", decided_at_s=at
        )
    return _at_the_end(q, value, "")


def _untold(q: Question, unit: str, capability: str, what: str) -> CriterionResult:
    value = no_estimate(unit, f"the target does not say {what}")
    told = capability in q.facts.capabilities or "metrics.dual_memory" in q.facts.capabilities
    return q.answer(Verdict.INCONCLUSIVE if told else Verdict.UNSUPPORTED, value, value.note)


def increments(values: Floats, process: Floats) -> Floats:
    """What a counter grew by between records; 0 where it began anew, or nothing was recorded."""
    known = np.isfinite(values)
    found = np.zeros(len(values))
    places = np.flatnonzero(known)
    if len(places) > 1:
        steps = np.diff(values[places])
        same = process[places[1:]] == process[places[:-1]]
        found[places[1:]] = np.where(same & (steps > 0), steps, 0.0)
    return found


def _consolidation(q: Question) -> CriterionResult:
    process = np.nan_to_num(q.series.column("process"))
    calm = q.series.column("fault") == 0
    runs = int(increments(q.series.column("runs"), process)[calm].sum())
    failed = int(increments(q.series.column("failures"), process)[calm].sum())
    if not np.isfinite(q.series.column("runs")).any():
        return _untold(q, "ratio", "consolidations", "how its consolidation runs ended")
    if not runs:
        return q.answer(Verdict.INCONCLUSIVE, no_estimate("ratio", "no consolidation run"), "no run was seen to end")
    return q.against(share(max(0, runs - failed), runs, "consolidation runs"), "consolidation runs", below=False)


def _cpu(q: Question) -> CriterionResult:
    series = q.series
    process = np.nan_to_num(series.column("process"))
    used = increments(series.column("cpu_s"), process)
    length = (series.column("to_s") - series.column("from_s")) / series.time_scale
    keep = series.steady & np.isfinite(series.column("cpu_s")) & (length > 0) & (used > 0)
    if keep.sum() < 2:
        why = series.untold("cpu_s", "cpu_s")
        note = "no CPU time recorded" + (f": {why}" if why else "")
        return q.answer(Verdict.INCONCLUSIVE, no_estimate("ratio", note), note)
    # The share of the machine, as the runbook's production nodes count it; blocks, since neighbours are alike.
    shares = used[keep] / length[keep] / max(1, q.facts.cpus)
    blocks = np.minimum(np.arange(len(shares)) * _CPU_BLOCKS // max(len(shares), 1), _CPU_BLOCKS - 1)
    value = mean(shares, "ratio", blocks.astype(np.int64))
    result = q.against(value, "CPU time")
    core = float(np.mean(used[keep] / length[keep]))
    note = f"of {q.facts.cpus} cores; {core:.0%} of one core"
    return q.answer(result.verdict, value, note, decided_at_s=result.decided_at_s)


def _breaker(q: Question) -> CriterionResult:
    open_polls = q.series.column("breaker_open")
    seen = np.isfinite(open_polls)
    if not seen.any():
        return _untold(q, "polls", "metrics.dual_memory", "whether its breaker is open")
    hits = np.flatnonzero(seen & (open_polls > 0) & (q.series.column("fault") == 0))
    value = exactly(int(np.nansum(open_polls[hits])) if len(hits) else 0, int(seen.sum()), "polls", "breaker state")
    if len(hits):
        at = float(q.series.column("to_s")[hits[0]])
        return q.answer(
            Verdict.FAIL, value, f"seen open in {len(hits)} intervals, first at {clock_text(at)}", decided_at_s=at
        )
    return _at_the_end(q, value, "")


def _acknowledged(q: Question) -> CriterionResult:
    tally = q.tally
    value = exactly(tally.bad, tally.checked, "memories", "acknowledged memory")
    if tally.bad:
        return q.answer(Verdict.FAIL, value, "; ".join(tally.examples), decided_at_s=tally.first_bad_s)
    if not tally.checked:
        return q.answer(Verdict.INCONCLUSIVE, value, "nothing was read back")
    if not q.over:
        return q.answer(Verdict.INCONCLUSIVE, value, f"{tally.checked:,} read back so far")
    if not tally.complete:
        return q.answer(Verdict.INCONCLUSIVE, value, "the full read-back of the end is missing")
    return q.answer(Verdict.PASS, value, f"{tally.checked:,} read back by id, {tally.recalled:,} by embedding")


def _offered(q: Question) -> CriterionResult:
    series, calm = q.series, q.series.column("fault") == 0
    offered = float(np.nansum(series.column("offered")[calm]))
    # What was under way at the end of a segment was offered and not lost: a kill took it from us.
    segment = series.column("segment")
    last = np.r_[segment[1:] != segment[:-1], True] if len(segment) else np.zeros(0, dtype=bool)
    done = float(np.nansum(series.column("completed")[calm])) + float(
        np.nansum(series.column("in_flight")[last & calm])
    )
    done = min(done, offered)
    if not offered:
        return q.answer(Verdict.INCONCLUSIVE, no_estimate("ratio", "nothing was offered"), "nothing was offered")
    value = Estimate(done / offered, Interval(done / offered, done / offered), "ratio", int(offered))
    lag = series.column("lag_p99_ms")
    lag = lag[np.isfinite(lag)]
    late = float(np.median(lag)) if len(lag) else math.nan
    if value.value < q.criterion.bound:
        whose = "the load ran late itself" if late > _MOST_LAG_MS else "the target did not keep up"
        return q.answer(Verdict.INCONCLUSIVE, value, f"not held: {whose} (schedule lag P99 {late:.1f} ms)", below=False)
    if late > _MOST_LAG_MS:
        return q.answer(
            Verdict.INCONCLUSIVE, value, f"the load's own lag, P99 {late:.1f} ms, blurs latency", below=False
        )
    return _at_the_end(q, value, f"schedule lag P99 {late:.2f} ms", below=False)


def _observed(q: Question) -> CriterionResult:
    series = q.series
    missing = sum(gap.end_s - gap.start_s for gap in series.gaps)
    whole = series.observed_s + missing
    if not whole:
        return q.answer(Verdict.INCONCLUSIVE, no_estimate("ratio", "nothing recorded"), "nothing was recorded")
    value = Estimate(
        series.observed_s / whole, Interval(series.observed_s / whole, series.observed_s / whole), "ratio", 1
    )
    gaps = f"{len(series.gaps)} gap{'s' if len(series.gaps) != 1 else ''}, {clock_text(missing)} unobserved"
    text = gaps if series.gaps else "no gap"
    if value.value < q.criterion.bound:
        return q.answer(Verdict.INCONCLUSIVE, value, text, below=False)
    return _at_the_end(q, value, text, below=False)


CRITERIA: dict[str, Callable[[Question], CriterionResult]] = {
    "no_crash": _no_crash,
    "p99_drift": p99_drift,
    "error_rate": error_rate,
    "memory_growth": memory_growth,
    "rss_settled": rss_settled,
    "leak": leak,
    "consolidation_freshness": _freshness,
    "consolidation_success": _consolidation,
    "cpu": _cpu,
    "breaker_trips": _breaker,
    "open_files": open_files,
    "acknowledged_memories": _acknowledged,
    "offered_rate": _offered,
    "observed": _observed,
}
