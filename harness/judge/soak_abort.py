"""What ends a soak at once: looked at with every interval, from the same series the criteria are judged from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.judge.soak_series import SoakSeries, Window
from harness.scenario.soak import AbortTrigger

_POINTS = 120  # of a slope: more would cost time and tell no more
_FEWEST = 12
_LEVEL = 0.95


@dataclass(frozen=True)
class Met:
    """A trigger that is met, when (scaled seconds since the start), and what was seen."""

    trigger: AbortTrigger
    at_s: float
    detail: str


class AbortWatch:
    """Remembers when each trigger was first met."""

    def __init__(self, triggers: Iterable[AbortTrigger]) -> None:
        self._triggers = tuple(triggers)
        self.met: dict[str, Met] = {}

    def look(self, series: SoakSeries, *, window_closed: bool) -> Met | None:
        """The first trigger newly met, or None. Windows need looking at only where one closed."""
        for trigger in self._triggers:
            if trigger.name in self.met or (trigger.signal != "crash" and not window_closed):
                continue
            detail = _LOOKS[trigger.signal](series, trigger)
            if detail:
                met = Met(trigger, series.end_s, detail)
                self.met[trigger.name] = met
                return met
        return None


def _crash(series: SoakSeries, trigger: AbortTrigger) -> str:
    if series.deaths:
        return series.deaths[-1][1]
    found = next((r for r in series.restarts if not r.ours), None)
    return "" if found is None else f"the target {found.detail}"


def _sustained(series: SoakSeries, trigger: AbortTrigger) -> list[Window]:
    """The last windows that fill ``for_h``, where they do so without a fault or a gap between them."""
    need = max(1, math.ceil(trigger.for_h * 3600.0 / series.windows.width_s - 1e-9))
    tail = series.windows.closed[-need:]
    if len(tail) < need or any(window.spoiled for window in tail):
        return []
    apart = [b.start_s - a.start_s for a, b in itertools.pairwise(tail)]
    return tail if all(step < 1.5 * series.windows.width_s for step in apart) else []


def _error_rate(series: SoakSeries, trigger: AbortTrigger) -> str:
    tail = _sustained(series, trigger)
    rates = [w.bad / (w.good + w.bad) for w in tail if w.good + w.bad]
    if not tail or len(rates) < len(tail) or min(rates) <= trigger.above:
        return ""
    return f"error rate {min(rates):.2%} to {max(rates):.2%} in every window of the last {trigger.for_h:g} h"


def _p99(series: SoakSeries, trigger: AbortTrigger) -> str:
    tail = _sustained(series, trigger)
    if not tail or not all(w.p99_ms > trigger.above for w in tail):
        return ""
    low, high = min(w.p99_ms for w in tail), max(w.p99_ms for w in tail)
    return f"P99 {low:.1f} to {high:.1f} ms in every window of the last {trigger.for_h:g} h"


def _rss(series: SoakSeries, trigger: AbortTrigger) -> str:
    """The whole 95 % interval of the slope over the last ``for_h`` lies above the bound."""
    since = series.end_s - trigger.for_h * 3600.0
    if since < series.warm_up_s:
        return ""
    end, rss, process = series.column("to_s"), series.column("rss_mb"), series.column("process")
    keep = (end >= since) & np.isfinite(rss) & (process == process[-1])
    if keep.sum() < _FEWEST or end[keep][0] > since + 0.1 * trigger.for_h * 3600.0:
        return ""
    hours, values = end[keep] / 3600.0, rss[keep]
    step = max(1, len(hours) // _POINTS)
    from scipy import stats

    slope, _, low, _ = stats.theilslopes(values[::step], hours[::step], _LEVEL)
    if not low > trigger.above:
        return ""
    return f"RSS grew by {slope:,.0f} MB/h over the last {trigger.for_h:g} h (at least {low:,.0f} MB/h)"


_LOOKS = {"crash": _crash, "error_rate": _error_rate, "p99_ms": _p99, "rss_growth_mb_per_h": _rss}
