"""A partition in one direction: requests arrive and are carried out, their answers never come (or the reverse)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.errors import UsageError
from harness.faults.network import NetworkFault, mostly
from harness.faults.path import Round
from harness.faults.toxics import TO_CLIENT, TO_SERVER, Toxic


@dataclass(frozen=True)
class OneWayPartition(NetworkFault):
    """Nothing gets through ``toward`` the ``client`` (or the ``server``); the other direction works."""

    toward: str = TO_CLIENT
    kind: ClassVar[str] = "one_way_partition"
    slot: ClassVar[str] = "network.one_way"
    longest_hold_s: ClassVar[float] = 5.0
    trips: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.toward not in (TO_CLIENT, TO_SERVER):
            raise UsageError(f"toward must be client or server, not {self.toward!r}")

    def describe(self) -> str:
        return f"nothing gets through toward the {self.toward}"

    def toxic(self) -> Toxic:
        return Toxic("black_hole", self.toward)

    def signs(self, before: Round, now: Round) -> str:
        return mostly(now, "timeout")
