"""How a soak's quantities become verdicts: one result a criterion, the worst of them the soak's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from harness.judge.soak_abort import AbortWatch
from harness.judge.soak_durability import ReadBackTally
from harness.judge.soak_series import SoakSeries
from harness.model import Estimate, Verdict, json_number
from harness.scenario.soak import Criterion, SoakScenario

LABELS = {
    "completed": "Ran to its end",
    "no_crash": "No crash or panic",
    "p99_drift": "P99 stable, hour over hour",
    "error_rate": "Error rate",
    "memory_growth": "Memory growth",
    "rss_settled": "RSS settled",
    "leak": "Leak",
    "consolidation_freshness": "Consolidation freshness",
    "consolidation_success": "Consolidation success",
    "cpu": "CPU, on average",
    "breaker_trips": "Breaker trips",
    "open_files": "Open files, growth",
    "acknowledged_memories": "Acknowledged memories lost",
    "offered_rate": "Offered rate held",
    "observed": "Time observed",
}


@dataclass(frozen=True)
class SoakFacts:
    """What the criteria must know besides the series. Times in scaled seconds.

    ``ended``: how the last segment ended (``soak_ended``, ``aborted``, ``stopped``, ``running``, ``killed``) and why.
    """

    scenario: SoakScenario
    capabilities: frozenset[str]
    cpus: int
    ended: str
    reason: str = ""
    torn_lines: int = 0


@dataclass(frozen=True)
class CriterionResult:
    """One criterion, judged. ``decided_at_s``: scaled seconds into the soak, NaN while open."""

    name: str
    verdict: Verdict
    estimate: Estimate
    bound: float
    unit: str
    source: str
    reason: str
    window: str
    decided_at_s: float = math.nan
    below: bool = True

    @property
    def label(self) -> str:
        """The criterion's name for people."""
        return LABELS.get(self.name, self.name)

    def as_json(self) -> dict[str, Any]:
        """As it stands in ``verdict.json``."""
        estimate = self.estimate
        return {
            "name": self.name,
            "label": self.label,
            "verdict": self.verdict.value,
            "value": json_number(estimate.value),
            "interval": estimate.interval.as_json(),
            "samples": estimate.samples,
            "bound": json_number(self.bound),
            "below": self.below,
            "unit": self.unit,
            "source": self.source,
            "reason": self.reason,
            "window": self.window,
            "decided_at_s": json_number(self.decided_at_s),
        }


def _scaled(unit: str) -> str:
    """A unit of time, or per time, says that it is scaled."""
    if unit in ("h", "s"):
        return f"scaled {unit}"
    return unit.replace("/h", "/scaled h")


def _scaled_text(text: str) -> str:
    return text.replace("MB/h", "MB/scaled h").replace(" an hour", " a scaled hour")


@dataclass(frozen=True)
class Question:
    """What a criterion is judged from."""

    series: SoakSeries
    tally: ReadBackTally
    facts: SoakFacts
    criterion: Criterion

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.facts.ended != "running"

    @property
    def hours(self) -> str:
        """The whole recording as a window, in words."""
        return f"0 to {clock_text(self.series.end_s)}"

    def answer(
        self,
        verdict: Verdict,
        estimate: Estimate,
        reason: str,
        *,
        decided_at_s: float | None = None,
        window: str = "",
        below: bool = True,
    ) -> CriterionResult:
        """A result; decided now where it is decided and no earlier moment is given."""
        if self.series.time_scale != 1:
            estimate = replace(estimate, unit=_scaled(estimate.unit))
            reason = _scaled_text(reason)
        at = decided_at_s
        if at is None:
            at = math.nan if verdict is Verdict.INCONCLUSIVE else self.series.end_s
        return CriterionResult(
            self.criterion.name,
            verdict,
            estimate,
            self.criterion.bound,
            estimate.unit,
            self.criterion.source,
            reason,
            window or self.hours,
            at,
            below,
        )

    def against(self, estimate: Estimate, what: str, *, below: bool = True, window: str = "") -> CriterionResult:
        """PASS or FAIL where the whole interval lies on one side of the bound, else INCONCLUSIVE."""
        if not estimate.known:
            return self.answer(Verdict.INCONCLUSIVE, estimate, estimate.note or f"no {what} recorded", window=window)
        low, high, bound = estimate.interval.low, estimate.interval.high, self.criterion.bound
        good = high < bound if below else low > bound
        bad = low > bound if below else high < bound
        verdict = Verdict.PASS if good else Verdict.FAIL if bad else Verdict.INCONCLUSIVE
        reason = estimate.note or ("" if verdict is not Verdict.INCONCLUSIVE else "the interval holds the bound")
        return self.answer(verdict, estimate, reason, window=window, below=below)


@dataclass(frozen=True)
class SoakJudgement:
    """All results, the triggers that were met, and the soak's verdict with its reasons."""

    results: tuple[CriterionResult, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    standing: str
    aborts: AbortWatch = field(repr=False)

    def result(self, name: str) -> CriterionResult | None:
        """The result of one criterion, or None."""
        return next((r for r in self.results if r.name == name), None)


def clock_text(seconds: float) -> str:
    """A moment of the soak: ``7 h 30 min``, ``12 min``, ``40 s``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
