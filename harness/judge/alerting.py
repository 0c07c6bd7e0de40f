"""Judging an alert: when it became pending, fired and was resolved, as Prometheus was asked again and again."""

from __future__ import annotations

import math
from typing import Any

from harness.judge.view import CaseView
from harness.model import Estimate, Interval, Window, json_number, no_estimate

STREAM = "alerts"
STEPS = ("pending", "firing", "resolved")
_ACTIVE = ("pending", "firing")

Reading = tuple[float, float, str]
"""Asked, answered, state: inactive, pending or firing."""


def alert_name(view: CaseView) -> str:
    """The alert the case is about, empty where it is about none."""
    return str(view.record.manifest.get("alert", {}).get("name", ""))


def readings(view: CaseView) -> list[Reading]:
    """The states of that alert; what Prometheus did not answer is left out."""
    name = alert_name(view)
    return [
        (float(r["asked"]), float(r["t"]), str(r.get("states", {}).get(name, "inactive")))
        for r in view.record.stream(STREAM)
        if r.get("ok")
    ]


def alert_time(view: CaseView, step: str) -> Estimate:
    """Seconds from the fault to ``pending`` and ``firing``, or from its heal (or the rollback) to ``resolved``.

    The interval spans from the last reading that shows the state before to the first that shows it; open above where
    it never came. Resolved means inactive until the record ends.
    """
    if step not in STEPS:
        return no_estimate("s", f"'{step}' is no step of an alert ({', '.join(STEPS)})")
    found = readings(view)
    since = view.instant("inject_acked")
    if step == "resolved":
        since = view.heal.high if view.heal is not None else math.nan
    later = [reading for reading in found if reading[1] > since]
    if math.isnan(since) or not later:
        return no_estimate("s", f"no reading of {alert_name(view) or 'an alert'} after that")
    if step == "resolved" and not any(state == "firing" for _, _, state in found):
        return no_estimate("s", "it never fired, so nothing was resolved")
    index = _reached(later, step)
    before = later[index - 1][0] if index else since
    low = max(0.0, before - since)
    if index == len(later):
        note = f"{alert_name(view)} was not {step} when the record ends"
        return Estimate(low, Interval(low, math.inf), "s", len(later), None, note)
    high = later[index][1] - since
    return Estimate(high, Interval(low, high), "s", len(later))


def _reached(later: list[Reading], step: str) -> int:
    """Index of the reading from which the step is reached; their number where it is not."""
    states = [state for _, _, state in later]
    if step == "resolved":
        active = [i for i, state in enumerate(states) if state in _ACTIVE]
        return active[-1] + 1 if active else 0
    wanted = _ACTIVE if step == "pending" else ("firing",)
    return next((i for i, state in enumerate(states) if state in wanted), len(states))


def active_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of readings in which the alert was pending or firing."""
    states = [state for asked, t, state in readings(view) if asked >= window.start and t <= window.end]
    if not states:
        return no_estimate("ratio", "Prometheus gave no reading of alerts in this window")
    value = sum(state in _ACTIVE for state in states) / len(states)
    return Estimate(value, Interval(value, value), "ratio", len(states))


def as_json(view: CaseView) -> dict[str, Any]:
    """For ``verdict.json``: the alert and the time of every step, null where it was not reached."""
    times = {step: alert_time(view, step) for step in STEPS}
    reached = {step: t.value if math.isfinite(t.interval.high) else math.nan for step, t in times.items()}
    return {
        **view.record.manifest.get("alert", {}),
        "time_s": {step: json_number(value) for step, value in reached.items()},
    }
