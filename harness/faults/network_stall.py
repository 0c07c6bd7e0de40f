"""Packet loss as an application sees it: a piece of data in N arrives one retransmission later.

The proxy has no packets to lose, so loss is modelled by its effect; :mod:`harness.faults.packet_loss` loses real ones
where the kernel lets us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.base import require_positive, require_share
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import TO_CLIENT, Toxic


@dataclass(frozen=True)
class NetworkStall(NetworkFault):
    """That share of answers arrives ``retransmit_ms`` later (200 ms is Linux' shortest retransmission timeout)."""

    loss_share: float
    retransmit_ms: float = 200.0
    seed: int = 1
    kind: ClassVar[str] = "network_stall"
    slot: ClassVar[str] = "network.stall"
    trips: ClassVar[int] = 40
    trip_timeout_s: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        require_share("loss_share", self.loss_share)
        require_positive("retransmit_ms", self.retransmit_ms)

    def describe(self) -> str:
        return f"{self.loss_share:.0%} of answers lost and sent again {self.retransmit_ms:g} ms later"

    def toxic(self) -> Toxic:
        return Toxic("stall", TO_CLIENT, share=self.loss_share, latency_ms=self.retransmit_ms, seed=self.seed)

    def signs(self, before: Round, now: Round) -> str:
        late = sum(t.answer_s * 1e3 >= before.median_ms + 0.9 * self.retransmit_ms for t in now.trips)
        return f"{late} of {len(now.trips)} trips took a retransmission longer" if late else ""
