"""The process is asked to end (SIGTERM), drains, and is started again: what a deployment does."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults.base import Observer, TargetFault, process_of
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class GracefulRestart(TargetFault):
    """SIGTERM; it is down until the fault is healed by starting it again."""

    kind: ClassVar[str] = "graceful_restart"
    requires: ClassVar[tuple[str, ...]] = ("restart", "process")
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 1.0

    def describe(self) -> str:
        return "process ended in order (SIGTERM) and started again"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        if not process_of(target).send(signal.SIGTERM):
            raise TargetError("the process was gone already", where=target.base_url)

    def bring_back(self, target: Target) -> str:
        target.restart()
        return f"started again as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return Presence(target)
