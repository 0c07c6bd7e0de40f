"""Whether an abort condition is met, from readings as they come. Pure: time comes with the reading."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from harness.scenario.abort import AbortCondition

_SHOWN = {"error_rate": "{:.2%} of requests failed", "recall_p99_ms": "recall P99 {:.1f} ms"}
_SHOWN |= {"process_dead": "the target's process is gone", "memory_share": "the target holds {:.0%} of the memory"}


class AbortJudge:
    """Remembers since when each condition is met without a break."""

    def __init__(self, conditions: Iterable[AbortCondition]) -> None:
        self._conditions = tuple(conditions)
        self._since: dict[str, float] = {}

    def look(self, t: float, readings: Mapping[str, float]) -> tuple[AbortCondition, str] | None:
        """The first condition that has been met for long enough at ``t``, with what was seen, or None.

        A signal that was not read (missing, or NaN) neither meets a condition nor ends one that is met.
        """
        for condition in self._conditions:
            value = readings.get(condition.signal, math.nan)
            if math.isnan(value):
                continue
            if value <= condition.above:
                self._since.pop(condition.name, None)
                continue
            since = self._since.setdefault(condition.name, t)
            if t - since >= condition.for_s:
                return condition, self._said(condition, value, t - since)
        return None

    @staticmethod
    def _said(condition: AbortCondition, value: float, held_s: float) -> str:
        seen = _SHOWN.get(condition.signal, f"{condition.signal} {{:g}}").format(value)
        held = f", above {condition.above:g} for {held_s:.1f} s" if condition.for_s else ""
        return f"abort condition '{condition.name}' met: {seen}{held} ({condition.source})"
