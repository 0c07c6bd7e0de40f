"""The kernel kills the process for want of memory: a control group that grants it next to nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults import cgroup
from harness.faults.base import Observation, Observer, TargetFault, process_of, require_positive
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import GroupRecipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

_PAGE = 4096
_BODY_BYTES = 3 * 1024 * 1024  # what a witness asks it to hold; refused as nonsense where it can be held


@dataclass(frozen=True)
class OutOfMemory(TargetFault):
    """``headroom_mb`` of memory beyond what it has now, then the out-of-memory killer; it is started again."""

    headroom_mb: float = 1.0
    kind: ClassVar[str] = "out_of_memory"
    requires: ClassVar[tuple[str, ...]] = ("restart", "process", "host.cgroup_memory")
    slot: ClassVar[str] = "process.memory"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        require_positive("headroom_mb", self.headroom_mb)

    def describe(self) -> str:
        return f"out of memory: {self.headroom_mb:g} MB more than now, then killed by the kernel"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        recipe = self._group(target)
        if cgroup.unified(recipe):
            most = self._headroom + _resident(process_of(target).pid)
            limits = {"memory.max": str(most), "memory.swap.max": "0"}
        else:  # what it holds stays charged to where it was: only what comes is counted
            limits = {"memory.limit_in_bytes": str(self._headroom)}
        cgroup.confine(recipe, process_of(target), limits)

    @property
    def _headroom(self) -> int:
        """In bytes, as whole pages: what the kernel makes of it."""
        return max(1, int(self.headroom_mb * 1024 * 1024) // _PAGE) * _PAGE

    def bring_back(self, target: Target) -> str:
        target.restart(kill=True)
        return f"started again as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (self._group(target),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Killed(target, self._group(target), self._headroom)

    def _group(self, target: Target) -> GroupRecipe:
        return cgroup.group_of(self, "memory", process_of(target))


class _Killed(Presence):
    """Effect: the process is gone and its control group counts a kill for want of memory."""

    def __init__(self, target: Target, recipe: GroupRecipe, headroom: int) -> None:
        super().__init__(target)
        self._recipe = recipe
        # Asked again and again, a process with far more room than the dose says is filled up in the end, too.
        self._asks_left = 2 + 2 * headroom // _BODY_BYTES
        # Under version 2 the limit also holds what the process had before, which nobody knows any more.
        self._limits = {} if cgroup.unified(recipe) else {"memory.limit_in_bytes": str(headroom)}

    def effective(self) -> Observation:
        said = self._ask() if self._asks_left > 0 else "it holds more than it has room for"
        self._asks_left -= 1
        found = super().effective()
        kills = cgroup.counters(self._recipe, "memory.oom_control").get("oom_kill", 0)
        kills += cgroup.counters(self._recipe, "memory.events").get("oom_kill", 0)
        other = cgroup.set_otherwise(self._recipe, self._limits)
        text = f"{found.evidence} ({said}); {kills} kills for want of memory" + (f", but {other}" if other else "")
        return Observation(found.holds and kills > 0 and not other, text, {**found.detail, "oom_kills": kills})

    def _ask(self) -> str:
        with self._target.client(1.0) as client:
            try:
                client.request("POST", "/api/v1/memories/remember", json={"content": 0, "tags": "x" * _BODY_BYTES})
            except TargetError as error:
                return error.what
        return "it still holds what it is asked to"


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * _PAGE
