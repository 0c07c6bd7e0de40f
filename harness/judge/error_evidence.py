"""Does the canary fail more often than the control? An e-process on its share of the errors, valid at every look.

STATISTICS.md, row 4. Quantiles and means that are looked at every minute: :mod:`harness.judge.sequential`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from harness.judge.arms import Arm
from harness.judge.comparison import Comparison, undecided
from harness.judge.intervals import Floats
from harness.judge.sequential import ALPHA, METHOD
from harness.model import Estimate, Interval, Verdict

_HARM = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0])
_AROUND = 0.5  # standard deviation of the bets' weights on the log scale: a ratio of 1.65 either way of ``effect``


@dataclass
class ErrorEProcess:
    """Whether the canary fails more often than the control, by its share of the errors; valid at every look.

    Under no harm every new error is the canary's with the probability of its share of the traffic. ``evidence`` is the
    wealth of somebody who bets against that at fair odds, spread over rate ratios of 1.25 to 15 (a mixture of
    likelihood ratios); it exceeds ``1 / alpha`` at any time with probability ``alpha`` at most (Ville). The runbook's
    "error rate > 1 % for 10 min" never fires at 0.5 %.

    ``effect`` is the ratio that most is bet on, the one to be seen soonest: 0.1 % against 0.3 %. Validity does not
    depend on it. Who knew the ratio beforehand would see it 1 min sooner of 9 (100 requests/s, 5 % canary), so there is
    not much left to win; bets spread evenly took 10.

    FAIL once the evidence of harm reaches ``1 / alpha``. PASS where the evidence that the ratio is below ``tolerable``
    does; no evidence of harm alone is INCONCLUSIVE. Errors of one user are one event: feed :func:`first_errors` where
    users are known; counts of requests (from Prometheus) are valid as far as errors do not come in users' bursts.
    """

    alpha: float = ALPHA
    tolerable: float = 3.0
    effect: float = 3.0
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

    def _log_mean(self, logs: Floats) -> float:
        weights = np.exp(-np.square(np.log(_HARM / self.effect) / _AROUND) / 2)
        return float(special.logsumexp(logs, b=weights / weights.sum()))

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
