"""Was the fault really there? And when did its effect go away?

For every kind of fault: *evidence* that it took effect, read from something other than the injector's return code
and other than what the drill asserts, and the *effect signal* whose change point dates the recovery even where
degradation is so graceful that no user-visible signal moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.judge import effects_families, witness
from harness.judge.evidence import Evidence, observed
from harness.judge.intervals import binomial_interval, quantile, share
from harness.judge.recovery import SignalEvents
from harness.judge.view import CaseView, answered, attempted, blocks, recalls, service_ms
from harness.model import Cohort, Outcome, Pathway, SemanticMissing, Window
from harness.timeline.samples import Samples

SLOWED, OVER_SLO = "slowed_recalls", "recall_latency_over_slo"  # signals that are durations
WEAK = 0.6  # an effect whose upper bound is below this share of the dose asked for is not the fault asked for


def evidence(view: CaseView) -> list[Evidence]:
    """Independent evidence of the case's fault; for a control case, that there was none to see."""
    during, baseline = view.windows.get("during"), view.windows.get("baseline")
    kind = str(view.fault.get("kind"))
    if kind == "no_fault":
        return [Evidence("control", True, "a control case injects nothing")]
    if during is None or baseline is None:
        return [Evidence(kind, None, "the fault was never in force for a whole window")]
    judge = {**_EVIDENCE, **effects_families.EVIDENCE}.get(kind)
    return judge(view, baseline, during) if judge else [observed(view)]


def _of_canary(view: CaseView, samples: Samples) -> Samples:
    asked = recalls(samples)
    return asked[np.isin(asked["user"], view.canary_users)]


def _slower_recalls(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
    """Recalls of canary users take longer: by the semantic budget at least, as they wait for the pathway in vain.

    Only the median of the service time is read: neither an answer's own account nor any counter.
    """
    budget = view.limit("semantic_timeout_ms", 8.0)
    dose = float(view.fault.get("latency_ms", 0.0))
    expected = min(dose, budget) if view.fault["kind"] == "semantic_latency" else dose
    before, while_on = _of_canary(view, view.within(baseline)), _of_canary(view, view.within(during))
    if len(before) < 20 or len(while_on) < 20:
        return [Evidence("slower_recalls", None, "fewer than 20 recalls of canary users in a window")]
    base = quantile(service_ms(before), 0.5, blocks(before), "ms")
    now = quantile(service_ms(while_on), 0.5, blocks(while_on), "ms")
    shift = now.interval.low - base.interval.high
    text = (
        f"median service time of canary users' recalls {base.value:.2f} -> {now.value:.2f} ms "
        f"(at least {shift:+.2f} ms; a fault of {dose:g} ms adds about {expected:g} ms)"
    )
    found = [Evidence("slower_recalls", shift >= 0.5 * expected, text)]
    if view.fault["kind"] == "semantic_latency":
        found.append(_blended_answers_gone(before, while_on))
    return found


def _blended_answers_gone(before: Samples, while_on: Samples) -> Evidence:
    """Canary users are answered by the blended pathway no more: which pathway answered, not why or how often."""
    blended = int(Pathway.BLENDED)
    old = share(int(np.count_nonzero(before["pathway"] == blended)), len(before), "recalls")
    new = share(int(np.count_nonzero(while_on["pathway"] == blended)), len(while_on), "recalls")
    text = f"answers by the blended pathway {old.value:.1%} -> {new.value:.1%} of canary users' recalls"
    return Evidence("blended_answers", new.interval.high < 0.5 * old.interval.low, text)


def _missed_successes(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
    """Consolidation successes stay out when due: read from the age of the last success, not from a failure counter."""
    rate = float(view.fault.get("fail_rate", 1.0))
    before, due_before = witness.missed_successes(view, baseline)
    missed, due = witness.missed_successes(view, during)
    if due < 5 or due_before < 5:
        return [Evidence("missed_successes", None, f"only {due} runs were due while the fault was in force")]
    quiet = binomial_interval(before, due_before)
    now = binomial_interval(missed, due)
    seen = now.low > quiet.low and missed / due > before / due_before and now.high >= WEAK * rate and missed > 0
    text = (
        f"{missed} of {due} due successes stayed out (before: {before} of {due_before}); asked for {rate:.0%}, "
        f"so at least {WEAK * rate:.0%} must be possible"
    )
    return [Evidence("missed_successes", seen, text)]


def _invalid_state(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
    """The binding state itself, over the admin API: neither filter nor violation counter."""
    rate = float(view.fault.get("corruption_rate", 1.0))
    before, now = witness.invalid_bindings(view, baseline), witness.invalid_bindings(view, during)
    if not now.known:
        filtered = _filtered(view, during)
        if not filtered:
            return [Evidence("invalid_bindings", None, now.note)]
        return [Evidence("filtered_bindings", True, f"{filtered} recalls filtered bindings")]
    seen = now.value > (before.value if before.known else 0.0) and now.interval.high >= WEAK * rate
    text = f"{now.value:.1%} of bindings invalid in the admin state; asked for {rate:.1%}"
    return [Evidence("invalid_bindings", seen, text)]


def _filtered(view: CaseView, window: Window) -> int:
    return int(np.count_nonzero(attempted(view.within(window))["bindings_filtered"] > 0))


def _process_gone(view: CaseView, _baseline: Window, during: Window) -> list[Evidence]:
    """Another process answers afterwards, and health probes found nobody meanwhile.

    One that hung from before the window's start, or until after its end, found nobody in it either.
    """
    pids = [int(r["pid"]) for r in view.record.stream("process") if r.get("ok") and "pid" in r]
    asked = [r for r in view.record.stream("health") if float(r["asked"]) < during.end and float(r["t"]) > during.start]
    nobody = sum(not r.get("ok") for r in asked)
    found = [Evidence("unanswered_health", nobody > 0, f"{nobody} of {len(asked)} health probes found nobody")]
    if pids:
        found.append(Evidence("another_process", len(set(pids)) > 1, f"{len(set(pids))} processes were seen"))
    return found


def _of_parts(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
    """Of a composition: every part was seen to act, by its own observer. One that was not spoils the whole.

    A part that was in force throughout must also be seen in what a single fault of its kind is seen in.
    """
    found = []
    for number, step in enumerate(view.fault.get("steps", [])):
        seen = [e for e in view.record.events if e["event"] == "part_effective_observed" and e.get("part") == number]
        kind = str(step.get("fault", {}).get("kind"))
        detail = str(seen[0].get("evidence", "")) if seen else "no effect was observed"
        found.append(Evidence(f"part {number}: {kind}", bool(seen), detail))
        alone = _EVIDENCE.get(kind)
        if alone is not None and _throughout(step):
            pieces = alone(_as_part(view, step), baseline, during)
            detail = "; ".join(piece.detail for piece in pieces)
            found.append(Evidence(f"part {number}: {kind}, by its effect", any(p.seen for p in pieces), detail))
    if all(piece.seen for piece in found):
        return found
    missing = "; ".join(f"{piece.name} ({piece.detail})" for piece in found if not piece.seen)
    return [Evidence("every part", False, f"not seen to act: {missing}")]


_EVIDENCE: dict[str, Callable[[CaseView, Window, Window], list[Evidence]]] = {
    "semantic_latency": _slower_recalls,
    "recall_latency": _slower_recalls,
    "consolidation_failure": _missed_successes,
    "binding_corruption": _invalid_state,
    "process_crash": _process_gone,
    "composition": _of_parts,
}


def effect_signal(view: CaseView) -> SignalEvents | None:
    """The fault's own effect as yes/no events; None where the fault has none of its own (a control case)."""
    if view.fault.get("kind") == "composition":
        # Of its parts, the first that is in force throughout and has one: the others' heal is not at the end.
        parts = [_as_part(view, step) for step in view.fault.get("steps", []) if _throughout(step)]
        return next((signal for part in parts if (signal := effect_signal(part)) is not None), None)
    make = {**_SIGNALS, **effects_families.SIGNALS}.get(str(view.fault.get("kind")))
    return replace(make(view), own=True) if make else None


def _throughout(step: dict[str, Any]) -> bool:
    return not step.get("at_ms") and not step.get("hold_ms")


def _as_part(view: CaseView, step: dict[str, Any]) -> CaseView:
    """The case as if this part had been its only fault."""
    return CaseView(replace(view.record, manifest={**view.record.manifest, "fault": step["fault"]}))


def _signal(
    name: str, samples: Samples, affected: np.ndarray[tuple[int], np.dtype[np.bool_]], tolerance: float
) -> SignalEvents:
    return SignalEvents(name, samples["sent"].copy(), samples["done"].copy(), affected, tolerance)


def _semantic_lost(view: CaseView) -> SignalEvents:
    """Recalls of canary users that lost the semantic pathway, or failed altogether."""
    asked = _of_canary(view, view.requests)
    lost = np.isin(
        asked["semantic_missing"],
        [int(SemanticMissing.TIMEOUT), int(SemanticMissing.FAILED), int(SemanticMissing.BREAKER_OPEN)],
    )
    lost |= asked["outcome"] != int(Outcome.OK)
    keep = (asked["cohort"] != int(Cohort.CONTROL)) | (asked["outcome"] != int(Outcome.OK))
    return _signal("semantic_pathway_lost", asked[keep], lost[keep], view.limit("semantic_timeout_ratio", 0.1))


def _slow(view: CaseView) -> SignalEvents:
    baseline = _of_canary(view, view.within(view.windows.get("baseline")))
    return _slower_than(view, baseline, _of_canary(view, view.requests))


def slowed_others(view: CaseView) -> SignalEvents:
    """Recalls of users who were never canary, as slow as a latency fault makes a canary's: the machine's doing."""
    every = recalls(view.requests)
    canary = np.unique(every["user"][every["cohort"] == int(Cohort.CANARY)])
    asked = every[~np.isin(every["user"], np.union1d(canary, view.canary_users))]
    before = view.windows.get("baseline", Window("baseline", 0.0, 0.0))
    usual = asked[(asked["intended"] >= before.start) & (asked["intended"] < before.end)]
    return _slower_than(view, usual, asked)


def _slower_than(view: CaseView, baseline: Samples, asked: Samples) -> SignalEvents:
    """Recalls that take at least half of the fault's dose longer than the median of ``baseline``."""
    usual = float(np.median(service_ms(baseline))) if len(baseline) else 0.0
    slow = service_ms(asked) > usual + 0.5 * float(view.fault.get("latency_ms", 0.0))
    return _signal(SLOWED, asked, slow, 0.05)


def _filtered_bindings(view: CaseView) -> SignalEvents:
    # After a rollback nothing may be blended any more, and an answer without bindings has none that is filtered.
    tried = answered(_of_canary(view, view.requests)) if view.rolled_back else attempted(view.requests)
    return _signal("filtered_bindings", tried, tried["bindings_filtered"] > 0, 0.01)


def _unanswered(view: CaseView) -> SignalEvents:
    every = view.requests
    lost = np.isin(every["outcome"], [int(Outcome.REFUSED), int(Outcome.RESET), int(Outcome.TIMEOUT)])
    return _signal("unanswered_requests", every, lost, 0.001)


_SIGNALS: dict[str, Callable[[CaseView], SignalEvents]] = {
    "semantic_latency": _semantic_lost,
    "recall_latency": _slow,
    "binding_corruption": _filtered_bindings,
    "consolidation_failure": witness.consolidation_runs,
    "process_crash": _unanswered,
}


def user_signals(view: CaseView) -> list[SignalEvents]:
    """The steady-state signals every case has: failed requests, recalls slower than the SLO, answers gone missing."""
    every = view.requests
    asked = recalls(every)
    limit = view.limit("recall_p99_ms", math.inf)
    slow = ((asked["done"] - asked["intended"]) * 1e3 > limit) | (asked["outcome"] != int(Outcome.OK))
    return [
        _signal("errors", every, every["outcome"] != int(Outcome.OK), view.limit("error_rate", 0.001)),
        _signal(OVER_SLO, asked, slow, 0.01),
    ]


def lost_share(view: CaseView, window: Window) -> float:
    """The share of events of the effect signal that were affected in a window; NaN where there are none."""
    signal = effect_signal(view)
    if signal is None:
        return math.nan
    inside = signal.within(window.start, window.end)
    return share(inside.hits, inside.count, "events").value
