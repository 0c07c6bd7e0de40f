"""One criterion of a gate, read from a phase's recorded runs."""

from __future__ import annotations

from collections.abc import Mapping

from harness.judge import phase_concepts  # noqa: F401 - registers its measures
from harness.judge.comparison import decide
from harness.judge.gate import Reading, absent, broken
from harness.judge.phase_compare import against_control, against_phase
from harness.judge.phase_measures import MACHINE, MEASURES
from harness.judge.phase_runs import PhaseRuns
from harness.model import Estimate, Interval, Verdict
from harness.scenario.rollout import CONTROL, Criterion, Trigger

_ERRORS = frozenset({"error_rate", "canary_error_rate", "throughput_share"})  # a timeout is a duration
_MACHINE_BETWEEN = frozenset({"all_recall_p99_ms", "recall_p99_ms", "cpu_cores", "consolidation_p99_s"})


def read_runs(criterion: Criterion, runs: PhaseRuns | None, others: Mapping[str, PhaseRuns]) -> Reading:
    """What the client's record says of a criterion; ``others`` are the runs of the other phases."""
    unit = criterion.quantity.unit
    if runs is None or not runs.runs:
        return absent("run", "no run of this phase was given", unit)
    if runs.problem:
        return broken("run", runs.problem, unit)
    found = _read(criterion, runs, others)
    measured = criterion.quantity.measure
    excusable = measured in MACHINE or (criterion.against not in ("", CONTROL) and measured in _MACHINE_BETWEEN)
    excusable = excusable or (measured in _ERRORS and found.verdict is Verdict.FAIL and runs.only_timeouts())
    if found.verdict is Verdict.FAIL and excusable and (why := runs.doubt()):
        note = f"over the bound, which may not be the target's doing: {why}"
        return Reading("run", found.estimate, Verdict.INCONCLUSIVE, note, needed="an idle machine", shown=found.shown)
    return found


def _read(criterion: Criterion, runs: PhaseRuns, others: Mapping[str, PhaseRuns]) -> Reading:
    quantity = criterion.quantity
    if criterion.against == CONTROL:
        return against_control(runs, criterion)
    if criterion.against:
        return against_phase(runs, others.get(criterion.against), criterion)
    measure = MEASURES.get(quantity.measure)
    if measure is None:
        return absent("run", f"the client does not measure {quantity.what}", quantity.unit)
    estimate: Estimate = runs.once(quantity.measure, measure)
    if not estimate.known:  # a run that was given has to give the figure
        return broken("run", estimate.note or "nothing was recorded", quantity.unit)
    verdict = meets(estimate.interval, criterion.op, criterion.bound)
    return Reading("run", estimate, verdict, estimate.note, needed=would_decide(estimate, verdict, criterion.bound))


def meets(interval: Interval, op: str, bound: float) -> Verdict:
    """As :func:`~harness.judge.comparison.decide`, for equality, too."""
    if op not in ("==", "!="):
        return decide(interval, op, bound)
    if not interval.known:
        return Verdict.INCONCLUSIVE
    exact = interval.low == bound == interval.high
    never = not interval.contains(bound)
    if not exact and not never:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if exact == (op == "==") else Verdict.FAIL


def would_decide(estimate: Estimate, verdict: Verdict, bound: float) -> str:
    """In words, what sample would decide an undecided share or figure."""
    from harness.judge.comparison import sample_to_decide
    from harness.judge.power import clean_requests

    if verdict is not Verdict.INCONCLUSIVE:
        return ""
    if estimate.unit == "ratio" and estimate.value in (0.0, 1.0) and 0 < bound < 1:
        return f"{clean_requests(min(bound, 1 - bound)):,} samples with nothing against it would decide"
    needed = sample_to_decide(estimate.samples, estimate.value, estimate.interval, bound)
    if needed is None:
        return f"no sample of this spread would decide; there are {estimate.samples:,}"
    return f"about {max(needed, estimate.samples + 1):,} samples would decide; there are {estimate.samples:,}"


def read_trigger(trigger: Trigger, runs: PhaseRuns | None, others: Mapping[str, PhaseRuns]) -> Reading:
    """Whether the client's record keeps a trigger from being met.

    Past the bound for less than ``for_s`` of the plan's time is not met yet, but neither is it safe.
    """
    found = read_runs(trigger.safe, runs, others)
    if found.verdict is Verdict.FAIL and runs is not None and runs.covered_s < trigger.for_s:
        note = f"past the bound for {runs.covered_s:.0f} s of {trigger.for_s:.0f} s"
        return Reading("run", found.estimate, Verdict.INCONCLUSIVE, note, shown=found.shown)
    return found
