"""A slow disk: every sync takes longer, so every acknowledged write does; reads must not notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.faults.base import Observer, require_positive
from harness.faults.disk_shim import SLOW
from harness.faults.presence import WitnessWrite
from harness.faults.shimmed import ShimmedFault
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class SlowDisk(ShimmedFault):
    """Every ``fsync`` takes ``latency_ms`` longer."""

    latency_ms: float
    kind: ClassVar[str] = "slow_disk"
    longest_hold_s: ClassVar[float] = 15.0

    def __post_init__(self) -> None:
        require_positive("latency_ms", self.latency_ms)

    def describe(self) -> str:
        return f"fsync {self.latency_ms:g} ms slower"

    def orders(self) -> dict[str, Any]:
        return {"mode": SLOW, "latency_ms": self.latency_ms}

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return WitnessWrite(target, slower_ms=self.latency_ms / 2)
