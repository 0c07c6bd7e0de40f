"""The wall clock is wrong (libfaketime): the process is started again under a clock that is ``offset_s`` off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import UsageError
from harness.faults.base import Observation, Observer, TargetFault
from harness.faults.capability import faketime_environment
from harness.faults.presence import WITNESS_ID, WITNESS_SPACE
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

_LEAST_S = 60.0


@dataclass(frozen=True)
class ClockSkew(TargetFault):
    """Its wall clock is ``offset_s`` ahead (below 0: behind); its monotonic clock is right, as a real one's would be.

    No recipe: the skewed process is in the ledger since it was started and ends with us.
    """

    offset_s: float
    kind: ClassVar[str] = "clock_skew"
    requires: ClassVar[tuple[str, ...]] = ("restart", "process", "host.faketime")
    slot: ClassVar[str] = "clock"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        if not _LEAST_S <= abs(self.offset_s) <= 1e9:
            raise UsageError(f"offset_s must be at least {_LEAST_S:g} s off in either direction, not {self.offset_s!r}")

    def describe(self) -> str:
        return f"wall clock {self.offset_s:+g} s off"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        target.restart_with(env=faketime_environment(self.offset_s))

    def bring_back(self, target: Target) -> str:
        target.restart()
        return f"started again under the right clock as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Dates(target, self.offset_s)


class _Dates(Observer):
    """Compares the date the target gives a witness write with ours."""

    def __init__(self, target: Target, offset_s: float) -> None:
        self._target = target
        self._offset_s = offset_s
        self._before_s = 0.0
        self.patience_s = 10.0

    def baseline(self) -> dict[str, Any]:
        self._before_s = self._off_s()
        return {"off_s": self._before_s}

    def effective(self) -> Observation:
        moved = self._off_s() - self._before_s
        right = abs(moved - self._offset_s) < 0.1 * abs(self._offset_s)
        return Observation(right, f"its dates have moved by {moved:+.1f} s", {"moved_s": moved})

    def healed(self) -> Observation:
        off = self._off_s()
        return Observation(abs(off - self._before_s) < _LEAST_S / 4, f"its dates are {off:+.1f} s off")

    def _off_s(self) -> float:
        with self._target.client(2.0) as client:
            said = client.remember("what time is it", memory_id=WITNESS_ID, space=WITNESS_SPACE)
        stored = datetime.fromisoformat(str(said.get("stored_at", "")).replace("Z", "+00:00"))
        return (stored - datetime.now(UTC)).total_seconds()
