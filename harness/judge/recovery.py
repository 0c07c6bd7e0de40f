"""Recovery time: from the moment the heal took hold to the change point after which a signal stays back.

Both ends are intervals. The heal took hold somewhere between *sent* and *acknowledged*. The change point is found by
a Bayesian two-rate model: events are affected with the rate seen during the fault until the change point, and with
the rate seen before the fault after it. With a uniform prior over time the posterior of the change point is exact, so
its credible interval covers as often as it says (``docs/calibration.md`` has the measured coverage). Every event
carries the interval [sent, done] within which the service served it: the low end reads the posterior over the sent
instants, the high end over the done instants.

A signal whose tail is still worse than its tolerance has not recovered: the interval is right-censored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.judge.intervals import Floats, binomial_interval
from harness.judge.shares import clustered_share
from harness.model import Interval

CREDIBLE = 0.99
_BLOCK_S = 0.25  # tail verdicts are clustered by time: one stall is one piece of bad luck, not fifty
_MIN_EVENTS = 5
# The events after the change point must exclude that a quarter of the effect is left: a restore of half is none, and a
# lucky second at the end of the record must not pass for recovery. Simulated: residues of 20-50 % of the effect were
# called recovered in 22 % of cases at 1, in 7 % at 0.25; healthy recoveries were all told at 0.25.
PARTIAL = 0.25


@dataclass(frozen=True)
class SignalEvents:
    """A signal as yes/no events in time order.

    ``begun`` and ``ended``: seconds, arrays of n, between which each event was served; ``affected``: n booleans;
    ``tolerance``: the share of affected events that counts as recovered. ``own``: the fault's own effect, which is
    dated wherever it rose at all; another signal only where it provably left its tolerance.
    """

    name: str
    begun: Floats
    ended: Floats
    affected: npt.NDArray[np.bool_]
    tolerance: float
    own: bool = False

    def within(self, start: float, end: float) -> SignalEvents:
        """The events begun at or after ``start`` and ended before ``end``."""
        keep = (self.begun >= start) & (self.ended < end)
        return replace(self, begun=self.begun[keep], ended=self.ended[keep], affected=self.affected[keep])

    @property
    def count(self) -> int:
        return len(self.affected)

    @property
    def hits(self) -> int:
        return int(self.affected.sum())

    @property
    def moments(self) -> npt.NDArray[np.int64]:
        """The quarter of a second each event began in, to cluster by."""
        return np.floor(self.begun / _BLOCK_S).astype(np.int64)


@dataclass(frozen=True)
class Recovery:
    """When a signal came back.

    ``seconds``: after the heal took hold. ``state``: ``recovered``, ``never_left`` (the fault did not move this
    signal out of tolerance), ``censored`` (still out when the record ends; ``seconds.high`` is infinite) or
    ``unknown`` (too few events to say).
    """

    name: str
    state: str
    seconds: Interval
    events: int


def recovery_of(
    signal: SignalEvents,
    *,
    baseline: tuple[float, float],
    fault: tuple[float, float],
    heal: Interval,
    end: float,
) -> Recovery:
    """Judge when ``signal`` came back.

    ``baseline`` and ``fault`` are (start, end) of the windows its two rates are read from, ``heal`` is when the heal
    took hold, ``end`` the last instant recorded; all on one clock, in seconds.
    """
    before = signal.within(*baseline)
    during = signal.within(*fault)
    after = signal.within(heal.low, end)
    events = after.count
    if before.count < _MIN_EVENTS or during.count < _MIN_EVENTS or events < _MIN_EVENTS:
        return Recovery(signal.name, "unknown", Interval(math.nan, math.nan), events)
    if not _left_tolerance(before, during):
        return Recovery(signal.name, "never_left", Interval(0.0, 0.0), events)
    affected_rate = _rate(during.hits, during.count)
    quiet_rate = min(_rate(before.hits, before.count), 0.5 * affected_rate)
    start = heal.low
    observed = float(after.ended.max()) - heal.high
    bad_rate = PARTIAL * affected_rate
    while True:
        rest = after.within(start, end)
        if rest.count < _MIN_EVENTS:
            return Recovery(signal.name, "censored", Interval(max(0.0, observed), math.inf), events)
        point = change_point(rest, start, affected_rate, quiet_rate)
        relapse = _relapse(rest.within(point.high, end), signal.tolerance)
        if relapse is None or relapse[0] <= start:
            break
        start, rate = relapse
        # After a relapse the two-rate model is refuted: what comes last must be told from the relapse, which may be
        # far milder than the fault (a restore of half of it), and not only from the fault.
        bad_rate = min(bad_rate, PARTIAL * rate)
    tail = after.within(point.high, end)
    if tail.count < _MIN_EVENTS or not _settled(tail, signal.tolerance, bad_rate):
        return Recovery(signal.name, "censored", Interval(max(0.0, point.low - heal.high), math.inf), events)
    seconds = Interval(max(0.0, point.low - heal.high), max(0.0, point.high - heal.low))
    return Recovery(signal.name, "recovered", seconds, events)


def _rate(hits: int, count: int) -> float:
    """A Jeffreys-smoothed rate, never 0 or 1, so that one odd event cannot rule a change point out."""
    return (hits + 0.5) / (count + 1.0)


def _left_tolerance(before: SignalEvents, during: SignalEvents) -> bool:
    if clustered_share(during.affected, during.moments, "events").interval.low > during.tolerance:
        return True
    return during.own and during.hits * before.count > before.hits * during.count


def _settled(tail: SignalEvents, tolerance: float, bad_rate: float) -> bool:
    """The tail is within tolerance, or at least clearly below ``bad_rate`` and not provably out of tolerance."""
    if clustered_share(tail.affected, tail.moments, "events").interval.low > tolerance:
        return False
    return binomial_interval(tail.hits, tail.count).high < max(bad_rate, tolerance)


def _relapse(tail: SignalEvents, tolerance: float) -> tuple[float, float] | None:
    """The start of the last stretch that is clearly out of tolerance, and the rate in it; None where there is none.

    Stretches are tested one by one at a level corrected for their number; one stall is one block, so a stretch needs
    at least three bad blocks among its eight.
    """
    if tail.count == 0:
        return None
    blocks = tail.moments
    first = int(blocks[0])
    spans = (blocks - first) // 8
    last: tuple[float, float] | None = None
    for span in np.unique(spans):
        inside = spans == span
        hits, count = int(tail.affected[inside].sum()), int(inside.sum())
        bad_blocks = len(np.unique(blocks[inside & tail.affected]))
        level = 0.001 / max(1, len(np.unique(spans)))
        if bad_blocks >= 3 and binomial_interval(hits, count, level).low > tolerance:
            last = float(tail.begun[inside & tail.affected][0]), hits / count
    return last


def change_point(signal: SignalEvents, start: float, affected_rate: float, quiet_rate: float) -> Interval:
    """The 99 % credible interval of the instant the rate changed, given the rates before and after it.

    ``low`` reads the posterior over the instants requests began, ``high`` over the instants they ended. With all its
    mass past the last event the change has not been seen: ``high`` is then the last event's end.
    """
    miss = (1.0 - CREDIBLE) / 2
    low = _posterior_quantile(signal.begun, signal.affected, start, affected_rate, quiet_rate, miss)
    high = _posterior_quantile(signal.ended, signal.affected, start, affected_rate, quiet_rate, 1.0 - miss)
    return Interval(min(low, high), max(low, high))


def _posterior_quantile(
    instants: Floats,
    affected: npt.NDArray[np.bool_],
    start: float,
    affected_rate: float,
    quiet_rate: float,
    q: float,
) -> float:
    order = np.argsort(instants, kind="stable")
    times, hit = instants[order], affected[order]
    step = np.where(hit, math.log(affected_rate / quiet_rate), math.log((1.0 - affected_rate) / (1.0 - quiet_rate)))
    likelihood = np.concatenate(([0.0], np.cumsum(step)))  # of the change lying after the first i events
    edges = np.concatenate(([start], np.maximum(times, start)))
    tail = max(float(np.median(np.diff(times))), 1e-4) if len(times) > 1 else 1e-3
    gaps = np.diff(np.concatenate((edges, [edges[-1] + tail])))
    weight = np.exp(likelihood - likelihood.max()) * np.maximum(gaps, 1e-9)
    cumulative = np.cumsum(weight) / weight.sum()
    index = int(np.searchsorted(cumulative, q))
    index = min(index, len(gaps) - 1)
    before = float(cumulative[index - 1]) if index else 0.0
    inside = (q - before) / max(float(cumulative[index]) - before, 1e-300)
    return float(edges[index] + min(1.0, max(0.0, inside)) * gaps[index])
