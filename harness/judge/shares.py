"""Bounds of a share whose hits come in bursts: of a moment, or of a user."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import special

from harness.judge.arms import Arm
from harness.judge.intervals import ALPHA, Bools, Floats, Ints, binomial_interval
from harness.model import NO_INTERVAL, Estimate, Interval, no_estimate

# How much larger than the largest burst seen the next may be: with k (effective) bursts 8 / k, from 1 to 5 times. Found
# by simulation with sizes that spread like waiting times do; docs/ab_calibration.md shows what it covers.
_UNSEEN, _UNSEEN_MOST = 8.0, 5.0
_MOMENTS = 60  # stretches a record of users' requests is cut into
_FAR_ABOVE = 4.0  # excess squared over hits, so two standard deviations


def clustered_share(hit: Bools, moment: Ints, what: str) -> Estimate:
    """A share of trials that share their luck by moments (numbered in order), bounded by :func:`share_bounds`."""
    trials = len(hit)
    if trials == 0:
        return no_estimate("ratio", f"no {what} in this window")
    return Estimate(int(hit.sum()) / trials, share_bounds(hit, moment, in_order=True), "ratio", trials)


def share_bounds(
    hit: Bools, cluster: Ints, alpha: float = ALPHA, *, in_order: bool = False, moment: Ints | None = None
) -> Interval:
    """Bounds on a share whose trials come in clusters, ``alpha`` at each side: binomial, in units of whole bursts.

    A hit is rarely alone: where a moment or a user goes wrong, several requests do. So trials and hits are counted in
    bursts (divided by :func:`bursts`' mean). With few bursts that alone covers 78-91 %, as a sample that happens to
    have few and small ones also shows little spread; so where the binomial bound allows for one more hit, the upper
    bound allows for one more burst (Fay and Feuer 1997), and the larger a one the fewer were seen. Coverage stands in
    ``docs/ab_calibration.md``. Without clustering these are Clopper and Pearson's bounds. A sample without any hit
    cannot tell how large bursts are: hits are taken to come singly then.

    ``moment``, beside clusters that are users: both ways of coming at once count, as their excesses add up.
    """
    trials, hits = len(hit), int(hit.sum())
    if trials == 0:
        return NO_INTERVAL
    if 2 * hits > trials:
        other = share_bounds(~hit, cluster, alpha, in_order=in_order, moment=moment)
        return Interval(1 - other.high, 1 - other.low)
    if hits == 0:
        return binomial_interval(0, trials, alpha)
    mean, largest = bursts(hit, cluster, in_order=in_order)
    if moment is not None:
        by_moment, largest_by_moment = bursts(hit, moment, in_order=True)
        mean, largest = mean + by_moment - 1, max(largest, largest_by_moment)
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
    independent. ``in_order``: neighbours above the rest are one burst where one of them is far above.
    """
    trials, hits = len(hit), int(hit.sum())
    common = hits / trials
    numbers, index = np.unique(cluster, return_inverse=True)
    sums = np.bincount(index, weights=hit.astype(np.float64))
    excess = sums - common * np.bincount(index)
    if in_order:
        above = excess > 0
        goes_on = np.zeros(len(sums), dtype=np.bool_)
        goes_on[1:] = above[1:] & above[:-1] & (np.diff(numbers) == 1)
        stretch = np.cumsum(~goes_on) - 1
        goes_on &= np.bincount(stretch, weights=np.square(excess) > _FAR_ABOVE * sums)[stretch] > 0
        group = np.cumsum(~goes_on) - 1
        sums, excess = np.bincount(group, weights=sums), np.bincount(group, weights=excess)
    mean = float(np.square(excess).sum()) / (hits * (1 - common))
    above = excess > 0
    largest = float((np.square(excess[above]) / sums[above]).max()) if bool(above.any()) else 1.0
    return max(1.0, mean), max(1.0, mean, largest)


@dataclass(frozen=True)
class ShareSide:
    """A share of requests (errors, timeouts), clustered by user and, where instants are known, by moment."""

    hit: Floats = field(repr=False)
    users: np.ndarray[tuple[int], np.dtype[np.int64]] = field(repr=False)
    value: float
    samples: int
    moments: np.ndarray[tuple[int], np.dtype[np.int64]] | None = field(default=None, repr=False)

    def bounds(self, tail: float) -> Interval:
        """Exact binomial bounds at the effective sample size (see :func:`share_bounds`)."""
        return share_bounds(self.hit > 0.5, self.users, tail, moment=self.moments)


def share_side(one: Arm) -> ShareSide:
    """The share of an arm's values that are 1."""
    return ShareSide(one.values, one.users, float(one.values.mean()), one.count, _moments(one.at))


def _moments(at: Floats | None) -> Ints | None:
    if at is None or not len(at) or not at[-1] > at[0]:
        return None
    found: Ints = np.minimum(((at - at[0]) / (at[-1] - at[0]) * _MOMENTS).astype(np.int64), _MOMENTS - 1)
    return found
