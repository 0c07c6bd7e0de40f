"""Judging a rollback: how long its steps took, what it was to change, and how far it changed it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.judge.evidence import signal
from harness.judge.intervals import binomial_interval
from harness.judge.recovery import SignalEvents
from harness.judge.view import CaseView, answered, recalls
from harness.model import RECALL_OPS, Cohort, Estimate, Interval, Pathway, Window, json_number, no_estimate
from harness.timeline.samples import pick

# Of the staging exercise (runbook, "Rollback Testing in Staging"): step -> (from, to), both recorded instants.
STEPS = {
    "trigger": ("inject_acked", "trigger_met"),
    "rollback": ("rollback_sent", "rollback_acked"),
    "seen": ("rollback_sent", "rollback_observed"),
}
_LEFT = 0.01  # of answers; a replica that was not reached serves more
_MEMORY = "memory_over_baseline"


def step_time(view: CaseView, step: str) -> Estimate:
    """How long a step took, in s; unknown where it did not end."""
    if step not in STEPS:
        return no_estimate("s", f"'{step}' is no step of a rollback ({', '.join(STEPS)})")
    begun, ended = (view.instant(name) for name in STEPS[step])
    if math.isnan(begun) or math.isnan(ended):
        return no_estimate("s", f"no {STEPS[step][1]} after {STEPS[step][0]}")
    took = ended - begun
    return Estimate(took, Interval(took, took), "s", 1)


def as_json(view: CaseView) -> dict[str, Any]:
    """For ``verdict.json``: the rollback, its trigger's evidence, and the time of every step."""
    met = view.record.first("trigger_met") or {}
    return {
        **view.record.manifest.get("rollback", {}),
        "trigger": met.get("trigger"),
        "evidence": met.get("evidence"),
        "step_time_s": {step: json_number(step_time(view, step).value) for step in STEPS},
    }


def concerned(view: CaseView) -> CaseView:
    """The case as those saw it whom the rollback was for.

    A partial rollback cures those who leave the cohort, and nobody else: recalls of others are left out.
    """
    if _kind(view) != "partial":
        return view
    samples = view.record.samples
    keep = np.isin(samples["user"], _leaving(view)) | ~np.isin(samples["op"], [int(op) for op in RECALL_OPS])
    return CaseView(replace(view.record, samples=pick(samples, keep)))


def signals(view: CaseView) -> list[SignalEvents]:
    """What a rollback was to change (who is still canary, what is still blended), and the memory it was to free."""
    asked = recalls(view.requests)
    asked = asked[np.isin(asked["user"], view.canary_users)]
    if _kind(view) == "partial":
        named = asked[asked["cohort"] != int(Cohort.UNKNOWN)]
        own = signal("still_canary", named, named["cohort"] == int(Cohort.CANARY), _LEFT)
    else:
        named = asked[asked["pathway"] != int(Pathway.UNKNOWN)]
        own = signal("still_blended", named, named["pathway"] == int(Pathway.BLENDED), _LEFT)
    memory = _memory(view)
    return [replace(own, own=True), *([memory] if memory is not None else [])]


def _kind(view: CaseView) -> str:
    return str(view.record.manifest.get("rollback", {}).get("kind"))


def _leaving(view: CaseView) -> npt.NDArray[np.uint32]:
    """Canary users of the baseline whom the last second of the record calls control."""
    after = view.windows.get("after")
    if after is None:
        return view.canary_users
    last = answered(recalls(view.within(Window("last", max(after.start, after.end - 5.0), after.end))))
    control = np.unique(last["user"][last["cohort"] == int(Cohort.CONTROL)])
    found: npt.NDArray[np.uint32] = np.intersect1d(view.canary_users, control).astype(np.uint32)
    return found


def _memory(view: CaseView) -> SignalEvents | None:
    """Readings of the process' memory above what the baseline needed (by the tolerance of ``memory_growth``)."""
    rows = _resident(view)
    baseline = view.windows.get("baseline")
    usual = [rss for _, t, rss in rows if baseline and baseline.start <= t <= baseline.end]
    if len(usual) < 5:
        return None
    limit = max(usual) * (1.0 + view.limit("memory_growth", 0.10))
    return SignalEvents(
        _MEMORY,
        np.array([asked for asked, _, _ in rows]),
        np.array([t for _, t, _ in rows]),
        np.array([rss > limit for _, _, rss in rows]),
        0.01,
    )


def _resident(view: CaseView) -> list[tuple[float, float, float]]:
    """Readings (asked, answered, bytes) of the process where it is ours to see, else of the service's own gauge."""
    process = [r for r in view.record.stream("process") if r.get("ok") and "rss_bytes" in r]
    if process:
        return [(float(r["asked"]), float(r["t"]), float(r["rss_bytes"])) for r in process]
    name = "process_resident_memory_bytes"
    said = [(r, r.get("values", {}).get(name)) for r in view.record.stream("service") if r.get("ok")]
    return [(float(r["asked"]), float(r["t"]), float(v)) for r, v in said if isinstance(v, int | float) and v > 0]


def memory_growth(view: CaseView, window: Window) -> Estimate:
    """How far the process' memory at the end of a window (its last quarter) lies above the baseline's highest."""
    baseline = view.windows.get("baseline")
    rows = _resident(view)
    usual = [rss for _, t, rss in rows if baseline and baseline.start <= t <= baseline.end]
    late = [rss for _, t, rss in rows if window.end - window.duration_s / 4 <= t <= window.end]
    if len(usual) < 5 or len(late) < 3:
        return no_estimate("ratio", "too few readings of the process' memory in the baseline or at the end")
    growth = [rss / max(usual) - 1.0 for rss in late]
    return Estimate(float(np.median(growth)), Interval(min(growth), max(growth)), "ratio", len(late))


def split_deviation(view: CaseView, window: Window) -> Estimate:
    """|share of users served as canary - the rate asked for|; the interval is the share's (95 % at each end)."""
    wanted = float(view.record.manifest.get("rollback", {}).get("rate", math.nan))
    asked = answered(recalls(view.within(window)))
    asked = asked[asked["cohort"] != int(Cohort.UNKNOWN)]
    users = np.unique(asked["user"])
    if math.isnan(wanted) or len(users) == 0:
        return no_estimate("ratio", "no rate was asked for, or no answer named a cohort")
    canary = len(np.unique(asked["user"][asked["cohort"] == int(Cohort.CANARY)]))
    share = binomial_interval(canary, len(users))
    inside = share.contains(wanted)
    edges = (abs(share.low - wanted), abs(share.high - wanted))
    bounds = Interval(0.0 if inside else min(edges), max(edges))
    return Estimate(abs(canary / len(users) - wanted), bounds, "ratio", len(users))
