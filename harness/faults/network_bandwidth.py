"""The way to the target is narrow: answers arrive a few bytes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.base import require_positive
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import TO_CLIENT, Toxic


@dataclass(frozen=True)
class NetworkBandwidth(NetworkFault):
    """Each connection carries answers at ``bytes_per_s`` at most."""

    bytes_per_s: float
    kind: ClassVar[str] = "network_bandwidth"
    slot: ClassVar[str] = "network.bandwidth"
    probe_path: ClassVar[str] = "/metrics/prometheus"  # a long answer shows a narrow way best
    trips: ClassVar[int] = 3
    trip_timeout_s: ClassVar[float] = 5.0

    def __post_init__(self) -> None:
        require_positive("bytes_per_s", self.bytes_per_s)

    def describe(self) -> str:
        return f"answers at {self.bytes_per_s:g} bytes/s a connection"

    def toxic(self) -> Toxic:
        return Toxic("bandwidth", TO_CLIENT, bytes_per_s=self.bytes_per_s)

    def signs(self, before: Round, now: Round) -> str:
        size = min((len(answer) for answer in now.answers), default=0)
        least_ms = 0.5 * size / self.bytes_per_s * 1e3
        rise_ms = now.fastest_ms - before.median_ms
        if now.share("timeout") > 0.5:
            return f"{now.share('timeout'):.0%} of trips are not over in {self.trip_timeout_s:g} s"
        return f"{size} bytes take {rise_ms:.0f} ms longer" if size and rise_ms >= least_ms else ""
