"""What is derived once from a case: recovery per signal, the read-back, the quality of the load."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise

import numpy as np

from harness.judge import rollback
from harness.judge.durability import ReadBack, judge_read_back
from harness.judge.effects import OVER_SLO, SLOWED, effect_signal, evidence, slowed_others, user_signals
from harness.judge.evidence import Evidence
from harness.judge.recovery import Recovery, recovery_of
from harness.judge.shares import clustered_share
from harness.judge.view import CaseView, lag_ms
from harness.model import Estimate, Flag, Interval, Outcome, Window, no_estimate
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
        concerned = rollback.concerned(view) if view.rolled_back else view
        own = effect_signal(concerned)
        signals = ([own] if own is not None else []) + user_signals(concerned)
        end = view.end
        if view.rolled_back:
            signals += rollback.signals(concerned)
            # The fault is healed after that; what comes back only then was not brought back by the rollback.
            end = after.end if (after := view.windows.get("after")) is not None else end
        return [
            recovery_of(
                signal,
                baseline=(baseline.start, baseline.end),
                fault=(during.start, during.end),
                heal=view.heal,
                end=end,
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
        """Why a window's durations may be the machine's doing; empty where they are the target's.

        It can only turn a FAIL into INCONCLUSIVE: a bound that is met on a starved machine is met. ``case`` stands
        for what is measured after the heal.
        """
        window = self.view.windows.get("after" if window_name == "case" else window_name)
        return (self.load_doubt(window) or self._machine_doubt(window)) if window else ""

    def late_by_latency_alone(self, signal: str | None, bound_s: float) -> bool:
        """Whether a recovery (of one signal, or of all) misses its bound by durations only, none provably the target's.

        A signal that is no duration, such as who is still canary, is not the machine's doing.
        """
        late = [r for r in self.recoveries if signal in (None, r.name) and r.seconds.low > bound_s]
        names = {r.name for r in late}
        if not names or not names <= {OVER_SLO, SLOWED}:
            return False
        return not any(r.name == SLOWED and self._slowed_by_target(r) for r in late)

    def only_timeouts(self, window_name: str) -> bool:
        """Whether whatever failed in a window did so by the clock."""
        outcomes = np.unique(self.view.within(self.view.windows.get(window_name))["outcome"]).tolist()
        return set(outcomes) <= {int(Outcome.OK), int(Outcome.TIMEOUT)}

    def _slowed_by_target(self, recovery: Recovery) -> bool:
        """Whether the target kept recalls slow for so long: a busy machine slows some of them, and anybody's.

        So it is where in most quarters of a second even the fastest recall was slow, or where those whom the fault was
        for were slowed more often than those who were never canary at the same time.
        """
        view, heal = self.view, self.view.heal
        if heal is None:
            return False
        start, end = heal.high, heal.high + recovery.seconds.low
        own = effect_signal(rollback.concerned(view) if view.rolled_back else view)
        if own is None:
            return False
        own, others = own.within(start, end), slowed_others(view).within(start, end)
        moments = own.moments
        fastest_slow = [bool(own.affected[moments == one].all()) for one in np.unique(moments)]
        if sum(fastest_slow) * 2 > len(fastest_slow):
            return True
        ours = clustered_share(own.affected, moments, "recalls").interval
        theirs = clustered_share(others.affected, others.moments, "recalls").interval
        return ours.low > theirs.high

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
        return ""

    def _machine_doubt(self, window: Window) -> str:
        """Whether the machine, not the target, made things slow: a late wake-up, or the target not let to run.

        The time the kernel's scheduler kept the target's main thread waiting, in ms per twentieth of a second; a slow
        target sleeps, waits or computes, which adds nothing to it.
        """
        readings = [r for r in self.record.stream("host") if window.start <= float(r["t"]) <= window.end]
        if len(readings) < 20:
            return ""
        late = float(np.quantile([float(r.get("late_ms", 0.0)) for r in readings], 0.99))
        limit = self.view.setting("max_host_lag_p99_ms", math.inf)
        if late > limit:
            return f"the machine was busy (wake-up lag p99 {late:.1f} ms, limit {limit:g} ms): a noisy neighbour"
        waits = [
            (float(b["starved_s"]) - float(a["starved_s"])) * 1e3
            for a, b in pairwise(readings)
            if "starved_s" in a and "starved_s" in b and a.get("pid") == b.get("pid")
        ]
        limit = self.view.setting("max_starved_p99_ms", math.inf)
        worst = float(np.quantile(waits, 0.99)) if len(waits) >= 20 else 0.0
        if worst > limit:
            return f"the target was not let to run (p99 {worst:.1f} ms of 50, limit {limit:g} ms): a noisy neighbour"
        return ""

    def rates(self, window: Window) -> dict[str, float]:
        """Offered and completed operations per second of a window, and how many lacked a slot."""
        inside = self.view.within(window)
        starved = int(np.count_nonzero(inside["flags"] & int(Flag.NO_FREE_SLOT)))
        span = max(window.duration_s, 1e-9)
        done = int(np.count_nonzero(inside["done"] < window.end))
        return {"offered_per_s": len(inside) / span, "completed_per_s": done / span, "without_slot": float(starved)}
