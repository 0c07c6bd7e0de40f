"""Every blended recall gets slow, whatever its pathways do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.engram import EngramClient
from harness.faults.base import Fault, Observer, chaos_recipe, listed_otherwise, require_positive
from harness.faults.recall_slowness import RecallSlowness
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class RecallLatency(Fault):
    """Every blended recall takes ``latency_ms`` longer; turning ``blended_recall`` off cures it too."""

    latency_ms: float
    kind: ClassVar[str] = "recall_latency"
    requires: ClassVar[tuple[str, ...]] = ("chaos.latency", "blended_recall")
    slot: ClassVar[str] = "latency"

    def __post_init__(self) -> None:
        require_positive("latency_ms", self.latency_ms)

    def describe(self) -> str:
        return f"blended recall {self.latency_ms:g} ms slower"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.chaos_latency(self.latency_ms, ttl_s=ttl_s)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (chaos_recipe(target, "latency", '{"latency_ms":0}', self.slot),)

    def differs(self, target: Target, client: EngramClient) -> str:
        return listed_otherwise(client, target, self.slot, self.latency_ms)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return RecallSlowness(client, cue, latency_ms=self.latency_ms, least_ms=self.latency_ms)
