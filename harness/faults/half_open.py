"""Connections are accepted and then nothing: half open, as behind a load balancer whose backend is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults.network import NetworkFault, mostly
from harness.faults.path import Round
from harness.faults.toxics import Toxic


@dataclass(frozen=True)
class HalfOpen(NetworkFault):
    """New connections are accepted and lead nowhere; those that are open go on."""

    kind: ClassVar[str] = "half_open"
    slot: ClassVar[str] = "network.half_open"
    trips: ClassVar[int] = 2

    def describe(self) -> str:
        return "new connections lead nowhere"

    def toxic(self) -> Toxic:
        return Toxic("half_open")

    def signs(self, before: Round, now: Round) -> str:
        return mostly(now, "timeout")
