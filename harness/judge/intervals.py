"""Intervals. Every one holds a one-sided 95 % bound at each end (STATISTICS.md, first row)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.model import NO_INTERVAL, Estimate, Interval, no_estimate

ALPHA = 0.05
_Z = float(special.ndtri(1 - ALPHA))
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def binomial_interval(hits: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Clopper-Pearson bounds on a share, ``alpha`` at each side; unknown without trials.

    Zero errors need 2,994 trials for an upper bound of 0.1 % (STATISTICS.md).
    """
    if trials <= 0:
        return NO_INTERVAL
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, trials - hits + 1, alpha))
    high = 1.0 if hits == trials else float(special.betaincinv(hits + 1, trials - hits, 1 - alpha))
    return Interval(low, high)


def share(hits: int, trials: int, what: str, design_effect: float = 1.0) -> Estimate:
    """A share of ``trials``; their effective number is divided by ``design_effect`` where they are not independent."""
    if trials <= 0:
        return no_estimate("ratio", f"no {what} in this window")
    effective = max(1, round(trials / max(1.0, design_effect)))
    interval = binomial_interval(min(effective, round(hits * effective / trials)), effective)
    value = hits / trials
    return Estimate(value, Interval(min(interval.low, value), max(interval.high, value)), "ratio", trials)


def clusters_of(values: Floats, cluster: npt.NDArray[np.int64], level: float) -> tuple[Floats, Floats]:
    """Per cluster: how many values are at or below ``level``, and how many there are."""
    _, index = np.unique(cluster, return_inverse=True)
    below: Floats = np.bincount(index, weights=(values <= level).astype(np.float64)).astype(np.float64)
    return below, np.bincount(index).astype(np.float64)


def quantile(values: Floats, q: float, cluster: npt.NDArray[np.int64], unit: str) -> Estimate:
    """A quantile with clustered bounds.

    ``r_c = S_c - q N_c`` per cluster, ``v = K/(K-1) sum (r_c - mean r)^2 / n^2``, and the sample's quantiles at
    ``q -+ z sqrt(v)`` (STATISTICS.md, latency). A bound beyond the sample is unknown: infinite above, 0 below.
    """
    n = len(values)
    if n == 0:
        return no_estimate(unit, "no such requests in this window")
    ordered = np.sort(values)
    value = float(ordered[min(n - 1, math.ceil(q * n) - 1)])
    below, counts = clusters_of(values, cluster, value)
    groups = len(counts)
    residual = below - q * counts
    clustered = groups / (groups - 1) * float(np.square(residual - residual.mean()).sum()) / n**2 if groups > 1 else 0
    spread = _Z * math.sqrt(max(clustered, q * (1 - q) / n))
    return Estimate(
        value,
        Interval(
            value_at_level(ordered, q - spread, upper=False),
            value_at_level(ordered, q + spread, upper=True),
        ),
        unit,
        n,
        _needed(q),
    )


def value_at_level(ordered: Floats, q: float, *, upper: bool) -> float:
    """The sample's quantile at level ``q``, rounded outwards; beyond the sample infinite above and 0 below."""
    n = len(ordered)
    if q >= 1.0:
        return math.inf if upper else float(ordered[-1])
    if q <= 0.0:
        return 0.0
    index = math.ceil(q * n) if upper else math.floor(q * n) - 1
    if index >= n:
        return math.inf
    return float(ordered[max(0, index)])


def _needed(q: float) -> int:
    """The independent sample from which the upper bound of a quantile is finite at all."""
    return math.ceil(_Z**2 * q / (1 - q))


def mean(values: Floats, unit: str, cluster: npt.NDArray[np.int64] | None = None) -> Estimate:
    """A mean with normal bounds, by cluster where one is given (ratio estimator)."""
    n = len(values)
    if n == 0:
        return no_estimate(unit, "nothing recorded in this window")
    centre = float(values.mean())
    if cluster is None:
        cluster = np.arange(n, dtype=np.int64)
    _, index = np.unique(cluster, return_inverse=True)
    sums, counts = np.bincount(index, weights=values), np.bincount(index).astype(np.float64)
    groups = len(counts)
    if groups < 2:
        return Estimate(centre, NO_INTERVAL, unit, n, None, "one cluster only: no interval")
    error = math.sqrt(groups / (groups - 1) * float(np.square(sums - centre * counts).sum())) / n
    return Estimate(centre, Interval(centre - _Z * error, centre + _Z * error), unit, n)


def exactly(count: int, samples: int, unit: str, what: str) -> Estimate:
    """A count of things seen: no sampling error, but nothing looked at is no data."""
    if samples <= 0:
        return no_estimate(unit, f"no {what} to look at")
    return Estimate(float(count), Interval(float(count), float(count)), unit, samples)
