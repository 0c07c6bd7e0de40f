"""What the service says of itself: metrics, consolidation runs, binding state, health."""

from __future__ import annotations

from pathlib import Path

from harness.clock import Clock
from harness.engram.client import EngramClient
from harness.engram.metrics import MetricsSnapshot
from harness.probes.poller import Poller, Reading

_WANTED = ("engram_", "process_")


def flat(snapshot: MetricsSnapshot) -> dict[str, float]:
    """A scrape as ``name{a=b,c=d}`` -> value, and ``name`` -> the sum over all labels where there are any.

    Histogram buckets are cumulative per label set, so their sums are meaningless without ``le`` and are left out.
    """
    values: dict[str, float] = {}
    for name, series in snapshot.series.items():
        if not name.startswith(_WANTED) or name.endswith("_created"):
            continue
        for labels, value in series:
            if labels:
                values[f"{name}{{{','.join(f'{k}={v}' for k, v in labels)}}}"] = value
                if not name.endswith("_bucket"):
                    values[name] = values.get(name, 0.0) + value
            else:
                values[name] = value
    return values


def service_probes(client: EngramClient, capabilities: frozenset[str], folder: Path, clock: Clock) -> list[Poller]:
    """A probe for everything this target can be asked. Consolidation and bindings are polled at 20 Hz, as a run lasts
    a fraction of a second; metrics twice a second; health five times.
    """

    def metrics() -> Reading:
        return {"values": flat(client.metrics())}

    def consolidation() -> Reading:
        stats = client.consolidations()
        return {
            "successful": stats.successful,
            "failed": stats.failed,
            "last_success_age_s": stats.last_success_age_s,
            "interval_s": stats.interval_s,
            "concepts": stats.concepts,
        }

    def bindings() -> Reading:
        page = client.binding_counts()
        return {"total": page.total, "invalid": page.invalid or 0}

    def health() -> Reading:
        return {"ok": client.health()}

    found = [Poller("health", health, folder, 0.2, clock)]
    if "metrics.prometheus" in capabilities:
        found.append(Poller("service", metrics, folder, 0.5, clock))
    if "consolidations" in capabilities:
        found.append(Poller("consolidation", consolidation, folder, 0.05, clock))
    if "admin.bindings" in capabilities:
        found.append(Poller("bindings", bindings, folder, 0.1, clock))
    return found
