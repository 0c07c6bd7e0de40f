"""A check: a measured quantity, a comparison, a bound and where the bound comes from.

A check is answered by the quantity's interval: wholly inside the bound is PASS, wholly outside is FAIL, straddling is
INCONCLUSIVE, and so is no data. Recorded checks are evaluated again, from the samples, by ``harness judge``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.judge import alerting, monitoring, rollback
from harness.judge import panel as _panel  # noqa: F401 - registers what a panel of undisturbed memories is asked for
from harness.judge import quantities_recall as _register  # noqa: F401 - registers what recalls are asked for
from harness.judge.intervals import exactly
from harness.judge.quantities import QUANTITIES, measure
from harness.judge.summary import CaseSummary
from harness.model import Estimate, Interval, Verdict, json_number, no_estimate


class Bound(float):
    """A number with a name and a source, so that a failed check can say where its limit comes from."""

    name: str
    source: str

    def __new__(cls, value: float, name: str = "", source: str = "") -> Bound:
        bound = super().__new__(cls, value)
        bound.name = name
        bound.source = source
        return bound

    def __reduce__(self) -> tuple[object, ...]:
        return (Bound, (float(self), self.name, self.source))


@dataclass(frozen=True)
class Check:
    """One comparison, as recorded. ``window`` is a window's name, or ``case`` for what belongs to the whole case."""

    window: str
    name: str
    arguments: dict[str, Any]
    op: str
    bound: float
    bound_name: str
    source: str

    def as_json(self) -> dict[str, Any]:
        """For ``checks.json``; read back by :func:`check_from_json`."""
        return {
            "quantity": {"window": self.window, "name": self.name, "arguments": self.arguments},
            "op": self.op,
            "bound": {"value": json_number(self.bound), "name": self.bound_name, "source": self.source},
        }

    @property
    def label(self) -> str:
        """``during.latency_ms(p=99)``."""
        arguments = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.arguments.items())
        call = f"({arguments})" if arguments else ""
        return f"{self.name}{call}" if self.window == "case" else f"{self.window}.{self.name}{call}"


@dataclass(frozen=True)
class CheckResult:
    """A check, answered."""

    check: Check
    estimate: Estimate
    verdict: Verdict
    reason: str

    def as_json(self) -> dict[str, Any]:
        """For ``verdict.json``."""
        return {
            **self.check.as_json(),
            "label": self.check.label,
            "measured": {
                "value": json_number(self.estimate.value),
                **self.estimate.interval.as_json(),
                "unit": self.estimate.unit,
                "samples": self.estimate.samples,
            },
            "verdict": self.verdict.value,
            "reason": self.reason,
        }


def check_from_json(value: dict[str, Any]) -> Check:
    """A recorded check. Raises ``KeyError`` or ``ValueError`` where it is none."""
    bound = value["bound"]
    raw = bound["value"]
    return Check(
        window=str(value["quantity"]["window"]),
        name=str(value["quantity"]["name"]),
        arguments=dict(value["quantity"]["arguments"]),
        op=str(value["op"]),
        bound=math.nan if raw is None else float(raw),
        bound_name=str(bound["name"]),
        source=str(bound["source"]),
    )


def compare(interval: Interval, op: str, bound: float) -> Verdict:
    """PASS where the whole interval meets ``op bound``, FAIL where none of it does, else INCONCLUSIVE."""
    inside, outside = _TESTS[op]
    if not interval.known or math.isnan(bound):
        return Verdict.INCONCLUSIVE
    if inside(interval, bound):
        return Verdict.PASS
    return Verdict.FAIL if outside(interval, bound) else Verdict.INCONCLUSIVE


_Test = Callable[[Interval, float], bool]
_TESTS: dict[str, tuple[_Test, _Test]] = {
    "<=": (lambda i, b: i.high <= b, lambda i, b: i.low > b),
    "<": (lambda i, b: i.high < b, lambda i, b: i.low >= b),
    ">=": (lambda i, b: i.low >= b, lambda i, b: i.high < b),
    ">": (lambda i, b: i.low > b, lambda i, b: i.high <= b),
    "==": (lambda i, b: i.low == b == i.high, lambda i, b: not i.contains(b)),
}


def estimate_of(summary: CaseSummary, check: Check) -> Estimate:
    """Measure what the check is about; unknown where this version knows no such quantity, comparison or argument."""
    if check.window != "case" and check.name not in QUANTITIES:
        return no_estimate("", f"'{check.name}' is no quantity this version knows")
    if check.op not in _TESTS:
        return no_estimate("", f"'{check.op}' is no comparison this version knows")
    if check.window != "case":
        return measure(summary.view, check.window, check.name, check.arguments)
    if check.name == "recovery_time_s":
        return summary.recovery_estimate(check.arguments.get("signal"))
    if check.name == "step_time_s":
        return rollback.step_time(summary.view, str(check.arguments.get("step")))
    if check.name == "alert_time_s":
        return alerting.alert_time(summary.view, str(check.arguments.get("step")))
    if check.name.startswith("acknowledged_memories."):
        return _read_back_estimate(summary, check.name.removeprefix("acknowledged_memories."))
    return no_estimate("", f"'{check.name}' is no quantity this version knows")


def _read_back_estimate(summary: CaseSummary, name: str) -> Estimate:
    result = summary.read_back
    if result.unreachable:
        bad = int(getattr(result, name))
        note = f"{result.unreachable} of {result.acknowledged} acknowledged memories could not be read back"
        # What was seen wrong is wrong; what was not seen may be.
        return Estimate(float(bad), Interval(bad, math.inf), "memories", result.checked, None, note)
    looked_at = result.recalled if name == "unrecallable" else result.checked
    return exactly(int(getattr(result, name)), looked_at, "memories", "acknowledged memories")


def excusable(summary: CaseSummary, check: Check) -> bool:
    """Whether a late generator or a starved machine may be what fails the check.

    Of the recovery time, only the part of it that latency decides: a machine does not keep a fault in force. Of errors,
    only where every one of them is a timeout: a stall of the machine can do that, and no other error.
    """
    if check.name == "recovery_time_s":
        return summary.late_by_latency_alone(check.arguments.get("signal"), check.bound)
    if check.name == "step_time_s":
        return check.op in ("<=", "<")  # that a step ended at all is a condition of the case, and not excused
    if check.name == "monitoring_findings":
        return check.op in ("<=", "<", "==") and monitoring.only_timed(summary.view, check.window)
    if check.name == "error_rate":
        return check.op in ("<=", "<") and summary.only_timeouts(check.window)
    found = QUANTITIES.get(check.name)
    if found is None or not found.machine:
        return False
    return found.machine == "blurs" or check.op in ("<=", "<", "==")


def answer(summary: CaseSummary, check: Check) -> CheckResult:
    """Answer a check from the record, saying why where the answer is not PASS."""
    estimate = estimate_of(summary, check)
    if not estimate.known:
        why = estimate.note or "nothing recorded"
        return CheckResult(check, estimate, Verdict.INCONCLUSIVE, f"{check.label}: no data: {why}")
    if math.isnan(check.bound):
        named = f"'{check.bound_name}' has no value in this record" if check.bound_name else "none was recorded"
        return CheckResult(check, estimate, Verdict.INCONCLUSIVE, f"{check.label}: no bound: {named}")
    verdict = compare(estimate.interval, check.op, check.bound)
    if verdict is Verdict.FAIL and excusable(summary, check) and (why := summary.timing_doubt(check.window)):
        reason = f"{_reason(check, estimate, verdict)}, which may not be the target's doing: {why}"
        return CheckResult(check, estimate, Verdict.INCONCLUSIVE, reason)
    return CheckResult(check, estimate, verdict, _reason(check, estimate, verdict))


def _reason(check: Check, estimate: Estimate, verdict: Verdict) -> str:
    if verdict is Verdict.PASS:
        return ""
    measured = describe(estimate)
    bound = f"{check.bound:g}" + (f" ({check.bound_name}, {check.source})" if check.bound_name else "")
    if verdict is Verdict.FAIL:
        note = f": {estimate.note}" if estimate.note else ""
        return f"{check.label} = {measured}, must be {check.op} {bound}{note}"
    needed = _would_decide(estimate, check.bound)
    note = f"; {estimate.note}" if estimate.note else ""
    return f"{check.label} = {measured} straddles {check.op} {bound}{needed}{note}"


def _would_decide(estimate: Estimate, bound: float) -> str:
    """What sample would decide: with nothing against the bound yet, a clean one; else more of the same spread."""
    if estimate.unit == "ratio" and 0 < bound < 1 and estimate.value in (0.0, 1.0):
        clean = math.ceil(math.log(0.05) / math.log(1 - min(bound, 1 - bound)))
        return f"; with none against it {clean:,} samples would decide"
    if estimate.needed and estimate.needed > estimate.samples:
        return f"; at least {estimate.needed:,} samples are needed"
    distance = abs(bound - estimate.value)
    edge = estimate.interval.high if bound > estimate.value else estimate.interval.low
    if not math.isfinite(edge) or distance == 0 or not math.isfinite(distance):
        return "; no sample of this spread would decide"
    more = estimate.samples * (abs(edge - estimate.value) / distance) ** 2
    return f"; about {math.ceil(more):,} samples of this spread would decide"


def describe(estimate: Estimate) -> str:
    """``12.3 ms [11.9, 13.0] of 3,041 samples``."""
    if not estimate.known:
        return f"unknown ({estimate.note})" if estimate.note else "unknown"
    unit = "" if estimate.unit == "ratio" else f" {estimate.unit}"
    low, high = estimate.interval.low, estimate.interval.high
    return f"{estimate.value:.4g}{unit} [{low:.4g}, {high:.4g}] of {estimate.samples:,} samples"
