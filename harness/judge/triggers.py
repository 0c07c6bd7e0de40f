"""Whether a rollback trigger is met, from readings as they come. Pure: time comes with the readings.

A breach is believed where its *whole* interval is beyond the bound, and only for the time between the first and the
last instant that was seen to be bad: it may have lasted longer, it has not lasted shorter. So a breach that is shorter
than a trigger's window never meets it, whatever the width of the readings. What was not seen is neither healthy nor a
breach; a breach of which too much was not seen goes on being counted until enough of it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import RecordError
from harness.judge.intervals import binomial_interval
from harness.scenario.watch import Trigger

CLEAR, UNDECIDED, BREACH, UNSEEN = "clear", "undecided", "breach", "unseen"


@dataclass(frozen=True)
class Reading:
    """What one witness saw between ``start`` and ``end`` (monotonic seconds).

    ``shares``: hits and trials by key; ``spans``: the instants of the first and the last hit, where they are known;
    ``levels``: gauges at ``end``. What is missing was not seen.
    """

    witness: str
    start: float
    end: float
    shares: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Breach:
    """A breach under way, as one witness sees it. ``since``: from when it is proven; ``last``: until when."""

    since: float
    last: float
    begun: float
    seen_s: float
    hits: int
    trials: int
    level: float


@dataclass(frozen=True)
class Met:
    """A trigger that is met: who saw it, from when, how long it is proven to have lasted (s), and in words."""

    trigger: Trigger
    witness: str
    since: float
    at: float
    lasted_s: float
    evidence: str


class TriggerJudge:
    """Remembers the breaches under way, per trigger and witness."""

    def __init__(self, triggers: Iterable[Trigger], *, min_coverage: float = 0.8) -> None:
        self._triggers = tuple(triggers)
        self._min_coverage = min_coverage
        self._breaches: dict[tuple[str, str], Breach] = {}

    def look(self, reading: Reading) -> list[Met]:
        """Take in a reading; answers the triggers that it shows to be met, each as often as it is."""
        found = []
        for trigger in self._triggers:
            state, hits, trials, level = judge_reading(trigger, reading)
            if state == UNSEEN:
                continue
            key = (trigger.name, reading.witness)
            if state == CLEAR:
                self._breaches.pop(key, None)
                continue
            breach = self._breaches.get(key)
            if state == BREACH:
                breach = self._extended(breach, trigger, reading, hits, trials, level)
                self._breaches[key] = breach
            elif breach is not None:
                breach.seen_s += reading.end - reading.start
            if breach is not None and state == BREACH and (met := self._met(trigger, reading, breach)):
                found.append(met)
        return found

    def breach_of(self, name: str) -> Breach | None:
        """The longest breach of that trigger under way, whoever sees it."""
        own = [breach for (trigger, _), breach in self._breaches.items() if trigger == name]
        return min(own, key=lambda breach: breach.since) if own else None

    def forget(self) -> None:
        """Start over: what was done since may have ended every breach."""
        self._breaches.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """The breaches under way, for a watch that is started again."""
        return [{"trigger": t, "witness": w, **vars(breach)} for (t, w), breach in sorted(self._breaches.items())]

    def resume(self, values: Iterable[Mapping[str, Any]]) -> None:
        """The inverse of :meth:`as_json`; breaches of triggers that are gone are dropped. Raises RecordError."""
        known = {trigger.name for trigger in self._triggers}
        try:
            for value in values:
                rest = {k: v for k, v in value.items() if k not in ("trigger", "witness")}
                if value["trigger"] in known:
                    self._breaches[str(value["trigger"]), str(value["witness"])] = Breach(**rest)
        except (KeyError, TypeError) as error:
            raise RecordError(f"not a breach: {error!r}") from error

    @staticmethod
    def _extended(
        breach: Breach | None, trigger: Trigger, reading: Reading, hits: int, trials: int, level: float
    ) -> Breach:
        share = trigger.share
        # A witness that does not know its instants proves no more than: at its end it had begun, at its start it held.
        unknown = (reading.end, reading.start)
        first, last = reading.spans.get(share[0], unknown) if share is not None else (reading.end, reading.end)
        width = reading.end - reading.start
        if breach is None:
            return Breach(first, max(first, last), reading.start, width, hits, trials, level)
        breach.last = max(breach.last, last)
        breach.seen_s += width
        breach.hits, breach.trials, breach.level = breach.hits + hits, breach.trials + trials, level
        return breach

    def _met(self, trigger: Trigger, reading: Reading, breach: Breach) -> Met | None:
        lasted_s = breach.last - breach.since
        seen = breach.seen_s / max(reading.end - breach.begun, 1e-9)
        if lasted_s < trigger.for_s or (trigger.for_s > 0 and seen < self._min_coverage):
            return None
        held = f" for {lasted_s:,.1f} s" if trigger.for_s else ""
        evidence = f"{said(trigger, breach)}, seen by {reading.witness}{held}"
        return Met(trigger, reading.witness, breach.since, reading.end, lasted_s, evidence)


def judge_reading(trigger: Trigger, reading: Reading) -> tuple[str, int, int, float]:
    """How a reading stands to a trigger: state, hits, trials, level."""
    share = trigger.share
    if share is None:
        level = reading.levels.get(trigger.signal, math.nan)
        if math.isnan(level):
            return UNSEEN, 0, 0, level
        return (BREACH if level > trigger.above else CLEAR), 0, 0, level
    key, bound = share
    hits, trials = reading.shares.get(key, (0, 0))
    if trials <= 0:
        return UNSEEN, 0, 0, math.nan
    interval = binomial_interval(hits, trials)
    if interval.low > bound:
        return BREACH, hits, trials, hits / trials
    return (UNDECIDED if hits / trials > bound else CLEAR), hits, trials, hits / trials


def said(trigger: Trigger, breach: Breach) -> str:
    """A breach in words, with what it was counted from."""
    if trigger.signal == "recall_p99_ms":
        share = breach.hits / max(1, breach.trials)
        return f"P99 above {trigger.above:g} ms: {share:.1%} of {breach.trials:,} recalls took longer"
    if trigger.signal == "crashes":
        return "the process was started again, or nobody answers"
    if trigger.share is None:
        return f"{trigger.signal.replace('_', ' ')} {breach.level:.3g} (bound {trigger.above:g})"
    share = breach.hits / max(1, breach.trials)
    what = trigger.signal.replace("_", " ")
    return f"{what} {share:.2%} of {breach.trials:,} (bound {trigger.above:.2%})"
