"""The way to the target is longer: every piece of data arrives later, with or without jitter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.errors import UsageError
from harness.faults.base import require_positive
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import TO_CLIENT, Toxic


@dataclass(frozen=True)
class NetworkLatency(NetworkFault):
    """Answers arrive ``latency_ms`` later, give or take ``jitter_ms`` (evenly spread)."""

    latency_ms: float
    jitter_ms: float = 0.0
    kind: ClassVar[str] = "network_latency"
    slot: ClassVar[str] = "network.latency"
    trip_timeout_s: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        require_positive("latency_ms", self.latency_ms)
        if not 0 <= self.jitter_ms <= self.latency_ms:
            raise UsageError(f"jitter_ms must be from 0 to latency_ms, not {self.jitter_ms!r}")

    def describe(self) -> str:
        jitter = f" ± {self.jitter_ms:g}" if self.jitter_ms else ""
        return f"answers {self.latency_ms:g}{jitter} ms later"

    def toxic(self) -> Toxic:
        return Toxic("latency", TO_CLIENT, latency_ms=self.latency_ms, jitter_ms=self.jitter_ms)

    def signs(self, before: Round, now: Round) -> str:
        rise_ms = now.median_ms - before.median_ms
        every_ms = now.fastest_ms - before.median_ms
        seen = rise_ms >= self.latency_ms / 2 and every_ms >= (self.latency_ms - self.jitter_ms) / 2
        return f"the median trip takes {rise_ms:.1f} ms longer" if seen else ""
