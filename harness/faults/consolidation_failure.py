"""A share of the consolidation runs fails; recall must not notice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import ConsolidationStats, EngramClient
from harness.faults.base import Fault, Observation, Observer, chaos_recipe, listed_otherwise, require_share
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

_MISSED = 1e-4  # how often the effect may be missed for bad luck alone
_DEFAULT_INTERVAL_S = 300.0
_SLACK_S = 2.0
_SAME_RUN_S = 1e-3


@dataclass(frozen=True)
class ConsolidationFailure(Fault):
    """That share of consolidation runs fails."""

    fail_rate: float
    kind: ClassVar[str] = "consolidation_failure"
    requires: ClassVar[tuple[str, ...]] = ("chaos.consolidation", "consolidations")
    slot: ClassVar[str] = "consolidation.fail_rate"

    def __post_init__(self) -> None:
        require_share("fail_rate", self.fail_rate)

    def describe(self) -> str:
        return f"{self.fail_rate:.0%} of consolidation runs fail"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.chaos_consolidation_fail_rate(self.fail_rate, ttl_s=ttl_s)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (chaos_recipe(target, "consolidation/fail_rate", '{"fail_rate":0}', self.slot),)

    def differs(self, target: Target, client: EngramClient) -> str:
        return listed_otherwise(client, target, self.slot, self.fail_rate)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Runs(client, self.fail_rate)


class _Runs(Observer):
    """Effect: a run is counted as failed, or ran without becoming the last success. Healed: a run after the heal
    succeeded and none after it failed (a run under way at the heal may still fail, and is waited out).
    """

    def __init__(self, client: EngramClient, fail_rate: float) -> None:
        self._client = client
        self._fail_rate = fail_rate
        self._before: ConsolidationStats | None = None
        self._at_heal: ConsolidationStats | None = None

    def baseline(self) -> dict[str, Any]:
        self._before = before = self._client.consolidations()
        interval_s = before.interval_s or _DEFAULT_INTERVAL_S
        runs = 1 if self._fail_rate >= 1 else math.ceil(math.log(_MISSED) / math.log(1 - self._fail_rate))
        self.patience_s = interval_s * (runs + 1) + _SLACK_S
        return {"successful": before.successful, "failed": before.failed, "interval_s": interval_s}

    def heal_begins(self) -> None:
        self._at_heal = self._client.consolidations()

    def effective(self) -> Observation:
        now, before = self._client.consolidations(), self._before
        assert before is not None
        failed, ran = now.failed - before.failed, now.total_runs - before.total_runs
        detail = {"runs": ran, "failed": failed, "succeeded": now.successful - before.successful}
        if failed > 0:
            return Observation(True, f"{failed} of {ran} runs are counted as failed", detail)
        if ran > 0 and _last_failed(now):
            return Observation(True, "the last run was no success", detail)
        return Observation(False, f"{ran} runs since, none failed", detail)

    def healed(self) -> Observation:
        now, start = self._client.consolidations(), self._at_heal
        if start is None:
            self._at_heal = start = now
        succeeded, failed = now.successful - start.successful, now.failed - start.failed
        detail = {"succeeded": succeeded, "failed": failed}
        if failed > 0:
            self._at_heal = now
            return Observation(False, f"{failed} runs failed after the heal", detail)
        holds = succeeded > 0 and not _last_failed(now)
        return Observation(holds, f"{succeeded} runs succeeded after the heal, none failed", detail)


def _last_failed(stats: ConsolidationStats) -> bool:
    if stats.last_run_age_s is None:
        return False
    if stats.last_success_age_s is None:
        return stats.total_runs > 0
    return stats.last_success_age_s > stats.last_run_age_s + _SAME_RUN_S
