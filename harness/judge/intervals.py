"""Intervals. Every one holds a one-sided 95 % bound at each end (STATISTICS.md, first row)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.model import NO_INTERVAL, Estimate, Interval, no_estimate

ALPHA = 0.05
_Z = float(special.ndtri(1 - ALPHA))
# How much larger than the largest burst seen the next may be: with k (effective) bursts 8 / k, from 1 to 5 times. Found
# by simulation with sizes that spread like waiting times do; docs/ab_calibration.md shows what it covers.
_UNSEEN, _UNSEEN_MOST = 8.0, 5.0
_FAR_ABOVE = 4.0  # excess squared over hits, so two standard deviations
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


def clustered_share(hit: Bools, moment: Ints, what: str) -> Estimate:
    """A share of trials that share their luck by moments (numbered in order), bounded by :func:`share_bounds`."""
    trials = len(hit)
    if trials == 0:
        return no_estimate("ratio", f"no {what} in this window")
    return Estimate(int(hit.sum()) / trials, share_bounds(hit, moment, in_order=True), "ratio", trials)


def share_bounds(hit: Bools, cluster: Ints, alpha: float = ALPHA, *, in_order: bool = False) -> Interval:
    """Bounds on a share whose trials come in clusters, ``alpha`` at each side: binomial, in units of whole bursts.

    A hit is rarely alone: where a moment or a user goes wrong, several requests do. So trials and hits are counted in
    bursts (divided by :func:`bursts`' mean). With few bursts that alone covers 78-91 %, as a sample that happens to
    have few and small ones also shows little spread; so where the binomial bound allows for one more hit, the upper
    bound allows for one more burst (Fay and Feuer 1997), and the larger a one the fewer were seen. Coverage stands in
    ``docs/ab_calibration.md``. Without clustering these are Clopper and Pearson's bounds. A sample without any hit
    cannot tell how large bursts are: hits are taken to come singly then.
    """
    trials, hits = len(hit), int(hit.sum())
    if trials == 0:
        return NO_INTERVAL
    if 2 * hits > trials:
        other = share_bounds(~hit, cluster, alpha, in_order=in_order)
        return Interval(1 - other.high, 1 - other.low)
    if hits == 0:
        return binomial_interval(0, trials, alpha)
    mean, largest = bursts(hit, cluster, in_order=in_order)
    low = float(special.betaincinv(hits / mean, (trials - hits) / mean + 1, alpha))
    unseen = min(_UNSEEN_MOST, max(1.0, _UNSEEN * mean / hits))
    one_more = 1 + unseen * (largest - 1)
    size = (hits * mean + one_more**2) / (hits + one_more)
    high = float(special.betaincinv((hits + one_more) / size, max(trials - hits, 1) / size, 1 - alpha))
    return Interval(min(low, hits / trials), max(high, hits / trials))


def bursts(hit: Bools, cluster: Ints, *, in_order: bool = False) -> tuple[float, float]:
    """(mean, largest) burst of hits, each at least 1: how many hits come at once.

    The mean is the design effect: the clustered over the independent variance. The largest is the largest excess of a
    cluster, squared, over its hits: a cluster's hits themselves where few are expected, about 1 where hits are many and
    independent. ``in_order``: neighbouring clusters that are both far above the rest are one burst.
    """
    trials, hits = len(hit), int(hit.sum())
    common = hits / trials
    numbers, index = np.unique(cluster, return_inverse=True)
    sums = np.bincount(index, weights=hit.astype(np.float64))
    excess = sums - common * np.bincount(index)
    if in_order:
        bad = (excess > 0) & (np.square(excess) > _FAR_ABOVE * sums)
        goes_on = np.zeros(len(sums), dtype=np.bool_)
        goes_on[1:] = bad[1:] & bad[:-1] & (np.diff(numbers) == 1)
        group = np.cumsum(~goes_on) - 1
        sums, excess = np.bincount(group, weights=sums), np.bincount(group, weights=excess)
    mean = float(np.square(excess).sum()) / (hits * (1 - common))
    above = excess > 0
    largest = float((np.square(excess[above]) / sums[above]).max()) if bool(above.any()) else 1.0
    return max(1.0, mean), max(1.0, mean, largest)


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
