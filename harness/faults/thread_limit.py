"""No more threads: a control group whose ``pids.max`` the process has reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults import cgroup
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import GroupRecipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class ThreadLimit(TargetFault):
    """``spare`` threads more than it has now, and then none."""

    spare: int = 0
    kind: ClassVar[str] = "thread_limit"
    requires: ClassVar[tuple[str, ...]] = ("process", "host.cgroup_pids")
    slot: ClassVar[str] = "resource.threads"
    longest_hold_s: ClassVar[float] = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.spare <= 100_000:
            raise UsageError(f"spare must be from 0 to 100000, not {self.spare!r}")

    def describe(self) -> str:
        return f"{self.spare} threads more than now"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        process = process_of(target)
        try:
            threads = len(list(Path(f"/proc/{process.pid}/task").iterdir()))
        except OSError as error:
            raise TargetError(f"the threads of process {process.pid} cannot be counted: {error}") from error
        cgroup.confine(self._group(target), process, {"pids.max": str(threads + self.spare)})

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (self._group(target),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Room(target, self._group(target), self.spare)

    def _group(self, target: Target) -> GroupRecipe:
        return cgroup.group_of(self, "pids", process_of(target))


class _Room(Observer):
    """Effect: the kernel has refused it a thread, or has none left to give. Healed: it is in no such group."""

    def __init__(self, target: Target, recipe: GroupRecipe, spare: int) -> None:
        self._target = target
        self._recipe = recipe
        self._spare = spare

    def baseline(self) -> dict[str, Any]:
        return {"pid": self._target.pid}

    def effective(self) -> Observation:
        group = Path(self._recipe.group)
        inside = process_of(self._target).pid in cgroup.members(self._recipe)
        refused = cgroup.counters(self._recipe, "pids.events").get("max", 0)
        try:
            now, most = ((group / name).read_text(encoding="ascii").strip() for name in ("pids.current", "pids.max"))
        except OSError:
            return Observation(False, "there is no control group of ours")
        full = now.isdigit() and most.isdigit() and int(now) + self._spare >= int(most)
        return Observation(inside and (full or refused > 0), f"{now} of {most} threads, {refused} refused")

    def healed(self) -> Observation:
        there = bool(self._recipe.there())
        return Observation(not there, "the limit is still there" if there else "the limit is gone")
