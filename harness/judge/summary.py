"""What is derived once from a case: recovery per signal, the read-back, the quality of the load."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from harness.judge.durability import ReadBack, judge_read_back
from harness.judge.effects import Evidence, effect_signal, evidence, user_signals
from harness.judge.recovery import Recovery, recovery_of
from harness.judge.view import CaseView, lag_ms
from harness.model import Estimate, Flag, Interval, Window, no_estimate
from harness.timeline.record import CaseRecord


class CaseSummary:
    """Lazily computed parts of a case's judgement."""

    def __init__(self, record: CaseRecord) -> None:
        self.record = record
        self.view = CaseView(record)

    @cached_property
    def evidence(self) -> list[Evidence]:
        """Evidence that the fault took effect."""
        return evidence(self.view)

    @cached_property
    def read_back(self) -> ReadBack:
        """Every acknowledged memory, classified."""
        return judge_read_back(self.view)

    @cached_property
    def recoveries(self) -> list[Recovery]:
        """Recovery of the fault's own effect signal and of every steady-state signal; empty for a control case."""
        view = self.view
        baseline, during = view.windows.get("baseline"), view.windows.get("during")
        if view.heal is None or baseline is None or during is None or view.fault.get("kind") == "no_fault":
            return []
        own = effect_signal(view)
        signals = ([own] if own is not None else []) + user_signals(view)
        return [
            recovery_of(
                signal,
                baseline=(baseline.start, baseline.end),
                fault=(during.start, during.end),
                heal=view.heal,
                end=view.end,
            )
            for signal in signals
        ]

    def recovery_estimate(self, signal: str | None = None) -> Estimate:
        """Recovery time in s of one signal, or the worst of all: interval and number of events after the heal."""
        found = [r for r in self.recoveries if signal in (None, r.name)]
        if not found:
            return no_estimate("s", "nothing was healed, or no such signal")
        unknown = [r.name for r in found if r.state == "unknown"]
        if unknown:
            return no_estimate("s", f"too few events of {', '.join(unknown)} to date a recovery")
        low = max(r.seconds.low for r in found)
        high = max(r.seconds.high for r in found)
        middle = (low + high) / 2 if math.isfinite(high) else low
        late = [r.name for r in found if r.state == "censored"]
        note = f"{', '.join(late)} had not come back when the record ends" if late else ""
        return Estimate(middle, Interval(low, high), "s", min(r.events for r in found), None, note)

    def timing_doubt(self, window_name: str) -> str:
        """Why durations measured in a window are not to be trusted; empty where they are."""
        window = self.view.windows.get(window_name)
        return self.load_doubt(window) if window else ""

    def load_doubt(self, window: Window) -> str:
        """Why the offered load of a window was not the one asked for; empty where it was held.

        The generator's own lateness and arrivals that were never sent count; lateness for want of a free slot is the
        target's doing and does not.
        """
        view = self.view
        inside = view.within(window)
        if len(inside) == 0:
            return "no request was sent in this window"
        sequence = inside["sequence"]
        due = int(sequence.max()) - int(sequence.min()) + 1
        held = len(np.unique(sequence)) / due
        least = view.setting("min_achieved_share", 0.99)
        if held < least:
            return f"only {held:.1%} of {due} due requests were sent (at least {least:.0%} must be)"
        lag = lag_ms(inside)
        limit = view.setting("max_schedule_lag_p99_ms", math.inf)
        worst = float(np.quantile(lag, 0.99)) if len(lag) else 0.0
        if worst > limit:
            return f"the generator was late (schedule lag p99 {worst:.1f} ms, limit {limit:g} ms): a noisy neighbour"
        return self._machine_doubt(window)

    def _machine_doubt(self, window: Window) -> str:
        """Whether the machine itself stood still: the probes' own oversleeping, which no target can cause."""
        late = [
            float(r["late_ms"])
            for r in self.record.stream("host")
            if window.start <= float(r["t"]) <= window.end and "late_ms" in r
        ]
        limit = self.view.setting("max_host_lag_p99_ms", math.inf)
        if len(late) < 20:
            return ""
        worst = float(np.quantile(np.array(late), 0.99))
        return f"the machine was starved (probe lag p99 {worst:.1f} ms, limit {limit:g} ms)" if worst > limit else ""

    def rates(self, window: Window) -> dict[str, float]:
        """Offered and completed operations per second of a window, and how many lacked a slot."""
        inside = self.view.within(window)
        starved = int(np.count_nonzero(inside["flags"] & int(Flag.NO_FREE_SLOT)))
        span = max(window.duration_s, 1e-9)
        done = int(np.count_nonzero(inside["done"] < window.end))
        return {"offered_per_s": len(inside) / span, "completed_per_s": done / span, "without_slot": float(starved)}
