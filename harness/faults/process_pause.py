"""The process stands still (SIGSTOP) and goes on (SIGCONT): a long collection, a frozen machine, a paused container."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe, SignalRecipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class ProcessPause(TargetFault):
    """SIGSTOP; connections are still accepted by the kernel, nothing is answered."""

    kind: ClassVar[str] = "process_pause"
    requires: ClassVar[tuple[str, ...]] = ("process",)
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 3.0

    def describe(self) -> str:
        return "process paused (SIGSTOP)"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        if not process_of(target).send(signal.SIGSTOP):
            raise TargetError("the process is gone", where=target.base_url)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (SignalRecipe(process_of(target), int(signal.SIGCONT)),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Stillness(target)


class _Stillness(Presence):
    """Effect: nothing is answered by a process that is there and stopped. Healed: it answers."""

    gone_needed = False

    def effective(self) -> Observation:
        found = super().effective()
        state = _state(self._target.pid)
        return Observation(found.holds and state == "T", f"{found.evidence}; process state {state}", found.detail)


def _state(pid: int | None) -> str:
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "gone"
    return raw[raw.rfind(")") + 2 : raw.rfind(")") + 3]
