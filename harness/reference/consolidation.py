"""Consolidation: every interval, turn what changed since the last successful run into concepts and bindings."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from harness.reference.clustering import Cluster, Job, Plan, make_plan
from harness.reference.core import Core
from harness.reference.space import Space

_log = logging.getLogger("engram.reference")
_SLICE_S = 0.001
_FIRST_RUN_WITHIN_S = 1.0


@dataclass(slots=True)
class RunStats:
    """Runs so far."""

    succeeded: int = 0
    failed: int = 0
    last_run: float | None = None
    last_success: float | None = None
    last_failed: bool = False


class _InjectedFailureError(Exception):
    """A run that chaos has drawn to fail."""


class Consolidator:
    """Runs in the background of the event loop; the arithmetic is done in a thread of its own."""

    def __init__(self, core: Core) -> None:
        self.stats = RunStats()
        self._core = core
        self._settings = core.config.consolidation
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="consolidation")
        self._ever_failed = False
        self._beliefs: dict[str, list[dict[str, object]]] = {}

    async def run_forever(self) -> None:
        """Run every interval until cancelled; a run that takes longer delays the next, it does not pile up."""
        interval_s = self._settings.interval_s
        due = time.monotonic() + min(interval_s, _FIRST_RUN_WITHIN_S)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            wanted = self._settings.enable_concept_formation and self._core.flags.in_force.dual_memory_types
            if wanted and not self._stopped():
                await self.run_once()
            due = max(due + interval_s, time.monotonic())

    def _stopped(self) -> bool:
        """Whether it has stopped for good (a defect)."""
        defects = self._core.defects
        if not defects.on("consolidation_stops"):
            return False
        return time.monotonic() - self._core.started > defects.magnitude("consolidation_stops")

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=True)

    async def run_once(self) -> bool:
        """One run over all spaces; a failed one counts, and leaves everything to the next."""
        core, start = self._core, time.monotonic()
        try:
            self._draw()
            for space in list(core.store.spaces.values()):
                await self._consolidate(space)
        except _InjectedFailureError:
            failed = True
        except Exception:  # noqa: BLE001 - logged with its traceback and counted; the next run tries again
            _log.exception("a consolidation run failed")
            failed = True
        else:
            failed = False
        self._count(failed, start)
        return not failed

    def report(self, space: str, limit: int) -> dict[str, object]:
        """What ``GET /api/v1/consolidations`` answers: runs and totals, and the largest concepts of ``space``."""
        stats, now, spaces = self.stats, time.monotonic(), self._core.store.spaces.values()
        return {
            "beliefs": self._beliefs.get(space, [])[:limit],
            "stats": {
                "successful_consolidations": stats.succeeded,
                "failed_consolidations": stats.failed,
                "total_runs": stats.succeeded + stats.failed,
                "last_run_age_s": None if stats.last_run is None else round(now - stats.last_run, 4),
                "last_success_age_s": None if stats.last_success is None else round(now - stats.last_success, 4),
                "interval_s": self._settings.interval_s,
                "concepts": sum(len(space.concepts) for space in spaces),
                "bindings": sum(len(space.bindings) for space in spaces),
            },
        }

    def freshness_s(self) -> float:
        """Seconds since the last successful run, or since the start when there was none."""
        last = self.stats.last_success
        return time.monotonic() - (self._core.started if last is None else last)

    def _draw(self) -> None:
        defects = self._core.defects
        stuck = self._ever_failed and defects.on("consolidation_never_resumes")
        if self._core.chaos.consolidation_fails() or stuck or defects.strikes("consolidation_fails"):
            self._ever_failed = True
            raise _InjectedFailureError

    def _count(self, failed: bool, start: float) -> None:
        core, stats, now = self._core, self.stats, time.monotonic()
        stats.last_run, stats.last_failed = now, failed
        core.metrics.runs.inc()
        core.metrics.run_duration.observe(now - start)
        if failed and not core.defects.on("failures_not_counted"):
            stats.failed += 1
            core.metrics.run_failures.inc()
        else:
            stats.succeeded += 1
            stats.last_success = now

    async def _consolidate(self, space: Space) -> None:
        self._audit(space)
        if not space.dirty and not space.concepts.touched:
            return
        job = self._job(space)
        touched, space.concepts.touched = space.concepts.touched, set()
        try:
            plan = await asyncio.get_running_loop().run_in_executor(self._thread, make_plan, job, self._settings)
            await self._apply(space, job, plan)
        except BaseException:
            space.concepts.touched |= touched
            raise
        space.concepts.refresh()
        self._summarise(space)

    def _audit(self, space: Space) -> None:
        """Count what is invalid in the index, and the concepts that are the worse for it."""
        invalid = space.bindings.invalid_rows()
        if len(invalid) and not self._core.defects.on("quality_counter_silent"):
            self._core.metrics.binding_violations.inc(len(invalid))
            self._core.metrics.concept_violations.inc(len(np.unique(space.bindings.concept[invalid])))

    def _job(self, space: Space) -> Job:
        dirty = list(space.dirty)
        bindings, table = space.bindings, space.concepts.by_number
        changing = space.concepts.touched.union(*(bindings.concepts_of(slot) for slot in dirty)) & table.keys()
        # A concept that only gains members is not known yet, so all are handed over when anything may join them.
        concerned = table.keys() if dirty else changing
        return Job(
            units=space.units,
            dirty=dirty,
            stamps=[space.stamps[slot] for slot in dirty],
            pool=list(space.concepts.unassigned),
            numbers=space.concepts.view.numbers.tolist(),
            centroids=space.concepts.view.centroids,
            members={c: list(bindings.members_of(c)) for c in concerned},
            changing=changing,
        )

    async def _apply(self, space: Space, job: Job, plan: Plan) -> None:
        """Carry the plan out in slices, so that no request waits for more than one of them."""
        stamps = dict(zip(job.dirty, job.stamps, strict=True))
        slice_end = time.monotonic() + _SLICE_S
        metrics = self._core.metrics
        for slot, wanted in plan.assigned.items():
            if space.stamps[slot] == stamps[slot]:
                # Changed episodes stay dirty; so do those of a run that breaks off half-way.
                space.dirty.discard(slot)
                metrics.bindings_created.inc(space.bindings.rebind(slot, wanted))
                (space.concepts.unassigned.discard if wanted else space.concepts.unassigned.add)(slot)
            slice_end = await _breathe(slice_end)
        for cluster in plan.clusters:
            self._form(space, cluster, stamps)
            slice_end = await _breathe(slice_end)
        for number, (centroid, coherence) in plan.updated.items():
            concept = space.concepts.by_number[number]
            concept.centroid, concept.coherence = centroid, self._told(coherence)
            concept.size = len(space.bindings.members_of(number))
        for number, incoherent in plan.weakened.items():
            metrics.concept_violations.inc(int(incoherent))
            slots = space.bindings.dissolve(number)
            space.dirty.update(slots)
            space.concepts.by_number.pop(number, None)
            slice_end = await _breathe(slice_end)

    def _form(self, space: Space, cluster: Cluster, stamps: dict[int, int]) -> None:
        still = [
            (slot, strength)
            for slot, strength in zip(cluster.slots, cluster.strengths, strict=True)
            if space.at(slot) is not None
            and space.stamps[slot] == stamps.get(slot, space.stamps[slot])
            and not space.bindings.concepts_of(slot)
            and strength >= self._settings.binding_prune_below
        ]
        if len(still) < self._settings.min_cluster_size:
            return
        coherence = self._told(cluster.coherence)
        concept = space.concepts.create(cluster.centroid, coherence, len(still))
        for slot, strength in still:
            space.bindings.rebind(slot, [(concept.number, strength)])
            space.concepts.unassigned.discard(slot)
        metrics = self._core.metrics
        metrics.concepts_formed.inc()
        metrics.bindings_created.inc(len(still))
        metrics.coherence_distribution.observe(coherence)

    def _told(self, coherence: float) -> float:
        """A concept's coherence, unless a defect says otherwise."""
        defects = self._core.defects
        return coherence * defects.magnitude("coherence_low") if defects.on("coherence_low") else coherence

    def _summarise(self, space: Space) -> None:
        concepts = sorted(space.concepts.by_number.values(), key=lambda c: -c.size)
        self._beliefs[space.name] = [
            {"concept_id": c.id, "coherence": round(c.coherence, 4), "episodes": c.size} for c in concepts
        ]


async def _breathe(slice_end: float) -> float:
    """Let requests in when the slice is used up; answers when the present slice ends."""
    if time.monotonic() < slice_end:
        return slice_end
    await asyncio.sleep(0)
    return time.monotonic() + _SLICE_S
