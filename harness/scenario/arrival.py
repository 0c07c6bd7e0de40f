"""Arrival patterns: how the due instants of a load lie in time (ENGRAM.md section 5)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from harness.scenario.document import Table

LEAST_RATE, MOST_RATE = 1e-3, 1e6  # arrivals a second, of every rate a pattern has


@dataclass(frozen=True)
class Constant:
    """Arrivals ``1 / rate`` seconds apart."""

    rate: float

    @property
    def rates(self) -> tuple[float, ...]:
        """Every rate it is made of, arrivals a second."""
        return (self.rate,)

    @property
    def mean_rate(self) -> float:
        """Arrivals a second on average."""
        return self.rate

    @property
    def peak_rate(self) -> float:
        """Arrivals a second at the busiest."""
        return self.rate

    def at_rate(self, ops_per_s: float) -> Constant:
        """The same pattern at another mean rate."""
        return Constant(ops_per_s)

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {"pattern": "constant", "rate": self.rate}


@dataclass(frozen=True)
class Poisson:
    """A Poisson process of ``lambda_per_s`` arrivals a second."""

    lambda_per_s: float

    @property
    def rates(self) -> tuple[float, ...]:
        """Every rate it is made of, arrivals a second."""
        return (self.lambda_per_s,)

    @property
    def mean_rate(self) -> float:
        """Arrivals a second on average."""
        return self.lambda_per_s

    @property
    def peak_rate(self) -> float:
        """Arrivals a second at the busiest."""
        # What a second of a Poisson process hardly ever exceeds; slots are dimensioned with it.
        return self.lambda_per_s + 4 * math.sqrt(self.lambda_per_s)

    def at_rate(self, ops_per_s: float) -> Poisson:
        """The same pattern at another mean rate."""
        return dataclasses.replace(self, lambda_per_s=ops_per_s)

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {"pattern": "poisson", "lambda": self.lambda_per_s}


@dataclass(frozen=True)
class Exponential(Poisson):
    """Exponential gaps: the same process under the public schema's other name."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {"pattern": "exponential", "lambda": self.lambda_per_s}


@dataclass(frozen=True)
class PeriodicBurst:
    """``burst_rate`` for the first ``burst_duration_s`` of every ``burst_period_s``, else ``base_rate``."""

    base_rate: float
    burst_rate: float
    burst_duration_s: float
    burst_period_s: float

    @property
    def rates(self) -> tuple[float, ...]:
        """Every rate it is made of, arrivals a second."""
        return (self.base_rate, self.burst_rate)

    @property
    def mean_rate(self) -> float:
        """Arrivals a second on average."""
        share = self.burst_duration_s / self.burst_period_s
        return self.burst_rate * share + self.base_rate * (1 - share)

    @property
    def peak_rate(self) -> float:
        """Arrivals a second at the busiest."""
        return max(self.base_rate, self.burst_rate)

    def at_rate(self, ops_per_s: float) -> PeriodicBurst:
        """The same pattern at another mean rate."""
        factor = ops_per_s / self.mean_rate
        return dataclasses.replace(self, base_rate=self.base_rate * factor, burst_rate=self.burst_rate * factor)

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {
            "pattern": "periodic_burst",
            "base_rate": self.base_rate,
            "burst_rate": self.burst_rate,
            "burst_duration_sec": self.burst_duration_s,
            "burst_period_sec": self.burst_period_s,
        }


Arrival = Constant | Poisson | PeriodicBurst


def arrival_from(table: Table) -> Arrival:
    """The ``[arrival]`` table. Raises :class:`~harness.errors.ConfigError` naming file, line and key."""
    pattern = table.text("pattern", choices=("constant", "poisson", "periodic_burst", "exponential"))
    arrival: Arrival
    if pattern == "constant":
        arrival = Constant(table.number("rate", low=LEAST_RATE, high=MOST_RATE))
    elif pattern == "periodic_burst":
        arrival = PeriodicBurst(
            table.number("base_rate", low=LEAST_RATE, high=MOST_RATE),
            table.number("burst_rate", low=LEAST_RATE, high=MOST_RATE),
            table.number("burst_duration_sec", low=0.001, high=1e6),
            table.number("burst_period_sec", low=0.001, high=1e6),
        )
        if arrival.burst_duration_s > arrival.burst_period_s:
            raise table.fail("burst_duration_sec", "a burst cannot last longer than its period")
    else:
        rate = table.number("lambda", low=LEAST_RATE, high=MOST_RATE)
        arrival = Poisson(rate) if pattern == "poisson" else Exponential(rate)
    table.finish()
    return arrival
