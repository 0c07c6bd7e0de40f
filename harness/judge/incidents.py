"""What people wrote down: incidents, pages, user reports and crashes, counted for a criterion."""

from __future__ import annotations

import math
from typing import Any

from harness.judge.gate import Reading, absent, broken
from harness.judge.phase_reading import meets
from harness.model import Estimate, Interval
from harness.scenario.incidents import Incident, IncidentList
from harness.scenario.rollout import Criterion

_WEEK_S = 604_800.0


def _of(incidents: IncidentList, phase: str, kind: str, arguments: dict[str, Any]) -> list[Incident]:
    """The entries of a phase that a criterion is about; what is about the canary is about dual memory, too."""
    about = arguments.get("about")
    wanted = {"dual_memory", "canary"} if about == "dual_memory" else {about}
    return [
        e
        for e in incidents.entries
        if e.phase == phase
        and e.kind == kind
        and (about is None or e.about in wanted)
        and ("severity" not in arguments or e.severity == arguments["severity"])
        and ("cohort" not in arguments or e.cohort == arguments["cohort"])
    ]


def read_incidents(criterion: Criterion, incidents: IncidentList | None, phase: str, covered_s: float) -> Reading:
    """Count what a criterion is about. ``covered_s``: how long the phase lasted; the file must cover as much."""
    unit = criterion.quantity.unit
    if incidents is None:
        return absent("incidents", "no incidents file was given", unit)
    if phase not in incidents.covers_s:
        return absent("incidents", f"the incidents file does not cover phase {phase}", unit)
    if incidents.covers_s[phase] < covered_s * 0.99:
        return broken("incidents", f"the file covers {incidents.covers_s[phase]:.0f} s of {covered_s:.0f} s", unit)
    value = _value(criterion, incidents, phase)
    if math.isnan(value):
        return absent("incidents", f"phase {criterion.against} is not covered", unit)
    estimate = Estimate(value, Interval(value, value), unit, len(incidents.entries) or 1)
    return Reading("incidents", estimate, meets(estimate.interval, criterion.op, criterion.bound))


def _value(criterion: Criterion, incidents: IncidentList, phase: str) -> float:
    arguments, measure = criterion.arguments, criterion.quantity.measure
    if measure == "crash_ratio":
        canary, control = (len(_of(incidents, phase, "crash", {"cohort": cohort})) for cohort in ("canary", "control"))
        return canary / control if control else (math.inf if canary else 0.0)
    if measure == "pages_per_week":
        now = _per_week(incidents, phase, arguments)
        return now if not criterion.against else now - _per_week(incidents, criterion.against, arguments)
    kind = {"incidents": "incident", "user_reports": "user_report", "pages": "page"}[measure]
    found = _of(incidents, phase, kind, arguments)
    if "first_s" in arguments:
        found = [e for e in found if e.at_s <= float(arguments["first_s"])]
    if "within_s" in arguments:
        return float(_most_within([e.at_s for e in found], float(arguments["within_s"])))
    return float(len(found))


def _per_week(incidents: IncidentList, phase: str, arguments: dict[str, Any]) -> float:
    covered = incidents.covers_s.get(phase, 0.0)
    return len(_of(incidents, phase, "page", arguments)) / (covered / _WEEK_S) if covered > 0 else math.nan


def _most_within(instants: list[float], window_s: float) -> int:
    """The most that fell into any window of that length."""
    ordered = sorted(instants)
    return max((sum(t <= at < t + window_s for at in ordered) for t in ordered), default=0)
