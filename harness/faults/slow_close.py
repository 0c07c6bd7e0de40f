"""Connections end late: the answer is there, its end is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.base import require_positive
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import Toxic


@dataclass(frozen=True)
class SlowClose(NetworkFault):
    """The end of a stream arrives ``latency_ms`` later; what was sent before it is not late."""

    latency_ms: float
    kind: ClassVar[str] = "slow_close"
    slot: ClassVar[str] = "network.slow_close"
    trips: ClassVar[int] = 3
    trip_timeout_s: ClassVar[float] = 5.0

    def __post_init__(self) -> None:
        require_positive("latency_ms", self.latency_ms)

    def describe(self) -> str:
        return f"connections end {self.latency_ms:g} ms late"

    def toxic(self) -> Toxic:
        return Toxic("slow_close", latency_ms=self.latency_ms)

    def signs(self, before: Round, now: Round) -> str:
        rise_ms = now.close_ms - before.close_ms
        least_ms = min(self.latency_ms, self.trip_timeout_s * 1e3) / 2
        return f"connections end {rise_ms:.0f} ms later" if rise_ms >= least_ms else ""
