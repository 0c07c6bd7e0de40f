"""No fault at all: the control case, which must pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.faults.base import Fault, Observation, Observer
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class NoFault(Fault):
    """Goes through every step of an injection and does nothing."""

    kind: ClassVar[str] = "no_fault"
    requires: ClassVar[tuple[str, ...]] = ()
    slot: ClassVar[str] = ""

    def describe(self) -> str:
        return "no fault (control)"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        """Nothing."""

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Nothing()


class _Nothing(Observer):
    def baseline(self) -> dict[str, Any]:
        return {}

    def effective(self) -> Observation:
        return Observation(True, "control: nothing was injected")

    def healed(self) -> Observation:
        return Observation(True, "control: nothing was injected")
