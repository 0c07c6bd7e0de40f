"""Looking every minute: bounds that hold at all looks together, so that a look costs nothing and stopping is allowed.

Quantiles and means: at each look the interval of :mod:`harness.judge.compare` is read at the critical value of an
asymptotic confidence sequence (Robbins' normal mixture, as in STATISTICS.md, row 2)::

    c = sqrt(2 (V + 1) / V * ln(sqrt(V + 1) / alpha)),   V = information * rho^2

STATISTICS.md writes ``V = N rho^2`` for N users who come once. Here users return, and more requests of the same users
are more information without more users; so information is what it is by definition, one over the squared standard error
(clustered by user and by time), and ``rho`` is the size of the log change that is looked for. Student's t for few users
comes on top. Errors: an e-process on the canary's share of them. Several metrics: :func:`holm`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from harness.judge.arms import Arm, unfit
from harness.judge.compare import FEWEST_USERS, governed_by
from harness.judge.comparison import FLOOR, Comparison, decide, undecided
from harness.judge.intervals import Floats
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


_HARM = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0])


@dataclass
class ErrorEProcess:
    """Whether the canary fails more often than the control, by its share of the errors; valid at every look.

    Under no harm every new error is the canary's with the probability of its share of the traffic. ``evidence`` is the
    wealth of somebody who bets against that at fair odds, spread over rate ratios of 1.25 to 15 (a mixture of
    likelihood ratios); it exceeds ``1 / alpha`` at any time with probability ``alpha`` at most (Ville). The runbook's
    "error rate > 1 % for 10 min" never fires at 0.5 %.

    FAIL once the evidence of harm reaches ``1 / alpha``. PASS where the evidence that the ratio is below ``tolerable``
    does; no evidence of harm alone is INCONCLUSIVE. Errors of one user are one event: feed :func:`first_errors` where
    users are known; counts of requests (from Prometheus) are valid as far as errors do not come in users' bursts.
    """

    alpha: float = ALPHA
    tolerable: float = 3.0
    metric: str = "error rate"
    canary: int = field(default=0, init=False)
    control: int = field(default=0, init=False)
    looks: int = field(default=0, init=False)
    _harm: Floats = field(default_factory=lambda: np.zeros(len(_HARM)), init=False)
    _safe: Floats = field(default_factory=lambda: np.zeros(len(_HARM)), init=False)
    _most: float = field(default=0.0, init=False)
    _most_safe: float = field(default=0.0, init=False)
    _broken: str = field(default="", init=False)

    def update(self, canary: int, control: int, share: float) -> Comparison:
        """Add the new errors of both arms since the last look; ``share`` is the canary's share of the traffic then.

        ``share`` must be known before the errors are (a plan's rate, or the requests counted meanwhile).
        """
        self.looks += 1
        if not 0 < share < 1 or not math.isfinite(share):
            self._broken = f"the canary's share of the traffic is {share!r}"
        elif canary < 0 or control < 0 or canary != int(canary) or control != int(control):
            self._broken = f"{canary!r} and {control!r} are no counts of new errors: a counter ran backwards"
        else:
            self._bet(int(canary), int(control), share)
        return self.answer()

    def _bet(self, canary: int, control: int, share: float) -> None:
        self.canary += canary
        self.control += control
        self._harm = self._harm + _gain(canary, control, share, _HARM, 1.0)
        safe = self.tolerable / _HARM
        self._safe = self._safe + _gain(canary, control, share, safe, self.tolerable)
        self._most = max(self._most, self._log_mean(self._harm))
        self._most_safe = max(self._most_safe, self._log_mean(self._safe))

    @staticmethod
    def _log_mean(logs: Floats) -> float:
        most = float(logs.max())
        return most + math.log(float(np.exp(logs - most).mean()))

    @property
    def evidence(self) -> float:
        """The highest wealth so far, as a natural logarithm: 3.0 is what alpha = 0.05 asks for."""
        return self._most

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value of "no harm"; feed it to :func:`holm`."""
        return 1.0 if self._broken else min(1.0, math.exp(-self._most))

    def answer(self) -> Comparison:
        """As it stands."""
        bar = -math.log(self.alpha)
        if self._broken:
            return undecided(self.metric, self._broken, method=METHOD)
        verdict = Verdict.FAIL if self._most >= bar else Verdict.INCONCLUSIVE
        if verdict is not Verdict.FAIL and self._most_safe >= bar:
            verdict = Verdict.PASS
        events = self.canary + self.control
        control, canary = (Estimate(n, Interval(n, n), "errors", events) for n in (self.control, self.canary))
        harm, safe = (math.exp(min(most, 700.0)) for most in (self._most, self._most_safe))
        change = Estimate(harm, Interval(0, math.inf), "e-value", events)
        note = (
            f"look {self.looks}: {events} errors; evidence (of {1 / self.alpha:g}) of harm {harm:.3g}, "
            f"of less than {self.tolerable:g} times the control's rate {safe:.3g}"
        )
        return Comparison(
            self.metric,
            control,
            canary,
            change,
            change.interval,
            1 / self.alpha,
            "<",
            verdict,
            note=note,
            method=METHOD,
        )


def _gain(canary: int, control: int, share: float, ratios: Floats, fair: float) -> Floats:
    """The logarithm of what each bet wins: the share of errors at ``ratios`` against that at the ``fair`` ratio."""
    here = _share_at(share, np.asarray(ratios))
    there = _share_at(share, np.asarray([fair]))
    gain: Floats = canary * np.log(here / there) + control * np.log((1 - here) / (1 - there))
    return gain


def _share_at(share: float, ratio: Floats) -> Floats:
    found: Floats = share * ratio / (1 - share + share * ratio)
    return found


@dataclass(frozen=True)
class Errors:
    """New errors between two looks: users who failed for the first time, and the share that fits them."""

    canary: int
    control: int
    share: float


def first_errors(control: Arm, canary: Arm, every_s: float) -> list[Errors]:
    """The users' first errors per stretch of ``every_s`` seconds, for :class:`ErrorEProcess`.

    A user's later errors tell nothing new about the cohorts: who was assigned where is one draw a user. ``share`` is
    the canary's part of the requests, in each stretch, of users who had not failed before it. Values are 1 for an
    error. Raises ValueError where the arms do not say when their requests were made.
    """
    if control.at is None or canary.at is None:
        raise ValueError("the arms do not say when their requests were made")
    if not len(control.at) or not len(canary.at):
        return []
    start, end = min(control.at[0], canary.at[0]), max(control.at[-1], canary.at[-1])
    count = max(1, math.ceil((float(end - start) + 1e-9) / every_s))
    parts = [_first_of(one, float(start), every_s, count) for one in (control, canary)]
    (old_errors, old_requests), (new_errors, new_requests) = parts
    found = []
    for index in range(count):
        total = old_requests[index] + new_requests[index]
        share = float(new_requests[index] / total) if total else math.nan
        if 0 < share < 1:
            found.append(Errors(int(new_errors[index]), int(old_errors[index]), share))
    return found


def _first_of(one: Arm, start: float, every_s: float, count: int) -> tuple[Floats, Floats]:
    """Per stretch: users who failed for the first time, and requests of users who had not failed before it."""
    assert one.at is not None
    place = np.minimum(((one.at - start) / every_s).astype(np.int64), count - 1)
    _, user = np.unique(one.users, return_inverse=True)
    first = np.full(int(user.max()) + 1, count, dtype=np.int64)
    failed = one.values > 0.5
    np.minimum.at(first, user[failed], place[failed])
    fresh = place <= first[user]
    errors = np.bincount(first[first < count], minlength=count).astype(np.float64)
    requests = np.bincount(place[fresh], minlength=count).astype(np.float64)
    return errors, requests


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
