"""What the service's own metrics say of a criterion: series recorded over a phase, with their gaps.

A reading needs 99 % of its points: a gap, a NaN, an early end or a late start is evidence that cannot be believed, and
holds the gate. So does a process that started anew in the middle for whatever is a counter (Prometheus's ``rate`` hides
the reset, not the crash, which has a criterion of its own).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.judge.arms import arm
from harness.judge.comparison import FLOOR, RELATIVE, decide
from harness.judge.gate import Reading, absent, broken
from harness.judge.intervals import Floats
from harness.judge.phase_compare import against, change_of
from harness.judge.phase_reading import meets
from harness.judge.sides import contrast, pooled_estimate
from harness.model import Estimate, Interval, Verdict
from harness.scenario.rollout import CONTROL, Criterion, Trigger

COVERAGE = 0.99
_CRASHES = "crashes"
_MAY_FALL = frozenset({"rss_growth_mb_per_h"})
_STILL = 20  # points on end that are the same to the last digit
_MET = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal
}  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """One query's answer over a phase: the points asked for, NaN where Prometheus had none.

    ``series`` has one row a series; ``start``, ``end`` and ``step_s`` are the range that was asked for.
    """

    query: str
    start: float
    end: float
    step_s: float
    series: tuple[Floats, ...]

    @property
    def points(self) -> int:
        """How many points a whole series has."""
        return math.floor((self.end - self.start) / self.step_s + 1e-9) + 1 if self.step_s > 0 else 0

    def problem(self) -> str:
        """Why it cannot be believed, or nothing."""
        if not self.series:
            return "Prometheus has no such series"
        for values in self.series:
            if len(values) != self.points:
                return f"{len(values)} points of {self.points}: it ends early or begins late"
            bad = int((~np.isfinite(values)).sum())
            if bad > (1 - COVERAGE) * self.points:
                return f"{bad} of {self.points} points are missing or no number"
            if not math.isfinite(float(values[-1])):
                return "its last point is missing: the evidence is late"
        return ""


Series = Mapping[str, Recorded]  # by query


@dataclass(frozen=True)
class ServiceRecord:
    """All that Prometheus gave of one phase; ``problem`` where it could not be asked."""

    series: Series
    problem: str = ""


def read_service(
    criterion: Criterion, record: ServiceRecord | None, others: Mapping[str, ServiceRecord], *, trigger: bool = False
) -> Reading:
    """What the service's metrics say of a criterion. ``trigger``: a spell, not the worst point, is looked at."""
    unit = criterion.quantity.unit
    if record is None:
        return absent("prometheus", "no metrics of this phase were given", unit)
    if record.problem:
        return broken("prometheus", record.problem, unit)
    if criterion.quantity.query_for("canary") not in record.series:
        return absent("prometheus", "this query was not recorded", unit)
    canary = _found(record, criterion, "canary")
    if isinstance(canary, str):
        return broken("prometheus", canary, unit)
    if criterion.against == CONTROL:
        control = _found(record, criterion, "control")
        if isinstance(control, str):
            return broken("prometheus", f"control: {control}", unit)
        return _relative(criterion, control, canary, paired=True)
    if criterion.against:
        before = others.get(criterion.against)
        if before is None:
            return absent("prometheus", f"no metrics of phase {criterion.against}", unit)
        if before.problem:
            return broken("prometheus", f"phase {criterion.against}: {before.problem}", unit)
        reference = _found(before, criterion, "canary")
        if isinstance(reference, str):
            return broken("prometheus", f"phase {criterion.against}: {reference}", unit)
        return _relative(criterion, reference, canary, paired=False)
    return _absolute(criterion, canary)


def _found(record: ServiceRecord, criterion: Criterion, cohort: str) -> Recorded | str:
    query = criterion.quantity.query_for(cohort)
    found = record.series.get(query)
    if found is None:
        return "this query was not recorded"
    return found.problem() or _impossible(criterion, found) or found


def _impossible(criterion: Criterion, found: Recorded) -> str:
    """Values that this quantity cannot have: what a counter's reset, or an instrument that stands still, leaves."""
    values = np.concatenate([_finite(series) for series in found.series])
    if criterion.quantity.name not in _MAY_FALL and bool((values < 0).any()):
        return "negative values: a counter went backwards"
    if (
        criterion.quantity.unit == "ratio"
        and bool((values > 1 + 1e-9).any())
        and criterion.quantity.measure != "throughput_share"
    ):
        return "a share above one: two counters that do not belong together"
    if criterion.quantity.unit == "ms" and len(values) >= _STILL and bool((values == values[0]).all()):
        return f"all {len(values)} points are {values[0]:g}: an instrument that stands still"
    return ""


def _worst(found: Recorded, better: str) -> Floats:
    """The worse of several series at every point."""
    rows = np.vstack(found.series)
    return np.asarray(np.nanmax(rows, axis=0) if better == "low" else np.nanmin(rows, axis=0), dtype=np.float64)


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _absolute(criterion: Criterion, found: Recorded) -> Reading:
    quantity = criterion.quantity
    values = _finite(_worst(found, quantity.better))
    if quantity.name == _CRASHES:
        total = float(values.sum() / max(1.0, 300.0 / found.step_s))  # changes([5m]) shows each in every window
        exact = Estimate(total, Interval(total, total), quantity.unit, len(values))
        return Reading("prometheus", exact, meets(exact.interval, criterion.op, criterion.bound))
    if quantity.aggregate == "mean":
        one = arm("service", np.arange(len(values)), values, np.arange(len(values)))
        estimate = _mean(one.values, pooled_estimate(one, "mean", 0.5, quantity.unit))
        return Reading("prometheus", estimate, decide(estimate.interval, criterion.op, criterion.bound))
    if quantity.aggregate == "last":
        value = float(values[-1])
    else:
        value = float(values.max() if quantity.better == "low" else values.min())
    estimate = Estimate(value, Interval(value, value), quantity.unit, len(values))
    verdict = meets(estimate.interval, criterion.op, criterion.bound)
    note = "" if verdict is Verdict.PASS else _how_long(criterion, values, found.step_s)
    return Reading("prometheus", estimate, verdict, note)


def _mean(values: Floats, estimate: Estimate) -> Estimate:
    if bool((values == values[0]).all()):
        return Estimate(float(values[0]), Interval(float(values[0]), float(values[0])), estimate.unit, len(values))
    return estimate


def _how_long(criterion: Criterion, values: Floats, step_s: float) -> str:
    bad = sum(meets(Interval(v, v), criterion.op, criterion.bound) is not Verdict.PASS for v in values.tolist())
    return f"beyond the bound at {bad} of {len(values)} points ({bad * step_s / 60:.0f} min in all)"


def _relative(criterion: Criterion, reference: Recorded, phase: Recorded, *, paired: bool) -> Reading:
    """The mean change over the phase. Against control point by point, so that what moved both cancels."""
    quantity = criterion.quantity
    old, new = _worst(reference, quantity.better), _worst(phase, quantity.better)
    if paired:
        both = np.isfinite(old) & np.isfinite(new)
        old, new = old[both], new[both]
    else:
        old, new = _finite(old), _finite(new)
    if len(old) < 3 or len(new) < 3:
        return broken("prometheus", "fewer than three points", quantity.unit)
    centre = float(old.mean())
    if quantity.relative != "difference" and centre <= 0:
        return broken("prometheus", "the reference is zero: no ratio to it", quantity.unit)
    shift = _difference(old, new, paired=paired)
    value = change_of(centre, float(new.mean()), quantity.relative)
    if quantity.relative == "difference":
        ends = shift
    else:
        sign = -1.0 if quantity.relative == "decrease" else 1.0
        edges = sorted((sign * shift.low / centre, sign * shift.high / centre))
        ends = Interval(edges[0], edges[1])
    verdict, decided_by = decide(ends, criterion.op, criterion.bound), ""
    if criterion.floor is not None:
        verdict, decided_by = _with_floor(criterion, ends, shift, centre)
    unit = quantity.unit if quantity.relative == "difference" else "ratio"
    shown = against(float(new.mean()), centre, quantity.unit)
    return Reading("prometheus", Estimate(value, ends, unit, len(new)), verdict, decided_by=decided_by, shown=shown)


def _with_floor(criterion: Criterion, ends: Interval, shift: Interval, centre: float) -> tuple[Verdict, str]:
    """The larger of the two limits decides, as in :mod:`harness.judge.compare`."""
    assert criterion.floor is not None
    if criterion.floor > criterion.bound * centre:
        return decide(shift, criterion.op, criterion.floor), FLOOR
    return decide(ends, criterion.op, criterion.bound), RELATIVE


def _difference(old: Floats, new: Floats, *, paired: bool) -> Interval:
    steps = np.arange(len(new))
    if paired:
        apart = new - old
        if bool((apart == apart[0]).all()):
            return Interval(float(apart[0]), float(apart[0]))
        return pooled_estimate(arm("service", steps, apart, steps), "mean", 0.5, "").interval
    if bool((old == old[0]).all()) and bool((new == new[0]).all()):
        return Interval(float(new[0] - old[0]), float(new[0] - old[0]))
    both = contrast(
        arm("reference", np.arange(len(old)), old, np.arange(len(old))), arm("p", steps, new, steps), "mean"
    )
    return both.difference_bounds(0.05) if both is not None else Interval(-math.inf, math.inf)


def read_service_trigger(
    trigger: Trigger, record: ServiceRecord | None, others: Mapping[str, ServiceRecord]
) -> Reading:
    """Whether a trigger was met: its condition true for ``for_s`` on end at any time of the phase."""
    criterion = trigger.safe
    if trigger.against or trigger.quantity.aggregate != "worst" or not trigger.for_s:
        return read_service(criterion, record, others)
    if record is None or record.problem:
        return read_service(criterion, record, others)
    found = _found(record, criterion, "canary")
    if isinstance(found, str):
        return broken("prometheus", found, trigger.quantity.unit)
    values = _worst(found, trigger.quantity.better)
    spell = longest_spell(values, trigger) * found.step_s
    worst = _finite(values)
    value = float(worst.max() if trigger.op in (">", ">=") else worst.min())
    estimate = Estimate(value, Interval(value, value), trigger.quantity.unit, len(worst))
    verdict = Verdict.FAIL if spell >= trigger.for_s else Verdict.PASS
    note = f"held for {spell:.0f} s on end, the limit is {trigger.for_s:.0f} s" if spell else ""
    return Reading("prometheus", estimate, verdict, note)


def longest_spell(values: Sequence[float] | Floats, trigger: Trigger) -> int:
    """The most points on end at which a trigger's condition was true; a missing point ends no spell."""
    points = np.asarray(values, dtype=np.float64)
    last = np.maximum.accumulate(np.where(np.isfinite(points), np.arange(len(points)), -1))
    held = (last >= 0) & _MET[trigger.op](points, trigger.bound)[last]
    breaks = np.concatenate(([-1], np.flatnonzero(~held), [len(held)]))
    return int(np.diff(breaks).max()) - 1
