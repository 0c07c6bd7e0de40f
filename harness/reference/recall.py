"""Recall: the episodic pathway always, the semantic one beside it under its budget."""

from __future__ import annotations

import asyncio
import math
import os
import time
from dataclasses import dataclass, field

from harness.reference import worse_recall
from harness.reference.blending import Blend, blend, complete, episodic_items
from harness.reference.chaos import LATENCY, SEMANTIC_LATENCY
from harness.reference.consolidation import Consolidator
from harness.reference.core import Core
from harness.reference.failures import ApiError, SemanticFailure
from harness.reference.flags import Flags, cohort_of
from harness.reference.memory import Vector
from harness.reference.metrics import moving
from harness.reference.space import Hits, Space
from harness.reference.spreading import Rules, Semantic, activate_by_hits, activate_by_vector, spread
from harness.reference.text import tokens


@dataclass(slots=True)
class Cue:
    """What a client asks with: words or a unit vector."""

    space: str
    user: str
    text: str | None
    vector: Vector | None
    limit: int
    threshold: float


@dataclass(slots=True)
class Recalled:
    """An answer before it is written out."""

    space: Space
    blend: Blend
    cohort: str
    pathway: str = "episodic"
    semantic_missing: str | None = "off"
    filtered: int = 0
    server_ms: float = 0.0


@dataclass(slots=True)
class _Recent:
    """Moving averages behind the gauges."""

    results: dict[str, float] = field(default_factory=lambda: {"canary": math.nan, "control": math.nan})
    overlap: dict[str, float] = field(default_factory=lambda: {"canary": math.nan, "control": math.nan})
    convergent: float = math.nan
    error_share: float = 0.0
    slow_share: float = 0.0
    last_error: float = 0.0
    """When a recall last failed, on the monotonic clock."""


SLO_S = 0.015
_REACH = 40


class Recaller:
    """Answers recalls and keeps their metrics."""

    def __init__(self, core: Core, consolidator: Consolidator) -> None:
        self._core = core
        self._consolidator = consolidator
        self.recent = _Recent()
        self._blended_seen = 0

    async def recall(self, cue: Cue) -> Recalled:
        """Answer one cue; raises ApiError, which only a defect can make happen for a valid one."""
        core, start = self._core, time.monotonic()
        flags = core.flags.serving()
        cohort = cohort_of(cue.user, flags, core.defects)
        types = flags.dual_memory_types or core.defects.on("combination_ignored")
        blended = cohort == "canary" and flags.blended_recall and types
        error = True
        try:
            await self._misbehave(cohort, flags)
            recalled = await (self._blended(cue, start, flags) if blended else self._episodic(cue, cohort))
            error = False
        finally:
            duration_s = time.monotonic() - start
            self._account(cohort, duration_s, error=error, blended=blended)
        recalled.server_ms = duration_s * 1000.0
        self._truncate(recalled, flags)
        self.recent.results[cohort] = moving(self.recent.results[cohort], float(len(recalled.blend.items)))
        core.metrics.cohorts[cohort].results.set(self.recent.results[cohort])
        return recalled

    async def _episodic(self, cue: Cue, cohort: str) -> Recalled:
        space = self._core.store.peek(cue.space)
        if self._core.defects.on("latency_stays"):
            await self._slowed()
        return Recalled(space, Blend(episodic_items(space, self._hits(space, cue))), cohort)

    def _hits(self, space: Space, cue: Cue) -> Hits:
        if cue.vector is not None:
            hits = space.nearest(cue.vector, cue.limit, cue.threshold)
            return worse_recall.overlooked(hits, self._core.defects)
        found = space.lexicon.search(tokens(cue.text or ""), cue.limit)
        return [(slot, score) for slot, score in found if score >= cue.threshold]

    async def _blended(self, cue: Cue, start: float, flags: Flags) -> Recalled:
        core = self._core
        settings = core.config.blended_recall
        core.metrics.blended.inc()
        space = core.store.peek(cue.space)
        task = None
        if core.breaker.allows():
            task = asyncio.get_running_loop().create_task(self._semantic(space, cue, fan_effect=flags.fan_effect))
        hits = self._hits(space, cue)
        semantic, missing = await self._semantic_half(task, start)
        if core.defects.strikes("semantic_late"):
            semantic, missing = None, "timeout"
            core.metrics.timeouts.inc()
        recalled = Recalled(space, Blend([]), "canary", semantic_missing=missing)
        if semantic is None:
            if not core.defects.on("fallback_returns_nothing"):
                recalled.blend.items = episodic_items(space, hits)
        else:
            recalled.pathway = "blended"
            recalled.filtered = semantic.filtered
            self._count_quality(semantic)
            result = blend(space, hits, semantic, settings, flags.semantic_weight, cue.threshold)
            complete(space, result, semantic, settings, cue.limit)
            worse_recall.spoil(space, result, core.defects)
            del result.items[cue.limit :]
            recalled.blend = result
        self._sample(recalled, hits)
        await self._slowed()
        if core.defects.on("canary_slower"):
            await asyncio.sleep((time.monotonic() - start) * core.defects.magnitude("canary_slower"))
        return recalled

    async def _slowed(self) -> None:
        if (latency_ms := self._core.chaos.value(LATENCY)) > 0:
            await asyncio.sleep(latency_ms / 1000.0)

    async def _semantic(self, space: Space, cue: Cue, *, fan_effect: bool) -> Semantic:
        """The semantic pathway; injected latency is spent here, beside the episodic pathway."""
        core = self._core
        if (latency_ms := core.chaos.value(SEMANTIC_LATENCY)) > 0:
            if core.defects.on("episodic_pathway_blocked"):
                time.sleep(min(latency_ms, core.defects.magnitude("episodic_pathway_blocked")) / 1000.0)
            await asyncio.sleep(latency_ms / 1000.0)
        rules = Rules(core.config.blended_recall, fan_effect, core.defects.on("corrupted_bindings_served"))
        semantic = Semantic()
        if cue.vector is not None:
            active = activate_by_vector(space, cue.vector, rules)
        else:
            seeds = space.lexicon.search(tokens(cue.text or ""), cue.limit)
            active = activate_by_hits(space, seeds, rules, semantic)
        spread(space, active, rules, semantic, max(2 * cue.limit, _REACH))
        return semantic

    async def _semantic_half(
        self, task: asyncio.Task[Semantic] | None, start: float
    ) -> tuple[Semantic | None, str | None]:
        """What the pathway found, or why it is missing; its budget counts from the request's start."""
        core = self._core
        if task is None:
            return None, "breaker_open"
        # Its first step is due now. Without injected latency that is all of it, so a busy event loop, which delays
        # timers and task alike, cannot make a pathway late that never waited for anything.
        await asyncio.sleep(0)
        if not task.done():
            budget_s = core.config.blended_recall.semantic_timeout_ms / 1000.0 - (time.monotonic() - start)
            wait_s = None if core.defects.on("no_fallback") else max(0.0, budget_s)
            await asyncio.wait({task}, timeout=wait_s)
        if not task.done():
            task.cancel()
            if not core.defects.on("timeout_counter_stuck"):
                core.metrics.timeouts.inc()
            if core.defects.on("breaker_stuck_open"):
                core.breaker.stick()
            if core.defects.on("semantic_timeout_answers_500"):
                raise ApiError(500, "semantic_timeout", "the semantic pathway did not answer in time")
            return None, "timeout"
        try:
            semantic = task.result()
        except SemanticFailure:
            core.metrics.semantic_failures.inc()
            core.breaker.failed()
            return None, "failed"
        core.breaker.succeeded()
        return semantic, None

    def _count_quality(self, semantic: Semantic) -> None:
        metrics = self._core.metrics
        if semantic.filtered and not self._core.defects.on("quality_counter_silent"):
            metrics.binding_violations.inc(semantic.filtered)
        if semantic.penalties:
            metrics.fan_penalties.inc(semantic.penalties)
            metrics.fan_penalty_sum.inc(semantic.penalty_sum)

    def _sample(self, recalled: Recalled, hits: Hits) -> None:
        """Count what the blend did; now and then, compare it with what the episodic pathway alone would answer."""
        metrics, recent, result = self._core.metrics, self.recent, recalled.blend
        if result.convergent:
            metrics.convergent.inc()
        if result.completed:
            metrics.completed.inc()
        recent.convergent = moving(recent.convergent, 1.0 if result.convergent else 0.0)
        metrics.convergent_ratio.set(recent.convergent)
        if recalled.pathway != "blended":
            return
        self._blended_seen += 1
        if hits and self._blended_seen % self._core.config.blended_recall.topk_overlap_sample_every == 0:
            answered = {item.slot for item in result.items}
            overlap = sum(slot in answered for slot, _ in hits) / len(hits)
            recent.overlap["canary"] = moving(recent.overlap["canary"], overlap)
            metrics.cohorts["canary"].overlap.set(recent.overlap["canary"])

    def _account(self, cohort: str, duration_s: float, *, error: bool, blended: bool) -> None:
        core, recent = self._core, self.recent
        metrics, reported_s = core.metrics, core.metrics.reported_s(duration_s)
        counters = metrics.cohorts[cohort]
        counters.recalls.inc()
        counters.duration.observe(reported_s)
        if blended:
            metrics.blended_duration.observe(reported_s)
        if error and not core.defects.on("errors_counter_silent"):
            counters.errors.inc()
        if error:
            recent.last_error = time.monotonic()
        recent.error_share = moving(recent.error_share, float(error))
        recent.slow_share = moving(recent.slow_share, float(duration_s > SLO_S))

    async def _misbehave(self, cohort: str, flags: Flags) -> None:
        """Every defect that delays or fails a recall before it begins."""
        core, defects = self._core, self._core.defects
        if not defects.any:
            return
        delay_ms = 0.0
        if defects.on("slow_under_fault") and core.chaos.any_active:
            delay_ms += defects.magnitude("slow_under_fault")
        if defects.on("latency_drift"):
            delay_ms += defects.magnitude("latency_drift") * (time.monotonic() - core.started) / 60.0
        if cohort == "canary" and defects.on("canary_slow"):
            delay_ms += defects.magnitude("canary_slow")
        if delay_ms > 0:
            await asyncio.sleep(delay_ms / 1000.0)
        if defects.strikes("fd_leak"):
            os.open(os.devnull, os.O_RDONLY)
        if defects.strikes("error_rate") or (cohort == "canary" and defects.strikes("errors_one_cohort")):
            raise ApiError(500, "internal", "recall failed")
        if defects.on("error_creep"):
            minutes = (time.monotonic() - core.started) / 60.0
            if defects.draws(defects.magnitude("error_creep") * minutes):
                raise ApiError(500, "internal", "recall failed")
        self._break_combinations(flags)
        if core.chaos.any_active and defects.strikes("health_lies"):
            raise ApiError(503, "unavailable", "recall is unavailable", retry_after_s=1)
        if defects.on("consolidation_failure_leaks") and self._consolidator.stats.last_failed:
            raise ApiError(500, "consolidation_failed", "recall needs a consolidation that failed")

    def _break_combinations(self, flags: Flags) -> None:
        """Defects of certain flags."""
        defects = self._core.defects
        if defects.on("combination_answers_500") and flags.fan_effect and not flags.dual_memory_types:
            raise ApiError(500, "internal", "no bindings to spread over")
        if defects.on("migration_crashes_recall") and time.monotonic() - self._core.migrated < 1.0:
            raise ApiError(500, "internal", "memories are being migrated")

    def _truncate(self, recalled: Recalled, flags: Flags) -> None:
        core, items = self._core, recalled.blend.items
        if flags.dual_memory_types and core.defects.on("migration_reorders") and len(items) > 1:
            items[0], items[1] = items[1], items[0]
        if flags.dual_memory_types and core.defects.on("dual_deviates") and items:
            kept = len(items) - math.ceil(len(items) * core.defects.magnitude("dual_deviates"))
            del items[kept:]
        if core.defects.on("recall_truncated") and core.chaos.any_active:
            kept = math.floor(len(recalled.blend.items) * core.defects.magnitude("recall_truncated"))
            del recalled.blend.items[kept:]
