"""What a drill's assertions speak to: measured values whose comparisons are recorded.

``outcome.during.error_rate <= slo.error_rate`` records the check and is answered by the value's interval: true where
all of it meets the bound, false where none of it does, and :class:`~harness.errors.Inconclusive` where it straddles.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.errors import Inconclusive
from harness.judge.checks import Bound, Check, CheckResult, answer, describe, estimate_of
from harness.judge.durability import ReadBack
from harness.judge.quantities import QUANTITIES
from harness.judge.summary import CaseSummary
from harness.model import Estimate, Verdict

Recorder = Callable[[Check], None]


@dataclass(frozen=True)
class CaseContext:
    """What measured values share: the judged case, where it lies, and who keeps the checks."""

    summary: CaseSummary
    folder: str
    record: Recorder


class Answered:
    """The answer to a comparison; true, false, or an Inconclusive when asked for its truth."""

    def __init__(self, result: CheckResult, folder: str) -> None:
        self.result = result
        self._folder = folder

    def __bool__(self) -> bool:
        if self.result.verdict is Verdict.INCONCLUSIVE:
            raise Inconclusive(self.result.reason, where=self._folder)
        return self.result.verdict is Verdict.PASS

    def explain(self) -> list[str]:
        """What an assertion shows when it fails: value, interval, bound, source, window, samples, directory."""
        check, estimate = self.result.check, self.result.estimate
        source = f"{check.bound_name} ({check.source})" if check.bound_name else "a number in the drill"
        return [
            f"{check.label} {check.op} {check.bound:g} is {self.result.verdict.value}",
            f"measured: {describe(estimate)}" + (f"; {estimate.note}" if estimate.note else ""),
            f"bound:    {check.op} {check.bound:g} from {source}",
            f"window:   {check.window}",
            f"case:     {self._folder}",
            f"again:    harness judge {self._folder}",
        ]


class Measured:
    """A quantity of a window (or of the whole case), measured when it is looked at."""

    __hash__ = None  # type: ignore[assignment]  # equality records a check; a measured value is no dictionary key

    def __init__(self, context: CaseContext, window: str, name: str, arguments: dict[str, Any]) -> None:
        self._context = context
        self._window = window
        self._name = name
        self._arguments = arguments

    def __call__(self, **arguments: Any) -> Measured:
        """The same quantity with arguments, as in ``latency_ms(p=99, cohort="canary")``."""
        return Measured(self._context, self._window, self._name, {**self._arguments, **arguments})

    @property
    def estimate(self) -> Estimate:
        """Value, interval, unit and sample count; looking records nothing."""
        return estimate_of(self._context.summary, self._check("<=", float("nan")))

    def answered(self, op: str, bound: float) -> Answered:
        """Record the comparison and answer it."""
        check = self._check(op, bound)
        self._context.record(check)
        return Answered(answer(self._context.summary, check), self._context.folder)

    def explained(self, op: str, bound: float) -> list[str]:
        """The explanation of a comparison that was recorded already."""
        return Answered(answer(self._context.summary, self._check(op, bound)), self._context.folder).explain()

    def _check(self, op: str, bound: float) -> Check:
        name = bound.name if isinstance(bound, Bound) else ""
        source = bound.source if isinstance(bound, Bound) else ""
        return Check(self._window, self._name, self._arguments, op, float(bound), name, source)

    def __le__(self, bound: float) -> Answered:
        return self.answered("<=", bound)

    def __lt__(self, bound: float) -> Answered:
        return self.answered("<", bound)

    def __ge__(self, bound: float) -> Answered:
        return self.answered(">=", bound)

    def __gt__(self, bound: float) -> Answered:
        return self.answered(">", bound)

    def __eq__(self, bound: object) -> Any:
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            return NotImplemented
        return self.answered("==", bound)

    def __repr__(self) -> str:
        return f"{self._check('', 0.0).label} = {describe(self.estimate)}"


class WindowView:
    """The quantities of one window, as attributes; an unknown name is an error that names the nearest known one."""

    def __init__(self, context: CaseContext, window: str) -> None:
        self._context = context
        self._window = window

    def __getattr__(self, name: str) -> Measured:
        if name not in QUANTITIES:
            near = difflib.get_close_matches(name, QUANTITIES, n=1)
            raise AttributeError(f"no quantity '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return Measured(self._context, self._window, name, {})

    def __dir__(self) -> list[str]:
        return sorted(QUANTITIES)


class ReadBackView:
    """Counts of acknowledged memories by what the read-back found: lost, stale, corrupted, resurrected and so on.

    :class:`~harness.judge.durability.ReadBack` says what each means.
    """

    def __init__(self, context: CaseContext) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Measured:
        if name.startswith("_") or name not in ReadBack.__dataclass_fields__ or name in ("examples", "findings"):
            raise AttributeError(f"acknowledged memories are not counted as '{name}'")
        return Measured(self._context, "case", f"acknowledged_memories.{name}", {})


class Outcome:
    """What ``drill.run`` answers: measured values of the windows before, during and after the fault."""

    def __init__(self, context: CaseContext) -> None:
        self._context = context
        self.baseline = WindowView(context, "baseline")
        self.during = WindowView(context, "during")
        self.after = WindowView(context, "after")
        self.whole = WindowView(context, "whole")
        self.acknowledged_memories = ReadBackView(context)

    @property
    def summary(self) -> CaseSummary:
        """The case behind the values."""
        return self._context.summary

    @property
    def step_time_s(self) -> Measured:
        """Seconds a step of a rollback took: ``step_time_s(step="rollback")``; :data:`harness.judge.rollback.STEPS`."""
        return Measured(self._context, "case", "step_time_s", {})

    @property
    def alert_time_s(self) -> Measured:
        """Seconds until the alert was pending, fired, was resolved: ``alert_time_s(step="firing")``."""
        return Measured(self._context, "case", "alert_time_s", {})

    @property
    def recovery_time_s(self) -> Measured:
        """Seconds from the heal until every signal, the fault's own effect included, was back for good."""
        return Measured(self._context, "case", "recovery_time_s", {})
