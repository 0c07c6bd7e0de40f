"""Evidence and effect signals of the families beyond dual memory: process, network, resources, storage, clock.

Most show themselves to every client in one of three ways: requests that nobody answers, requests that fail, requests
that take longer than the baseline's ever did. Where a fault's effect is in the kernel's books and graceful for every
client (descriptors, threads, a deleted log), its observer's account is the evidence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.judge.evidence import Evidence, observed, signal
from harness.judge.intervals import quantile
from harness.judge.recovery import SignalEvents
from harness.judge.shares import clustered_share
from harness.judge.view import CaseView, blocks, recalls, service_ms
from harness.model import Op, Outcome, Pathway, Window
from harness.timeline.samples import Samples, pick

Judge = Callable[[CaseView, Window, Window], list[Evidence]]
Bools = npt.NDArray[np.bool_]
_UNANSWERED = (int(Outcome.REFUSED), int(Outcome.RESET), int(Outcome.TIMEOUT))
_WEAK = 0.6  # less than this share of a dose is another fault than the one asked for
_FAR = 2.0  # times the baseline's 99th percentile: what no ordinary request takes


def _all(samples: Samples) -> Samples:
    return samples


def _stores(samples: Samples) -> Samples:
    return pick(samples, samples["op"] == int(Op.STORE))


def _not_answered(view: CaseView, samples: Samples) -> Bools:
    found: Bools = np.isin(samples["outcome"], _UNANSWERED)
    return found


def _failed(view: CaseView, samples: Samples) -> Bools:
    found: Bools = samples["outcome"] != int(Outcome.OK)
    return found


def _far_off(of: Callable[[Samples], Samples]) -> Callable[[CaseView, Samples], Bools]:
    """Failed, or slower than ordinary requests of that kind ever were before the fault."""

    def affected(view: CaseView, samples: Samples) -> Bools:
        before = of(view.within(view.windows.get("baseline")))
        limit = _FAR * float(np.quantile(service_ms(before), 0.99)) if len(before) else np.inf
        found: Bools = (service_ms(samples) > limit) | (samples["outcome"] != int(Outcome.OK))
        return found

    return affected


def _slower_by_dose(of: Callable[[Samples], Samples]) -> Callable[[CaseView, Samples], Bools]:
    """Failed, or slower than the baseline's median by half of the dose."""

    def affected(view: CaseView, samples: Samples) -> Bools:
        before = of(view.within(view.windows.get("baseline")))
        usual = float(np.median(service_ms(before))) if len(before) else 0.0
        limit = usual + 0.5 * float(view.fault.get("latency_ms", 0.0))
        found: Bools = (service_ms(samples) > limit) | (samples["outcome"] != int(Outcome.OK))
        return found

    return affected


def _rise(name: str, of: Callable[[Samples], Samples], affected: Callable[[CaseView, Samples], Bools]) -> Judge:
    """The share of affected requests rose, beyond what chance allows."""

    def judge(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
        before, now = of(view.within(baseline)), of(view.within(during))
        if len(before) < 20 or len(now) < 5:
            return [observed(view), Evidence(name, None, "too few requests in a window")]
        old = clustered_share(affected(view, before), blocks(before), "requests")
        new = clustered_share(affected(view, now), blocks(now), "requests")
        text = f"{name.replace('_', ' ')} {old.value:.2%} -> {new.value:.2%} of {len(now)} requests"
        return [observed(view), Evidence(name, bool(new.value > old.value and new.interval.low > old.value), text)]

    return judge


def _slower(of: Callable[[Samples], Samples]) -> Judge:
    """The median service time rose by the dose, or most of it."""

    def judge(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
        dose = float(view.fault.get("latency_ms", 0.0))
        before, now = of(view.within(baseline)), of(view.within(during))
        if len(before) < 20 or len(now) < 20:
            return [Evidence("slower_requests", None, "fewer than 20 requests in a window")]
        old = quantile(service_ms(before), 0.5, blocks(before), "ms")
        new = quantile(service_ms(now), 0.5, blocks(now), "ms")
        shift = new.interval.high - old.interval.low
        text = f"median service time {old.value:.2f} -> {new.value:.2f} ms; the dose is {dose:g} ms"
        seen = bool(shift >= _WEAK * dose and new.interval.low > old.interval.high)
        return [Evidence("slower_requests", seen, text)]

    return judge


def _seen(view: CaseView, _baseline: Window, _during: Window) -> list[Evidence]:
    return [observed(view)]


def _gone(view: CaseView, _baseline: Window, during: Window) -> list[Evidence]:
    """Another process answers afterwards, and nobody answered meanwhile."""
    pids = {int(r["pid"]) for r in view.record.stream("process") if r.get("ok") and "pid" in r}
    now = view.within(during)
    lost = float(np.mean(np.isin(now["outcome"], _UNANSWERED))) if len(now) else 0.0
    found = [observed(view), Evidence("unanswered_requests", lost > 0, f"{lost:.0%} of requests were not answered")]
    if pids:
        found.append(Evidence("another_process", len(pids) > 1, f"{len(pids)} processes were seen"))
    return found


def _unblended(view: CaseView, samples: Samples) -> Bools:
    found: Bools = samples["pathway"] != int(Pathway.BLENDED)
    return found


def _canary(view: CaseView) -> Samples:
    asked = recalls(view.requests)
    return asked[np.isin(asked["user"], view.canary_users)]


def _unblended_answers(view: CaseView, baseline: Window, during: Window) -> list[Evidence]:
    """Canary users are answered by the blended pathway now and not then."""
    asked = _canary(view)
    parts = [
        asked[(asked["intended"] >= window.start) & (asked["intended"] < window.end)] for window in (baseline, during)
    ]
    old, new = (float(np.mean(_unblended(view, part))) if len(part) else 0.0 for part in parts)
    text = f"unblended answers {old:.0%} -> {new:.0%} of canary users' recalls"
    return [observed(view), Evidence("unblended_answers", 0.2 < new < 0.8 and old < 0.1, text)]


def _unread_metrics(view: CaseView, _baseline: Window, during: Window) -> list[Evidence]:
    """The service's metrics could not be read, or were late."""
    asked = [r for r in view.record.stream("service") if during.start <= float(r["asked"]) <= during.end]
    late_s = float(view.fault.get("latency_ms", 0.0)) / 1000.0
    missed = sum(not r.get("ok") or (late_s > 0 and float(r["t"]) - float(r["asked"]) >= late_s / 2) for r in asked)
    text = f"{missed} of {len(asked)} scrapes failed or were late"
    return [observed(view), Evidence("unread_metrics", bool(asked) and missed > len(asked) / 2, text)]


_DOWN = ("double_crash", "graceful_restart", "out_of_memory", "bad_configuration", "log_damage", "lost_unsynced")
_CUT = ("process_pause", "connection_reset", "connection_refusal", "black_hole", "one_way_partition")
_QUIET = ("file_descriptors", "thread_limit", "deleted_log", "slow_close", "half_open", "clock_skew", "memory_limit")
_DISTURBING = ("network_bandwidth", "network_stall", "packet_loss", "cpu_quota", "cpu_contention")
_REFUSING = ("disk_full", "read_only_disk", "sync_errors")

EVIDENCE: dict[str, Judge] = {
    **dict.fromkeys(_DOWN, _gone),
    **dict.fromkeys(_CUT, _rise("unanswered_requests", _all, _not_answered)),
    **dict.fromkeys(_QUIET, _seen),
    **dict.fromkeys(_DISTURBING, _rise("disturbed_requests", _all, _far_off(_all))),
    **dict.fromkeys(_REFUSING, _rise("refused_writes", _stores, _failed)),
    "network_latency": _slower(_all),
    "slow_disk": _slower(_stores),
    "corrupted_bytes": _rise("failed_requests", _all, _failed),
    "flag_flapping": _unblended_answers,
    "metrics_outage": _unread_metrics,
}


def _signal(
    name: str,
    of: Callable[[Samples], Samples],
    affected: Callable[[CaseView, Samples], Bools],
    tolerance: float,
) -> Callable[[CaseView], SignalEvents]:
    def make(view: CaseView) -> SignalEvents:
        samples = of(view.requests)
        return signal(name, samples, affected(view, samples), tolerance)

    return make


def _flapping(view: CaseView) -> SignalEvents:
    asked = _canary(view)
    return signal("unblended_recalls", asked, _unblended(view, asked), 0.05)


_UNANSWERED_SIGNAL = _signal("unanswered_requests", _all, _not_answered, 0.001)
SIGNALS: dict[str, Callable[[CaseView], SignalEvents]] = {
    **dict.fromkeys((*_DOWN, *_CUT), _UNANSWERED_SIGNAL),
    **dict.fromkeys(_DISTURBING, _signal("disturbed_requests", _all, _far_off(_all), 0.02)),
    **dict.fromkeys(_REFUSING, _signal("refused_writes", _stores, _failed, 0.01)),
    "network_latency": _signal("slowed_requests", _all, _slower_by_dose(_all), 0.02),
    "slow_disk": _signal("slowed_writes", _stores, _slower_by_dose(_stores), 0.05),
    "corrupted_bytes": _signal("failed_requests", _all, _failed, 0.001),
    "flag_flapping": _flapping,
}
