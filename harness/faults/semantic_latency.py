"""The semantic pathway gets slow; past its timeout, recall has to fall back to the episodic one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.engram import EngramClient
from harness.faults.base import Fault, Observer, chaos_recipe, listed_otherwise, require_positive
from harness.faults.recall_slowness import RecallSlowness
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

SEMANTIC_TIMEOUT_MS = 8.0  # the documented default; a recall waits no longer for its semantic half


@dataclass(frozen=True)
class SemanticLatency(Fault):
    """Every semantic lookup takes ``latency_ms`` longer."""

    latency_ms: float
    kind: ClassVar[str] = "semantic_latency"
    requires: ClassVar[tuple[str, ...]] = ("chaos.semantic_pathway", "blended_recall")
    slot: ClassVar[str] = "semantic_pathway.latency"

    def __post_init__(self) -> None:
        require_positive("latency_ms", self.latency_ms)

    def describe(self) -> str:
        return f"semantic pathway {self.latency_ms:g} ms slower"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.chaos_semantic_latency(self.latency_ms, ttl_s=ttl_s)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (chaos_recipe(target, "semantic_pathway/latency", '{"latency_ms":0}', self.slot),)

    def differs(self, target: Target, client: EngramClient) -> str:
        return listed_otherwise(client, target, self.slot, self.latency_ms)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        least_ms = min(self.latency_ms, SEMANTIC_TIMEOUT_MS)
        return RecallSlowness(client, cue, latency_ms=self.latency_ms, least_ms=least_ms)
