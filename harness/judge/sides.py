"""One figure of one arm (a quantile, a mean, a share) with bounds at any tail, and two of them put together.

Bounds of a ratio or a difference come from the bounds of both sides (MOVER, Zou and Donner 2008), so each side may be
as skewed as it is: ``low = d - sqrt((b - b_low)^2 + (a_high - a)^2)`` for ``d = b - a``, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy import special

from harness.judge.arms import Arm, Spread, effective_size, spread_of_mean
from harness.judge.intervals import Floats, value_at_level
from harness.judge.shares import share_side
from harness.model import Estimate, Interval

ALPHA = 0.05
ONE_SIGMA = float(special.ndtr(-1.0))
_FEWEST_BEYOND = 5  # requests a step of the ramp needs beyond the quantile, in each arm, to take part


class Side(Protocol):
    """A figure of one arm."""

    @property
    def value(self) -> float:
        """The figure itself."""

    @property
    def samples(self) -> int:
        """How many requests it was read from."""

    def bounds(self, tail: float) -> Interval:
        """One-sided bounds with ``tail`` beyond each; infinite (or 0) where the sample cannot give one."""


@dataclass(frozen=True)
class QuantileSide:
    """A quantile: the sample's own quantiles at the levels that its effective sample allows (STATISTICS.md, row 1)."""

    ordered: Floats = field(repr=False)
    q: float
    spread: Spread
    value: float
    samples: int

    def bounds(self, tail: float) -> Interval:
        """From exact binomial levels; an upper bound beyond the sample is infinite, a lower one is 0."""
        size = effective_size(self.q, self.spread, self.samples, tail)
        if size <= 0:
            return Interval(0.0, math.inf)
        beyond = (1 - self.q) * size
        most = float(special.betaincinv(beyond + 1, size - beyond, 1 - tail))
        least = float(special.betaincinv(beyond, size - beyond + 1, tail))
        low = value_at_level(self.ordered, 1 - most, upper=False)
        high = value_at_level(self.ordered, 1 - least, upper=True)
        return Interval(min(low, self.value), max(high, self.value))


@dataclass(frozen=True)
class MeanSide:
    """A mean, by Student's t over users."""

    spread: Spread
    value: float
    samples: int

    def bounds(self, tail: float) -> Interval:
        """Symmetric; unbounded where the spread is unknown."""
        if not self.spread.known:
            return Interval(-math.inf, math.inf)
        half = self.spread.critical(tail) * math.sqrt(self.spread.variance)
        return Interval(self.value - half, self.value + half)


def quantile_side(one: Arm, q: float) -> QuantileSide:
    """The ``q`` quantile of an arm."""
    ordered = np.sort(one.values)
    n = len(ordered)
    value = float(ordered[min(n - 1, math.ceil(q * n) - 1)])
    below = (one.values <= value).astype(np.float64)
    return QuantileSide(ordered, q, spread_of_mean(below, one.users, one.at), value, n)


def mean_side(one: Arm) -> MeanSide:
    """The mean of an arm."""
    return MeanSide(spread_of_mean(one.values, one.users, one.at), float(one.values.mean()), one.count)


@dataclass(frozen=True)
class Step:
    """Both arms in one step of the ramp, and how much it weighs."""

    control: Side
    canary: Side
    weight: float


@dataclass(frozen=True)
class Contrast:
    """Canary against control over all steps: per step first, then averaged, since users change sides between steps."""

    steps: tuple[Step, ...]

    def estimates(self, control: Arm, canary: Arm, make: str, q: float, unit: str) -> tuple[Estimate, Estimate]:
        """Both arms' own figures over all steps together."""
        only = self.steps[0] if len(self.steps) == 1 and control.stage is None else None
        return (
            pooled_estimate(control, make, q, unit, only.control if only else None),
            pooled_estimate(canary, make, q, unit, only.canary if only else None),
        )

    @property
    def log_ratio(self) -> float:
        """ln(canary / control)."""
        return sum(step.weight * (_log(step.canary.value) - _log(step.control.value)) for step in self.steps)

    @property
    def difference(self) -> float:
        """canary - control."""
        return sum(step.weight * (step.canary.value - step.control.value) for step in self.steps)

    def log_ratio_bounds(self, tail: float) -> Interval:
        """Bounds of :attr:`log_ratio` with ``tail`` beyond each."""
        return self._bounds(tail, logs=True)

    def difference_bounds(self, tail: float) -> Interval:
        """Bounds of :attr:`difference` with ``tail`` beyond each."""
        return self._bounds(tail, logs=False)

    def _bounds(self, tail: float, *, logs: bool) -> Interval:
        down = up = centre = 0.0
        for step in self.steps:
            a, b = step.control.value, step.canary.value
            left, right = step.control.bounds(tail), step.canary.bounds(tail)
            ends = [left.low, left.high, a, right.low, right.high, b]
            a_low, a_high, a, b_low, b_high, b = map(_log, ends) if logs else ends
            centre += step.weight * (b - a)
            down += step.weight**2 * ((b - b_low) ** 2 + (a_high - a) ** 2)
            up += step.weight**2 * ((b_high - b) ** 2 + (a - a_low) ** 2)
        if math.isnan(centre) or math.isnan(down) or math.isnan(up):
            return Interval(-math.inf, math.inf)
        return Interval(centre - math.sqrt(down), centre + math.sqrt(up))

    def standard_error(self, *, logs: bool = True) -> float:
        """Half the distance of the one-sigma bounds: what the information of a look is read from."""
        ends = self._bounds(ONE_SIGMA, logs=logs)
        return ends.width / 2


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def contrast(control: Arm, canary: Arm, make: str, q: float = 0.99) -> Contrast | None:
    """Both arms step by step; None where no step has enough of both.

    ``make``: ``quantile`` (of ``q``), ``mean`` or ``share``. A step weighs as its smaller arm lets it.
    """
    found: list[tuple[Side, Side, float]] = []
    for left, right in _steps(control, canary):
        rarest = min(left.count, right.count) * (1 - q if make == "quantile" else 1.0)
        if rarest < (_FEWEST_BEYOND if control.stage is not None else 1e-9):
            continue
        if min(left.user_count, right.user_count) < 2:
            continue
        weight = left.count * right.count / (left.count + right.count)
        found.append((_side(left, make, q), _side(right, make, q), weight))
    total = sum(weight for _, _, weight in found)
    if total <= 0:
        return None
    return Contrast(tuple(Step(a, b, weight / total) for a, b, weight in found))


def _side(one: Arm, make: str, q: float) -> Side:
    if make == "quantile":
        return quantile_side(one, q)
    return mean_side(one) if make == "mean" else share_side(one)


def _steps(control: Arm, canary: Arm) -> Sequence[tuple[Arm, Arm]]:
    if control.stage is None or canary.stage is None:
        return [(control, canary)]
    stages = np.intersect1d(control.stage, canary.stage)
    return [(control.where(control.stage == s), canary.where(canary.stage == s)) for s in stages]


def pooled_estimate(one: Arm, make: str, q: float, unit: str, known: Side | None = None) -> Estimate:
    """One arm's own figure over everything it has, with one-sided 95 % bounds; ``known`` is it, where there is one."""
    side = known or _side(one, make, q)
    return Estimate(side.value, side.bounds(ALPHA), unit, one.count)
