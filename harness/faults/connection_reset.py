"""Connections break in the middle: a reset instead of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.base import require_share
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import TO_CLIENT, Toxic


@dataclass(frozen=True)
class ConnectionReset(NetworkFault):
    """That share of answers is replaced by a reset of its connection; those open at the start are reset too."""

    reset_share: float
    seed: int = 1
    kind: ClassVar[str] = "connection_reset"
    slot: ClassVar[str] = "network.reset"
    trips: ClassVar[int] = 40

    def __post_init__(self) -> None:
        require_share("reset_share", self.reset_share)

    def describe(self) -> str:
        return f"{self.reset_share:.0%} of answers replaced by a connection reset"

    def toxic(self) -> Toxic:
        return Toxic("reset", TO_CLIENT, share=self.reset_share, seed=self.seed)

    def signs(self, before: Round, now: Round) -> str:
        share = now.share("reset", "closed")
        return f"{share:.0%} of trips end by a reset" if share > 0 else ""
