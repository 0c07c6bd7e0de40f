"""A partition: nothing gets through in either direction, and nobody is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.network import NetworkFault, mostly
from harness.faults.path import Round
from harness.faults.toxics import Toxic


@dataclass(frozen=True)
class BlackHole(NetworkFault):
    """What is sent is held back; when it heals, it goes on its way, as retransmissions would."""

    kind: ClassVar[str] = "black_hole"
    slot: ClassVar[str] = "network.black_hole"
    longest_hold_s: ClassVar[float] = 5.0
    trips: ClassVar[int] = 2

    def describe(self) -> str:
        return "nothing gets through in either direction"

    def toxic(self) -> Toxic:
        return Toxic("black_hole")

    def signs(self, before: Round, now: Round) -> str:
        return mostly(now, "timeout")
