"""One interval as a record: what the load did since the last one, and what the target and we ourselves used."""

from __future__ import annotations

from typing import Any

from harness.histogram import Histogram
from harness.judge.soak_series import op_name
from harness.load.statistics import LiveStats
from harness.load.supervisor import LoadSupervisor
from harness.model import NOT_THE_SERVICE, Outcome
from harness.probes.soak import ServiceWatch, own_reading, target_reading
from harness.targets.base import Target


def requests_record(now: LiveStats, before: LiveStats) -> dict[str, Any]:
    """Counts and histograms between two snapshots; latency is measured from the intended start."""
    done = now.since(before)
    ops = {}
    for op, row in done.outcomes.items():
        bad = sum(n for outcome, n in row.items() if outcome != Outcome.OK and outcome not in NOT_THE_SERVICE)
        ops[op_name(op)] = [row.get(Outcome.OK, 0), bad]
    return {
        "offered": done.offered,
        "sent": done.sent,
        "completed": done.completed,
        "cancelled": done.by_outcome.get(Outcome.CANCELLED, 0),
        "no_free_slot": done.no_free_slot,
        "in_flight": done.in_flight,
        "ops": ops,
        "errors": {outcome.name.lower(): count for outcome, count in done.errors.items()},
        "latency": {op_name(op): h.to_hdr() for op, h in done.latency_by_op.items() if h.count},
        "service_time": _hdr(done.service),
        "lag_p99_ms": done.lag.percentile(99) * 1e3,
        "loop_lag_p99_ms": done.loop_lag.percentile(99) * 1e3,
    }


def _hdr(histogram: Histogram) -> str | None:
    return histogram.to_hdr() if histogram.count else None


def target_record(target: Target, watch: ServiceWatch) -> dict[str, Any]:
    """The target's resources, and whose word they are."""
    return target_reading(target, watch.metrics)


def harness_record(load: LoadSupervisor) -> dict[str, Any]:
    """What recording and load cost."""
    return own_reading(lambda: load.pids)


def resource_line(wall: str, target: dict[str, Any], cpu_percent: float, total_bytes: int) -> str:
    """The runbook's ``ps -o rss,vsz,%cpu,%mem``, with the time before it and KiB as ps has them."""
    rss, vsz = (float(target.get(key, 0.0)) for key in ("rss_bytes", "vsz_bytes"))
    share = 100.0 * rss / total_bytes if total_bytes else 0.0
    return f"{wall} {rss / 1024:.0f} {vsz / 1024:.0f} {cpu_percent:.1f} {share:.1f}"
