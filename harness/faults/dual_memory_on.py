"""``dual_memory_types`` is turned on over single memories, and off again: the migration, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.faults.base import Fault, Observation, Observer
from harness.faults.flags import flags_recipe
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

FLAG = "dual_memory_types"
_STILL_LOOKS = 4


@dataclass(frozen=True)
class DualMemoryOn(Fault):
    """The flag alone; recall stays episodic as long as ``blended_recall`` is off."""

    kind: ClassVar[str] = "dual_memory_on"
    requires: ClassVar[tuple[str, ...]] = ("features", "consolidations")
    slot: ClassVar[str] = "features.dual_memory_types"

    def describe(self) -> str:
        return f"{FLAG} turned on, and off again"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.set_features(**{FLAG: True})

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        with target.client() as client:
            return (flags_recipe(target, {FLAG: bool(client.features()[FLAG])}),)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Forming(client)


class _Forming(Observer):
    """Effect: off before, on now, and consolidation runs, as for dual memory only. Healed: it stands still."""

    def __init__(self, client: EngramClient) -> None:
        self._client = client
        self._before = 0
        self._was_on = False
        self._still = 0
        self._last = -1
        self._interval_s = 0.0

    def baseline(self) -> dict[str, Any]:
        self._before, self._interval_s = self._look()
        self._was_on = bool(self._client.features()[FLAG])
        self.patience_s = 5.0 + 3 * self._interval_s
        return {"runs": self._before, FLAG: self._was_on}

    def heal_begins(self) -> None:
        self._still, self._last = 0, -1

    def effective(self) -> Observation:
        if self._was_on:
            return Observation(False, f"{FLAG} was on before")
        runs, _ = self._look()
        listed = bool(self._client.features()[FLAG])
        text = f"{FLAG} is {listed}; consolidation ran {runs - self._before} times since"
        return Observation(listed and runs > self._before, text)

    def healed(self) -> Observation:
        runs, _ = self._look()
        self._still = self._still + 1 if runs == self._last else 0
        self._last = runs
        listed = self._client.features()[FLAG]
        # A look is taken every 50 ms; so many without a run, and one was due.
        needed = max(_STILL_LOOKS, int(3 * self._interval_s / 0.05))
        holds = not listed and self._still >= needed
        return Observation(holds, f"{FLAG} is {listed}; {self._still} looks without a run of consolidation")

    def _look(self) -> tuple[int, float]:
        stats = self._client.consolidations()
        return stats.successful + stats.failed, stats.interval_s or 0.0
