"""Two arms of a comparison, and how uncertain a share of an arm's requests is.

The unit of analysis is the user, not the request: requests of one user are alike, and 200 skewed users analysed per
request make 79 % of all comparisons without a change "significant" (STATISTICS.md). Where the instants of the requests
are known, moments that were bad for everybody count too: minutes correlated at 0.9 mislead a test that takes them for
independent in 67 % of cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.judge.intervals import Floats

Ints = npt.NDArray[np.int64]

_COSINES = 6  # low frequencies that the long-run variance is read from; its degrees of freedom
_MOMENTS = 60  # stretches a record is cut into; fewer where there are fewer requests
_FEWEST_FREEDOM = 2.0  # below this, users (weighted by their requests) tell nothing about their own spread
_GAP_SHARE = 0.10  # a silence of more than this share of the record is a gap, however it came about
_GAP_LIKELY = 4.0  # ... unless chance makes silences of a quarter of that length


@dataclass(frozen=True)
class Arm:
    """The requests of one cohort, one entry a request.

    ``users``: index of the user (the unit that was assigned to the cohort). ``values``: what was measured, e.g. latency
    in ms; 1.0 for an error and 0.0 for none. ``at``: instants in seconds, never decreasing, where both arms were
    measured at the same time; None where they were not (then nothing about time is looked at). ``stage``: the step of
    the ramp each request fell into; arms are compared step by step, since between steps users change sides.
    """

    name: str
    users: Ints
    values: Floats
    at: Floats | None = None
    stage: Ints | None = None

    @property
    def count(self) -> int:
        """How many requests."""
        return len(self.values)

    @property
    def user_count(self) -> int:
        """How many users made them."""
        return int(numbered(self.users)[1])

    def where(self, keep: npt.NDArray[np.bool_]) -> Arm:
        """The requests where ``keep`` is true."""
        return Arm(
            self.name,
            self.users[keep],
            self.values[keep],
            None if self.at is None else self.at[keep],
            None if self.stage is None else self.stage[keep],
        )


def arm(
    name: str,
    users: npt.ArrayLike,
    values: npt.ArrayLike,
    at: npt.ArrayLike | None = None,
    stage: npt.ArrayLike | None = None,
) -> Arm:
    """An arm from anything that numpy takes for arrays."""
    return Arm(
        name,
        np.asarray(users, dtype=np.int64),
        np.asarray(values, dtype=np.float64),
        None if at is None else np.asarray(at, dtype=np.float64),
        None if stage is None else np.asarray(stage, dtype=np.int64),
    )


def numbered(users: Ints) -> tuple[Ints, int]:
    """Users renumbered from 0 without gaps, and how many there are."""
    if len(users) and users.min() >= 0 and users.max() < 8 * len(users) + 1000:  # indices, as usual: no sort needed
        seen = np.bincount(users) > 0
        return (np.cumsum(seen) - 1)[users], int(seen.sum())
    known, index = np.unique(users, return_inverse=True)
    return index, len(known)


def unfit(*arms: Arm, constant_is_unfit: bool = True) -> str:
    """Why these arms cannot be compared, or an empty string. Whatever it names must never become a PASS."""
    for one in arms:
        if why := _unfit(one, constant_is_unfit):
            return f"{one.name}: {why}"
    timed = [one.at for one in arms if one.at is not None]
    if timed and len(timed) != len(arms):
        return "one arm says when its requests were made and the other does not"
    if len(timed) == 2:
        return _apart(timed[0], timed[1])
    return ""


def _unfit(one: Arm, constant_is_unfit: bool) -> str:
    lengths = {len(part) for part in (one.users, one.values, one.at, one.stage) if part is not None}
    if len(lengths) > 1:
        return "its columns differ in length"
    if one.count == 0:
        return "no requests"
    if bad := int(np.count_nonzero(~np.isfinite(one.values))):
        return f"{bad:,} of {one.count:,} values are no finite numbers"
    if bool((one.values < 0).any()):
        return "negative values: its clock ran backwards"
    if one.user_count < 2:
        return "all requests are of one user: nothing tells how much users differ"
    if constant_is_unfit and one.count > 1 and bool((one.values == one.values[0]).all()):
        return f"all {one.count:,} values are {one.values[0]:g}: an instrument that stands still"
    return "" if one.at is None else _unfit_times(one.at)


def _unfit_times(at: Floats) -> str:
    if not bool(np.isfinite(at).all()):
        return "instants that are no finite numbers"
    steps = np.diff(at)
    if len(steps) and bool((steps < 0).any()):
        return "its record runs backwards in time"
    span = float(at[-1] - at[0])
    if len(steps) and span <= 0:
        return "all its requests bear the same instant"
    # The longest of n random gaps is about span * ln(n) / n; a silence far beyond that is missing evidence.
    likely = span * (math.log(len(at)) + 3) / len(at)
    longest = float(steps.max()) if len(steps) else 0.0
    if longest > _GAP_SHARE * span and longest > _GAP_LIKELY * likely:
        return f"nothing for {longest:.0f} s of {span:.0f} s: evidence is missing"
    return ""


def _apart(one: Floats, other: Floats) -> str:
    """Arms that claim to be concurrent must cover the same time."""
    whole = max(one[-1], other[-1]) - min(one[0], other[0])
    both = min(one[-1], other[-1]) - max(one[0], other[0])
    slack = max((float(at[-1] - at[0]) / len(at)) * 10 for at in (one, other))
    if whole > 0 and both < (1 - _GAP_SHARE) * whole - slack:
        return f"the arms share {max(0.0, float(both)):.0f} s of {float(whole):.0f} s only"
    return ""


@dataclass(frozen=True)
class Spread:
    """The variance of a share (or mean), and the degrees of freedom it is known with."""

    variance: float
    freedom: float

    @property
    def known(self) -> bool:
        """Whether there is enough of it to speak of an interval."""
        return math.isfinite(self.variance) and self.freedom >= _FEWEST_FREEDOM

    def critical(self, tail: float) -> float:
        """How many standard errors leave ``tail`` beyond them, by Student's t."""
        return float(special.stdtrit(self.freedom, 1 - tail)) if self.known else math.inf


def spread_of_mean(values: Floats, users: Ints, at: Floats | None = None) -> Spread:
    """The variance of ``values.mean()``: by user, plus what moments common to all users add.

    By user: ``sum (r_u / (1 - h_u))^2 / n^2`` with ``r_u = S_u - mean N_u`` and ``h_u = N_u / n``, which is
    leave-one-out and so rather too large where few users make most requests; its freedom is that of the effective
    number of users ``n^2 / sum N_u^2``. By time: the long-run variance from the lowest frequencies (equal-weighted
    cosines; Lazarus et al. 2018), which sees correlation of any shape that is shorter than the record.
    """
    n = len(values)
    residual = values - values.mean()
    index, groups = numbered(users)
    counts = np.bincount(index).astype(np.float64)
    if groups < 2:
        return Spread(math.inf, 0.0)
    sums = np.bincount(index, weights=residual)
    by_user = float(np.square(sums / (1 - counts / n)).sum()) / n**2
    independent = float(np.square(residual).sum()) / n**2
    freedom = float(n**2 / np.square(counts).sum()) - 1
    total = max(by_user, independent)
    common = max(0.0, _long_run(residual, at) - independent) if at is not None else 0.0
    if common <= 0:
        return Spread(total, freedom)
    both = total + common
    return Spread(both, both**2 / (total**2 / max(freedom, 1e-9) + common**2 / _COSINES))


def _long_run(residual: Floats, at: Floats) -> float:
    """The variance of the mean of a correlated series, from its slow movements alone."""
    n = len(residual)
    moments = min(_MOMENTS, n // 4)
    if moments < 2 * _COSINES:
        return 0.0
    span = float(at[-1] - at[0])
    place = np.minimum(((at - at[0]) / span * moments).astype(np.int64), moments - 1)
    series = np.bincount(place, weights=residual, minlength=moments)
    angles = math.pi * np.outer(np.arange(1, _COSINES + 1), np.arange(moments) + 0.5) / moments
    parts = np.cos(angles) @ series
    return float(2.0 * np.square(parts).mean()) / n**2


def effective_size(share: float, spread: Spread, n: int, tail: float) -> float:
    """How many independent requests would know a share as well (Korn and Graubard 1998), at most ``n``.

    Student's t instead of the normal distribution makes it smaller where the spread itself is badly known.
    """
    if not spread.known or spread.variance <= 0:
        return 0.0
    normal = -float(special.ndtri(tail))
    size = share * (1 - share) / spread.variance * (normal / spread.critical(tail)) ** 2
    return min(float(n), size)
