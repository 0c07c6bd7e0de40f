"""A share of the bindings gets invalid strengths; they must be filtered, counted, and come back whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import BindingPage, EngramClient
from harness.faults.base import Fault, Observation, Observer, chaos_recipe, listed_otherwise, require_share
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class BindingCorruption(Fault):
    """That share of bindings is given strengths that are NaN, below 0 or above 1."""

    corruption_rate: float
    kind: ClassVar[str] = "binding_corruption"
    requires: ClassVar[tuple[str, ...]] = ("chaos.binding_index", "admin.bindings", "blended_recall")
    slot: ClassVar[str] = "binding_index.corrupt"

    def __post_init__(self) -> None:
        require_share("corruption_rate", self.corruption_rate)

    def describe(self) -> str:
        return f"{self.corruption_rate:.0%} of bindings corrupted"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.chaos_binding_corrupt(self.corruption_rate, ttl_s=ttl_s)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (chaos_recipe(target, "binding_index/restore", "{}", self.slot),)

    def differs(self, target: Target, client: EngramClient) -> str:
        return listed_otherwise(client, target, self.slot, self.corruption_rate)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Bindings(client)


class _Bindings(Observer):
    """Counts the invalid bindings the admin API shows."""

    def __init__(self, client: EngramClient) -> None:
        self._client = client
        self._before = 0

    def baseline(self) -> dict[str, Any]:
        page = self._client.binding_counts()
        self._before = page.invalid or 0
        return {"bindings": page.total, "invalid": self._before}

    def effective(self) -> Observation:
        page = self._client.binding_counts()
        invalid = page.invalid or 0
        if page.total == 0:
            return Observation(False, "there are no bindings to corrupt", _detail(page))
        return Observation(invalid > self._before, f"{invalid} of {page.total} bindings are invalid", _detail(page))

    def healed(self) -> Observation:
        page = self._client.binding_counts()
        invalid = page.invalid or 0
        return Observation(invalid <= self._before, f"{invalid} of {page.total} bindings are invalid", _detail(page))


def _detail(page: BindingPage) -> dict[str, Any]:
    return {"bindings": page.total, "invalid": page.invalid}
