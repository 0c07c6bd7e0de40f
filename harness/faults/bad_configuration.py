"""A restart with a wrong configuration: it must refuse to start and say where, and come back with the good one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults.base import Observation, Observer, TargetFault
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

# The mistake, and what the refusal must name.
MISTAKES: dict[str, tuple[str, str]] = {
    "unknown_key": ("[consolidation]\nintervall_seconds = 1\n", "intervall_seconds"),
    "out_of_range": ("[blended_recall]\ncohort_sampling_rate = 1.5\n", "cohort_sampling_rate"),
    "wrong_type": ('[features]\nblended_recall = "yes"\n', "blended_recall"),
    "not_toml": ("[features\nblended_recall = true\n", "engram.toml"),
}


@dataclass(frozen=True)
class BadConfiguration(TargetFault):
    """The ``mistake`` is one of :data:`MISTAKES`; the target is down until it is started with its own again."""

    mistake: str = "out_of_range"
    kind: ClassVar[str] = "bad_configuration"
    requires: ClassVar[tuple[str, ...]] = ("restart", "process")
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.mistake not in MISTAKES:
            raise UsageError(f"no such mistake: {self.mistake!r}", hint=f"one of {', '.join(MISTAKES)}")

    def describe(self) -> str:
        return f"restarted with a bad configuration ({self.mistake})"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        with suppress(TargetError):  # the refusal; one that starts all the same is seen by the observer
            target.restart_with(config_text=MISTAKES[self.mistake][0])

    def bring_back(self, target: Target) -> str:
        target.restart(kill=True)
        return f"started again with its own configuration as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Refusal(target, MISTAKES[self.mistake][1])


class _Refusal(Presence):
    """Effect: it is down, and its log ends with a refusal that names the mistake."""

    def __init__(self, target: Target, named: str) -> None:
        super().__init__(target)
        self._named = named

    def effective(self) -> Observation:
        found = super().effective()
        last = self._target.log_tail(1)
        text = f"{found.evidence}; its log ends: {last}"
        return Observation(found.holds and self._named in last, text, found.detail)
