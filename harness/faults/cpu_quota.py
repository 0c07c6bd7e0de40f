"""A processor quota: the process may run for a share of the time only (a container's CPU limit)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults import cgroup
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.path import crowd, travel
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import GroupRecipe
from harness.faults.witness import WitnessCue
from harness.probes.machine import run_delay_s, run_time_s
from harness.targets.base import Target

_PERIOD_US = 100_000
_WORK = "/metrics/prometheus"
_AT_ONCE = 16  # one after the other, what a busy machine lets us ask for is less than a tenth of a processor


@dataclass(frozen=True)
class CpuQuota(TargetFault):
    """At most ``quota_percent`` of one processor."""

    quota_percent: float
    kind: ClassVar[str] = "cpu_quota"
    requires: ClassVar[tuple[str, ...]] = ("process", "host.cgroup_cpu")
    slot: ClassVar[str] = "resource.cpu"
    longest_hold_s: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.quota_percent <= 100:
            raise UsageError(f"quota_percent must be from 1 to 100, not {self.quota_percent!r}")

    def describe(self) -> str:
        return f"{self.quota_percent:g} % of a processor"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        recipe = self._group(target)
        cgroup.confine(recipe, process_of(target), self._limits(recipe))

    def _limits(self, recipe: GroupRecipe) -> dict[str, str]:
        quota = int(self.quota_percent / 100.0 * _PERIOD_US)
        if cgroup.unified(recipe):
            return {"cpu.max": f"{quota} {_PERIOD_US}"}
        return {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(quota)}

    def differs(self, target: Target, client: EngramClient) -> str:
        recipe = self._group(target)
        return cgroup.set_otherwise(recipe, self._limits(recipe))

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (self._group(target),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Throttling(target, self._group(target))

    def _group(self, target: Target) -> GroupRecipe:
        return cgroup.group_of(self, "cpu", process_of(target))


class _Throttling(Observer):
    """Effect: the kernel counts periods in which the target's group had used up its quota. Healed: it is in no such
    group and answers.
    """

    def __init__(self, target: Target, recipe: GroupRecipe) -> None:
        self._target = target
        self._recipe = recipe
        self.patience_s = 10.0

    def baseline(self) -> dict[str, Any]:
        return travel(self._target.base_url).as_json()

    def effective(self) -> Observation:
        pid = process_of(self._target).pid
        ran, waited = run_time_s(pid) or 0.0, run_delay_s(pid) or 0.0
        # Something to do for it, until it has used its quota up.
        now = crowd(
            self._target.base_url,
            _WORK,
            travellers=_AT_ONCE,
            trips=10,
            timeout_s=5.0,
            until=lambda _: self._throttled() > 0,
        )
        ran, waited = (run_time_s(pid) or 0.0) - ran, (run_delay_s(pid) or 0.0) - waited
        stat = cgroup.counters(self._recipe, "cpu.stat")
        throttled = stat.get("nr_throttled", 0)
        inside = pid in cgroup.members(self._recipe)
        detail = {**now.as_json(), **stat, "inside": inside}
        text = f"throttled in {throttled} periods"
        if not throttled:  # where it has no processor either, the quota does nothing
            text += f"; at work it ran for {ran * 1e3:.0f} ms and waited for a processor for {waited * 1e3:.0f} ms"
        return Observation(inside and throttled > 0, text, detail)

    def _throttled(self) -> int:
        return cgroup.counters(self._recipe, "cpu.stat").get("nr_throttled", 0)

    def healed(self) -> Observation:
        if self._recipe.there():
            return Observation(False, "the control group is still there")
        now = travel(self._target.base_url, trips=3, timeout_s=2.0)
        if not self._target.alive():
            raise TargetError("the target is gone", where=self._target.base_url)
        return Observation(now.share("answered") == 1.0, "the quota is gone, every trip is answered", now.as_json())
