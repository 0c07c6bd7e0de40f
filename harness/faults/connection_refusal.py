"""Nobody listens: every connection is refused, those that were open are reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.network import NetworkFault, mostly
from harness.faults.path import Round
from harness.faults.toxics import Toxic


@dataclass(frozen=True)
class ConnectionRefusal(NetworkFault):
    """Connections are refused."""

    kind: ClassVar[str] = "connection_refusal"
    slot: ClassVar[str] = "network.refusal"
    longest_hold_s: ClassVar[float] = 5.0

    def describe(self) -> str:
        return "connections refused"

    def toxic(self) -> Toxic:
        return Toxic("refuse")

    def signs(self, before: Round, now: Round) -> str:
        return mostly(now, "refused")
