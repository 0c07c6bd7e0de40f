"""Answers arrive with a bit turned over: what a client must notice and a service cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.base import require_share
from harness.faults.network import NetworkFault
from harness.faults.path import Round
from harness.faults.toxics import TO_CLIENT, Toxic


@dataclass(frozen=True)
class CorruptedBytes(NetworkFault):
    """One bit is wrong in that share of the pieces in which answers arrive.

    Answers only: a request damaged on its way would be stored as it came, and be no fault of the service.
    """

    corrupted_share: float
    seed: int = 1
    kind: ClassVar[str] = "corrupted_bytes"
    slot: ClassVar[str] = "network.corrupt"
    trips: ClassVar[int] = 60

    def __post_init__(self) -> None:
        require_share("corrupted_share", self.corrupted_share)

    def describe(self) -> str:
        return f"a bit wrong in {self.corrupted_share:.0%} of answers"

    def toxic(self) -> Toxic:
        return Toxic("corrupt", TO_CLIENT, share=self.corrupted_share, seed=self.seed)

    def signs(self, before: Round, now: Round) -> str:
        strange = len(now.answers - before.answers)
        return f"{strange} kinds of answers that were not there before" if strange else ""
