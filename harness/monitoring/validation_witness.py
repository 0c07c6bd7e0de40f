"""The service as a witness: what a client saw, beside what the service's metrics say of the same window."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.engram import EngramClient
from harness.engram.metrics import MetricsSnapshot
from harness.errors import TargetAnswerInvalid, TargetRefused, TargetUnreachable
from harness.monitoring.validation import Finding, failed, ok, skipped

_DURATION = "engram_recall_duration_seconds"
RECALLS = 300  # three beyond the 99th percentile
CUE = "what does the monitoring check remember"


@dataclass(frozen=True)
class Seen:
    """What the client saw: seconds of every answered recall, how many failed, seconds of requests without work."""

    recall_s: tuple[float, ...]
    failed: int
    idle_s: tuple[float, ...]


def validate_witness(
    client: EngramClient, *, latency_agreement: float, recalls: int = RECALLS, now: Callable[[], float] = time.monotonic
) -> list[Finding]:
    """Recall ``recalls`` times (nothing is stored) and compare count, errors and P99 with the service's own counters.

    ``latency_agreement`` is the share of the client's P99, less what a request without work takes, that the service
    must report (``witness_latency_agreement`` of ``slo.toml``).
    """
    before = client.metrics()
    seen = _recall(client, recalls, now)
    after = client.metrics()
    return [_count(before, after, seen), _errors(before, after, seen), _latency(before, after, seen, latency_agreement)]


def _recall(client: EngramClient, recalls: int, now: Callable[[], float]) -> Seen:
    took, idle, bad = [], [], 0
    for _ in range(recalls):
        begun = now()
        client.alive()
        idle.append(now() - begun)
        begun = now()
        try:
            client.recall(CUE, max_results=5)
        except TargetRefused:
            bad += 1
        except (TargetUnreachable, TargetAnswerInvalid):
            continue  # whether the service counted it cannot be told
        took.append(now() - begun)
    return Seen(tuple(took), bad, tuple(idle))


def _rise(before: MetricsSnapshot, after: MetricsSnapshot, name: str) -> float:
    """NaN where either scrape lacks it, or it fell (the service was started anew)."""
    old, new = before.total(name), after.total(name)
    return new - old if old is not None and new is not None and new >= old else math.nan


def _count(before: MetricsSnapshot, after: MetricsSnapshot, seen: Seen) -> Finding:
    check, risen, answered = "witness: recalls", _rise(before, after, "engram_recall_total"), len(seen.recall_s)
    if math.isnan(risen):
        return failed(check, f"the client saw {answered} recalls answered, engram_recall_total cannot be read")
    if risen < answered:
        return failed(
            check, f"the service under-reports: {risen:g} recalls counted, the client saw {answered} answered"
        )
    return ok(check, f"the client saw {answered} answered, the service counted {risen:g}")


def _errors(before: MetricsSnapshot, after: MetricsSnapshot, seen: Seen) -> Finding:
    check, risen = "witness: errors", _rise(before, after, "engram_recall_errors_total")
    total = max(1, len(seen.recall_s))
    if math.isnan(risen):
        return failed(check, f"the client saw {seen.failed} recalls fail, engram_recall_errors_total cannot be read")
    if risen < seen.failed:
        return failed(
            check,
            f"the service under-reports: {risen:g} errors counted, the client saw {seen.failed} "
            f"({seen.failed / total:.2%} of its recalls)",
        )
    return ok(check, f"the client saw {seen.failed} fail, the service counted {risen:g}")


def _latency(before: MetricsSnapshot, after: MetricsSnapshot, seen: Seen, agreement: float) -> Finding:
    check = "witness: P99 latency"
    if len(seen.recall_s) < 100:
        return skipped(check, f"{len(seen.recall_s)} answered recalls have no 99th percentile")
    low_s, high_s = _bucket_of_p99(before, after)
    if math.isnan(high_s):
        return failed(check, f"the client's P99 is {_p99(seen.recall_s) * 1e3:.2f} ms, {_DURATION} cannot be read")
    client_s = _p99(seen.recall_s)
    due_s = agreement * (client_s - _p99(seen.idle_s))
    numbers = (
        f"client {client_s * 1e3:.2f} ms (of which {_p99(seen.idle_s) * 1e3:.2f} ms without work), "
        f"service between {low_s * 1e3:g} and {high_s * 1e3:g} ms"
    )
    if high_s < due_s:
        return failed(check, f"the service under-reports: {numbers}")
    return ok(check, numbers)


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, math.floor(0.99 * len(values)))]


def _bucket_of_p99(before: MetricsSnapshot, after: MetricsSnapshot) -> tuple[float, float]:
    """Edges in s of the bucket that holds the P99 of the window; NaN where there is none."""
    old = dict(before.buckets(_DURATION))
    rises = [(edge, count - old.get(edge, 0.0)) for edge, count in after.buckets(_DURATION)]
    if not rises or rises[-1][1] <= 0 or any(rise < 0 for _, rise in rises):
        return math.nan, math.nan
    low = 0.0
    for edge, rise in rises:
        if rise >= 0.99 * rises[-1][1]:
            return low, edge
        low = edge
    return math.nan, math.nan
