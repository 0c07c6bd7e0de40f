"""Looking every minute: bounds that hold at all looks together, so that a look costs nothing and stopping is allowed.

Quantiles and means: at each look the interval of :mod:`harness.judge.compare` is read at the critical value of an
asymptotic confidence sequence (Robbins' normal mixture, as in STATISTICS.md, row 2)::

    c = sqrt(2 (V + 1) / V * ln(sqrt(V + 1) / alpha)),   V = information * rho^2

STATISTICS.md writes ``V = N rho^2`` for N users who come once. Here users return, and more requests of the same users
are more information without more users; so information is what it is by definition, one over the squared standard error
(clustered by user and by time), and ``rho`` is the size of the log change that is looked for. Student's t for few users
comes on top. Errors: :mod:`harness.judge.error_evidence`. Several metrics: :func:`holm`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from scipy import special

from harness.judge.arms import Arm, unfit
from harness.judge.compare import FEWEST_USERS, governed_by
from harness.judge.comparison import FLOOR, Comparison, decide, undecided
from harness.judge.sides import Contrast, contrast
from harness.model import Estimate, Interval, Verdict

ALPHA = 0.05
METHOD = "anytime-valid"


def critical_value(information: float, rho: float, alpha: float = ALPHA) -> float:
    """How many standard errors bound the truth at all looks together; infinite without information.

    ``alpha`` is for both sides, as in STATISTICS.md. ``information``: 1 / squared standard error.
    """
    seen = information * rho * rho
    if not seen > 0 or not math.isfinite(seen):
        return math.inf
    return math.sqrt(2 * (seen + 1) / seen * math.log(math.sqrt(seen + 1) / alpha))


@dataclass
class SequentialQuantile:
    """A quantile of the canary against the control, looked at as often as one likes.

    :meth:`look` takes everything recorded so far (not only what is new) and answers as
    :func:`harness.judge.compare.compare_quantile` does, with bounds that hold over all looks. A FAIL is kept: later
    looks answer FAIL, too. ``effect`` is the relative change the sequence is tuned to see soonest; validity does not
    depend on it.
    """

    q: float = 0.99
    margin: float = 0.05
    floor_ms: float = 0.0
    alpha: float = ALPHA
    effect: float = 0.10
    unit: str = "ms"
    looks: int = field(default=0, init=False)
    _last: float = field(default=-math.inf, init=False)
    _failed: Comparison | None = field(default=None, init=False)
    _make = "quantile"

    @property
    def metric(self) -> str:
        """The name in tables."""
        return f"P{100 * self.q:g}"

    def look(self, control: Arm, canary: Arm) -> Comparison:
        """Look at all requests so far."""
        self.looks += 1
        if self._failed is not None:
            return self._failed
        why = unfit(control, canary) or self._too_little(control, canary) or self._time(canary)
        both = None if why else contrast(control, canary, self._make, self.q)
        if both is None:
            return self._told(undecided(self.metric, why or "too few requests so far", limit=self.margin))
        found = self._read(both, control, canary)
        if found.verdict is Verdict.FAIL:
            self._failed = found
        return found

    def _too_little(self, control: Arm, canary: Arm) -> str:
        users = min(control.user_count, canary.user_count)
        return f"{users} users are too few to know how much users differ" if users < FEWEST_USERS else ""

    def _time(self, canary: Arm) -> str:
        if canary.at is None:
            return ""
        now = float(canary.at[-1])
        if now < self._last:
            return f"the record ends {self._last - now:.0f} s before the last look: it ran backwards"
        self._last = now
        return ""

    def _read(self, both: Contrast, control: Arm, canary: Arm) -> Comparison:
        sides = both.estimates(control, canary, self._make, self.q, self.unit)
        decided_by = governed_by(sides[0].value, self.margin, self.floor_ms)
        logs = decided_by != FLOOR
        error = both.standard_error(logs=logs)
        # The floor's difference is looked for at the scale of the floor, a ratio at the scale of the effect.
        rho = math.log1p(self.effect) if logs else max(self.floor_ms, 1e-9)
        information = 1 / error**2 if 0 < error < math.inf else 0.0
        tail = float(special.ndtr(-critical_value(information, rho, self.alpha)))
        if tail <= 0:
            ends = Interval(-math.inf, math.inf)
        else:
            ends = both.log_ratio_bounds(tail) if logs else both.difference_bounds(tail)
        value, limit, unit = (both.difference, self.floor_ms, self.unit)
        if logs:
            value, limit, unit = _expm1(both.log_ratio), self.margin, "ratio"
            ends = Interval(_expm1(ends.low), _expm1(ends.high))
        verdict = decide(ends, "<", limit)
        change = Estimate(value, ends, unit, canary.count)
        found = Comparison(
            self.metric, sides[0], sides[1], change, ends, limit, "<", verdict, decided_by, method=METHOD
        )
        return self._told(found)

    def _told(self, found: Comparison) -> Comparison:
        note = found.note if found.verdict is Verdict.INCONCLUSIVE else ""
        said = f"look {self.looks}; bounds hold at all looks together"
        return dataclasses.replace(found, note=f"{note}; {said}" if note else said, method=METHOD)


@dataclass
class SequentialMean(SequentialQuantile):
    """The same for a mean, by per-user means (delta method)."""

    _make = "mean"

    @property
    def metric(self) -> str:
        """The name in tables."""
        return "mean"


def _expm1(value: float) -> float:
    return math.inf if value > 700 else math.expm1(value)


def holm(p_values: Mapping[str, float], alpha: float = ALPHA) -> dict[str, bool]:
    """Which of several metrics are worse, at ``alpha`` for all of them together (Holm's step-down).

    With anytime-valid p-values it holds at every look. A p-value that is no number rejects nothing and counts.
    """
    known = {name: p if 0 <= p <= 1 else 1.0 for name, p in p_values.items()}
    rejected = dict.fromkeys(known, False)
    for place, name in enumerate(sorted(known, key=lambda name: known[name])):
        if known[name] > alpha / (len(known) - place):
            break
        rejected[name] = True
    return rejected
