"""A dependency of the judge, not of the service: its metrics cannot be read, or only slowly.

A drill must still judge by what the client saw, and say what is missing. Prometheus itself being down looks the same
from here: the numbers are not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.errors import UsageError
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import Toxic

METRICS = "/metrics"


@dataclass(frozen=True)
class MetricsOutage(NetworkFault):
    """Scrapes take ``latency_ms`` longer; 0: they are cut off."""

    latency_ms: float = 0.0
    kind: ClassVar[str] = "metrics_outage"
    slot: ClassVar[str] = "network.metrics"
    probe_path: ClassVar[str] = f"{METRICS}/prometheus"
    trips: ClassVar[int] = 3
    trip_timeout_s: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.latency_ms <= 60_000:
            raise UsageError(f"latency_ms must be from 0 to 60000, not {self.latency_ms!r}")

    def describe(self) -> str:
        return f"metrics {self.latency_ms:g} ms slower" if self.latency_ms else "metrics cannot be read"

    def toxic(self) -> Toxic:
        return Toxic("cut_path", path=METRICS, latency_ms=self.latency_ms)

    def signs(self, before: Round, now: Round) -> str:
        if not self.latency_ms:
            share = now.share("reset", "closed")
            return f"{share:.0%} of scrapes are cut off" if share > 0.5 else ""
        rise_ms = now.fastest_ms - before.median_ms
        least_ms = min(self.latency_ms, self.trip_timeout_s * 1e3) / 2
        return f"every scrape takes {rise_ms:.0f} ms longer" if rise_ms >= least_ms else ""
