"""A phase's runs against a reference: the control cohort of the same runs, or the runs of another phase.

Against control, both arms met the same moments of the same machine, so one run can decide. Against another phase what
changed from run to run is part of the difference, so each side needs runs of its own: with fewer than three the answer
is HOLD, however many requests each has (STATISTICS.md: single-run comparisons are wrong 12 % of the time).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from harness.judge.arms import Arm, arm
from harness.judge.compare import compare_error_rate, compare_mean, compare_quantile
from harness.judge.comparison import FLOOR, RELATIVE, Comparison, decide
from harness.judge.gate import Reading, absent, broken, figure
from harness.judge.intervals import Floats
from harness.judge.phase_confidence import confidences, holes, none_recorded
from harness.judge.phase_measures import MEASURES
from harness.judge.phase_runs import PhaseRuns, failed, in_cohort, poor_cues, questions
from harness.judge.quality import compare_confidence, compare_robustness, paired, per_question
from harness.judge.runbook import Welch, welch
from harness.judge.sides import contrast
from harness.judge.view import latency_ms, recalls
from harness.model import Estimate, Interval, Verdict
from harness.scenario.rollout import CONTROL, Criterion
from harness.timeline.samples import pick

FEWEST_RUNS = 3
_HOUR_S = 3600.0


def against_control(runs: PhaseRuns, criterion: Criterion) -> Reading:
    """The canary against the control cohort of the same runs."""
    compare = _AGAINST_CONTROL.get(criterion.quantity.measure)
    if compare is None:
        return absent("run", f"the client cannot hold {criterion.quantity.what} against control", "ratio")
    return compare(runs, criterion)


def _arms(runs: PhaseRuns, values: Callable[..., Floats]) -> tuple[Arm, Arm]:
    return runs.arm("control", values, cohort="control"), runs.arm("canary", values, cohort="canary")


def _p99(runs: PhaseRuns, criterion: Criterion) -> Reading:
    control, canary = _arms(runs, latency_ms)
    return reading_of(compare_quantile(control, canary, 0.99, criterion.bound, criterion.floor or 0.0), criterion)


def _served(runs: PhaseRuns, criterion: Criterion) -> Reading:
    """Throughput of an open loop: of what was offered, how much more of the canary's was not served."""
    control, canary = _arms(runs, failed)
    return reading_of(compare_error_rate(control, canary, criterion.bound, metric="recalls not served"), criterion)


def _errors(runs: PhaseRuns, criterion: Criterion) -> Reading:
    control, canary = _arms(runs, failed)
    return reading_of(compare_error_rate(control, canary, criterion.bound), criterion)


def poor_answers(runs: PhaseRuns, cohort: str) -> dict[int, float]:
    """Mean number of memories returned to each partial or noisy question, of one cohort."""
    asked: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    returned: list[Floats] = []
    for run in runs.runs:
        samples = in_cohort(run, recalls(run.requests), cohort)
        samples = pick(samples, poor_cues(samples))
        asked.append(questions(samples))
        returned.append(samples["results"].astype(np.float64))
    return per_question(np.concatenate(asked), np.concatenate(returned)) if asked else {}


def _robustness(runs: PhaseRuns, criterion: Criterion) -> Reading:
    old, new = paired(poor_answers(runs, "control"), poor_answers(runs, "canary"))
    return reading_of(compare_robustness(old, new, criterion.bound), criterion)


def _confidence(runs: PhaseRuns, criterion: Criterion) -> Reading:
    """Both arms are asked the same questions; what is there in part only is broken evidence."""
    if why := none_recorded(runs):
        return absent("run", why, "ratio")
    if why := holes(runs):
        return broken("run", why, "ratio")
    old, new = paired(confidences(runs, "control"), confidences(runs, "canary"))
    return reading_of(compare_confidence(old, new, criterion.bound), criterion)


def _welch_of(runs: PhaseRuns, values: Callable[..., Floats], *, poor: bool) -> Welch | None:
    def test(of: PhaseRuns) -> Welch | None:
        keep = poor_cues if poor else None
        control, canary = (of.arm(name, values, keep, cohort=name) for name in ("control", "canary"))
        with warnings.catch_warnings():  # answers of one length are no accident here, and scipy says so at length
            warnings.simplefilter("ignore", RuntimeWarning)
            return welch(control.values, canary.values)

    found: Welch | None = runs.once(f"welch:{poor}", test)
    return found


def _results(samples: np.ndarray[tuple[int], np.dtype[np.void]]) -> Floats:
    return samples["results"].astype(np.float64)


def _effect(*, poor: bool) -> Callable[[PhaseRuns, Criterion], Reading]:
    """Cohen's d, with the standard error of Hedges and Olkin."""

    def compare(runs: PhaseRuns, criterion: Criterion) -> Reading:
        values = _results if poor else latency_ms
        found = _welch_of(runs, values, poor=poor)
        sizes = [runs.arm(n, values, poor_cues if poor else None, cohort=n).count for n in ("control", "canary")]
        if found is None:
            return absent("run", "no two samples that can be tested")
        spread = math.sqrt(sum(1 / n for n in sizes) + found.effect**2 / (2 * sum(sizes)))
        ends = Interval(found.effect - 1.645 * spread, found.effect + 1.645 * spread)
        return _plain(Estimate(found.effect, ends, "", min(sizes)), criterion, f"p = {found.p:.3g}")

    return compare


def _p_value(*, poor: bool) -> Callable[[PhaseRuns, Criterion], Reading]:
    """One-sided: of the canary being slower, or returning more."""

    def compare(runs: PhaseRuns, criterion: Criterion) -> Reading:
        found = _welch_of(runs, _results if poor else latency_ms, poor=poor)
        if found is None:
            return absent("run", "no two samples that can be tested")
        p = found.p / 2 if found.difference > 0 else 1 - found.p / 2
        return _plain(Estimate(p, Interval(p, p), "", 2), criterion, f"Cohen's d = {found.effect:.2f}")

    return compare


def _plain(estimate: Estimate, criterion: Criterion, note: str) -> Reading:
    verdict = decide(estimate.interval, criterion.op, criterion.bound)
    return Reading("run", estimate, verdict, note)


_AGAINST_CONTROL: Mapping[str, Callable[[PhaseRuns, Criterion], Reading]] = {
    "recall_p99_ms": _p99,
    "throughput_share": _served,
    "error_rate": _errors,
    "robustness": _robustness,
    "recall_confidence": _confidence,
    "robustness_effect_d": _effect(poor=True),
    "robustness_p_value": _p_value(poor=True),
    "latency_effect_d": _effect(poor=False),
    "latency_p_value": _p_value(poor=False),
}


def reading_of(found: Comparison, criterion: Criterion, witness: str = "run") -> Reading:
    """A comparison as a reading of the gate; a difference of shares is given as a share."""
    scale = 0.01 if found.change.unit == "pp" else 1.0
    change = found.change
    if scale != 1.0 and change.known:
        ends = Interval(change.interval.low * scale, change.interval.high * scale)
        change = Estimate(change.value * scale, ends, "ratio", change.samples)
    if not change.known:
        return absent(witness, found.note, change.unit)
    verdict = found.verdict
    if criterion.op in (">", ">=", "<", "<=") and found.op not in (criterion.op, criterion.op.rstrip("=")):
        limit = criterion.floor if found.decided_by == FLOOR and criterion.floor is not None else criterion.bound
        verdict = decide(change.interval, criterion.op, limit)
    needed = ""
    if found.needed and "would decide" not in found.note:
        needed = f"{found.needed:,} {found.needed_unit} of the canary would decide"
    shown = ""
    if found.control.known and found.canary.known:
        shown = against(found.canary.value, found.control.value, found.canary.unit)
    decided_by = found.decided_by if found.decided_by in (FLOOR, RELATIVE) else ""
    return Reading(witness, change, verdict, found.note, needed=needed, decided_by=decided_by, shown=shown)


# Against another phase: one figure a run.


def _process_rss(runs: PhaseRuns) -> Floats:
    parts = runs.readings("process")
    return np.asarray([np.mean([r["rss_bytes"] for r in part if "rss_bytes" in r]) / 1e6 for part in parts if part])


def _cpu_cores(runs: PhaseRuns) -> Floats:
    found = []
    for part in runs.readings("process"):
        rows = [r for r in part if "cpu_s" in r]
        if len(rows) >= 2 and rows[-1]["t"] > rows[0]["t"]:
            found.append((rows[-1]["cpu_s"] - rows[0]["cpu_s"]) / (rows[-1]["t"] - rows[0]["t"]))
    return np.asarray(found)


def _each(measure: str) -> Callable[[PhaseRuns], Floats]:
    def figures(runs: PhaseRuns) -> Floats:
        found = [MEASURES[measure](PhaseRuns((run,), runs.time_scale)) for run in runs.runs]
        return np.asarray([e.value for e in found])

    return lambda runs: np.asarray(runs.once(f"each:{measure}", figures))


def _share_served(runs: PhaseRuns) -> Floats:
    return np.asarray([1 - MEASURES["error_rate"](PhaseRuns((run,))).value for run in runs.runs])


def _mean_poor(runs: PhaseRuns) -> Floats:
    """Mean results for poor cues: of the canary where there is one (it is all of them at 100 %), else of everybody."""
    found = []
    for run in runs.runs:
        alone = PhaseRuns((run,))
        answers = poor_answers(alone, "canary") or poor_answers(alone, "")
        found.append(float(np.mean(list(answers.values()))) if answers else math.nan)
    return np.asarray(found)


def _mean_confidence(runs: PhaseRuns) -> Floats:
    """Mean confidence of answers: of the canary where there is one, else of everybody; NaN where it has holes."""
    found = []
    for run in runs.runs:
        alone = PhaseRuns((run,))
        known = {} if none_recorded(alone) or holes(alone) else confidences(alone, "canary") or confidences(alone, "")
        found.append(float(np.mean(list(known.values()))) if known else math.nan)
    return np.asarray(found)


_PER_RUN: Mapping[str, Callable[[PhaseRuns], Floats]] = {
    "rss_mb": _process_rss,
    "cpu_cores": _cpu_cores,
    "all_recall_p99_ms": _each("all_recall_p99_ms"),
    "recall_p99_ms": _each("recall_p99_ms"),
    "consolidation_p99_s": _each("consolidation_p99_s"),
    "throughput_share": _share_served,
    "error_rate": _each("error_rate"),
    "robustness": _mean_poor,
    "recall_confidence": _mean_confidence,
}


def measured_against(what: str) -> frozenset[str]:
    """The measures that the client's record can hold against ``control``, or against another phase."""
    return frozenset(_AGAINST_CONTROL if what == CONTROL else _PER_RUN)


def against_phase(runs: PhaseRuns, reference: PhaseRuns | None, criterion: Criterion) -> Reading:
    """A phase's runs against another phase's, one figure a run."""
    unit = criterion.quantity.unit
    figures = _PER_RUN.get(criterion.quantity.measure)
    if reference is None or not reference.runs:
        return absent("run", f"no run of phase {criterion.against}, which this is held against", unit)
    if figures is None:
        return absent("run", f"the client cannot hold {criterion.quantity.what} against another phase", unit)
    old, new = figures(reference), figures(runs)
    for name, found in ((criterion.against, old), ("this phase", new)):
        if not bool(np.isfinite(found).all()):
            return broken("run", f"a run of {name} has no such figure", unit)
    fewest = min(len(old), len(new))
    if fewest < FEWEST_RUNS:
        why = f"{len(old)} and {len(new)} runs: how much runs differ is unknown below {FEWEST_RUNS} of each"
        return _held(old, new, criterion, why)
    return _per_run(old, new, criterion)


def _held(old: Floats, new: Floats, criterion: Criterion, why: str) -> Reading:
    if not len(old) or not len(new):
        return absent("run", why, criterion.quantity.unit)
    value = change_of(float(old.mean()), float(new.mean()), criterion.quantity.relative)
    shown = against(float(new.mean()), float(old.mean()), criterion.quantity.unit)
    return Reading(
        "run",
        Estimate(value, Interval(-math.inf, math.inf), "ratio", len(new)),
        Verdict.INCONCLUSIVE,
        why,
        needed=f"{FEWEST_RUNS} runs of each phase would begin to decide",
        shown=shown,
    )


def against(new: float, old: float, unit: str) -> str:
    """``13.4 against 9.6 ms``."""
    return f"{figure(new, unit)} against {figure(old, unit)}"


def change_of(old: float, new: float, relative: str) -> float:
    """The change of a figure: a share of the old one, or the difference."""
    if relative == "difference":
        return new - old
    if old == 0:
        return math.nan
    return new / old - 1 if relative == "increase" else 1 - new / old


def _per_run(old: Floats, new: Floats, criterion: Criterion) -> Reading:
    control, canary = (arm(n, np.arange(len(v)), v) for n, v in (("reference", old), ("phase", new)))
    if criterion.quantity.relative == "increase" and criterion.op in ("<", "<="):
        if (old == old[0]).all() or (new == new[0]).all():
            return _exact_change(old, new, criterion)
        found = compare_mean(
            control,
            canary,
            criterion.bound,
            criterion.floor or 0.0,
            unit=criterion.quantity.unit,
            metric=criterion.quantity.what,
        )
        return reading_of(found, criterion)
    both = contrast(control, canary, "mean")
    if both is None:
        return _exact_change(old, new, criterion)
    ends = both.difference_bounds(0.05)
    if criterion.quantity.relative != "difference":
        scale = float(old.mean())
        sign = -1.0 if criterion.quantity.relative == "decrease" else 1.0
        edges = sorted((sign * ends.low / scale, sign * ends.high / scale))
        ends = Interval(edges[0], edges[1])
    return _by_interval(old, new, ends, criterion)


def _exact_change(old: Floats, new: Floats, criterion: Criterion) -> Reading:
    """Where a side does not move at all from run to run (a bucket's edge): the change of the extremes."""
    relative = criterion.quantity.relative
    changes = [change_of(float(a), float(b), relative) for a in (old.min(), old.max()) for b in (new.min(), new.max())]
    if any(math.isnan(c) for c in changes):
        return broken("run", "the reference is zero: no ratio to it", "ratio")
    return _by_interval(old, new, Interval(min(changes), max(changes)), criterion)


def _by_interval(old: Floats, new: Floats, ends: Interval, criterion: Criterion) -> Reading:
    value = change_of(float(old.mean()), float(new.mean()), criterion.quantity.relative)
    verdict, decided_by = decide(ends, criterion.op, criterion.bound), ""
    shift = Interval(float(new.min() - old.max()), float(new.max() - old.min()))
    if criterion.floor is not None:
        decided_by = RELATIVE
        if verdict is not Verdict.PASS and decide(shift, "<", criterion.floor) is Verdict.PASS:
            verdict, decided_by = Verdict.PASS, FLOOR
    shown = against(float(new.mean()), float(old.mean()), criterion.quantity.unit)
    unit = criterion.quantity.unit if criterion.quantity.relative == "difference" else "ratio"
    return Reading("run", Estimate(value, ends, unit, len(new)), verdict, decided_by=decided_by, shown=shown)
