"""The arithmetic of consolidation: which episodes belong together. Runs in a worker thread, on numbers only.

The thread reads the vector table while the event loop may be replacing a row of it. A row read half-way is harmless:
its slot has been marked dirty again by then, the plan's entry for it is refused, and the next run looks anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.reference.config import Consolidation
from harness.reference.memory import Vector

_CHUNK = 256
_POOL_AT_MOST = 4096
_SECOND_CONCEPT_MARGIN = 0.1
_CONCEPTS_PER_EPISODE = 2

Matrix = NDArray[np.float32]


@dataclass(slots=True)
class Job:
    """What one run looks at in one space."""

    units: Matrix
    dirty: list[int]
    stamps: list[int]
    pool: list[int]
    """Slots that belonged nowhere before."""
    numbers: list[int]
    centroids: Matrix
    members: dict[int, list[int]]
    """Concepts that may gain or lose members, with the members they have now."""
    changing: set[int]
    """Concepts that have lost a member, or hold one that changed."""


@dataclass(slots=True)
class Cluster:
    """A concept to be: its members and their strengths."""

    slots: list[int]
    strengths: list[float]
    centroid: Vector
    coherence: float


@dataclass(slots=True)
class Plan:
    """What a run wants changed."""

    assigned: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    """Dirty slot -> (concept number, strength); an empty list for one that belongs nowhere."""
    clusters: list[Cluster] = field(default_factory=list)
    updated: dict[int, tuple[Vector, float]] = field(default_factory=dict)
    """Concept number -> new centroid and coherence."""
    weakened: dict[int, bool] = field(default_factory=dict)
    """Concepts that no longer hold together: too incoherent (True), or merely too small (False)."""


def make_plan(job: Job, settings: Consolidation) -> Plan:
    """Assign dirty episodes to concepts, gather the rest into new ones, and measure the concepts that changed."""
    plan = Plan()
    for start in range(0, len(job.dirty), _CHUNK):
        _assign(job, job.dirty[start : start + _CHUNK], plan, settings)
    _gather(job, plan, settings)
    _measure(job, plan, settings)
    return plan


def _assign(job: Job, slots: list[int], plan: Plan, settings: Consolidation) -> None:
    if not job.numbers:
        plan.assigned.update((slot, []) for slot in slots)
        return
    similarity = job.units[slots] @ job.centroids.T
    count = min(_CONCEPTS_PER_EPISODE, similarity.shape[1])
    best = np.argsort(-similarity, axis=1)[:, :count]
    strengths = np.take_along_axis(similarity, best, axis=1)
    enough = (strengths >= settings.similarity_threshold) & (strengths >= strengths[:, :1] - _SECOND_CONCEPT_MARGIN)
    enough &= strengths >= settings.binding_prune_below
    for slot, concepts, values, fits in zip(slots, best.tolist(), strengths.tolist(), enough.tolist(), strict=True):
        plan.assigned[slot] = [
            (job.numbers[c], min(1.0, value)) for c, value, fit in zip(concepts, values, fits, strict=True) if fit
        ]


def _gather(job: Job, plan: Plan, settings: Consolidation) -> None:
    """New concepts from what belongs nowhere; only newcomers can found one, the older have been compared before."""
    newcomers = [slot for slot, concepts in plan.assigned.items() if not concepts]
    if not newcomers:
        return
    fresh = set(newcomers)
    pool = np.array(newcomers + [s for s in job.pool if s not in fresh][:_POOL_AT_MOST], dtype=np.int64)
    vectors = job.units[pool]
    taken = np.zeros(len(pool), dtype=np.bool_)
    for start in range(0, len(newcomers), _CHUNK):
        stop = min(start + _CHUNK, len(newcomers))
        alike = vectors[start:stop] @ vectors.T >= settings.similarity_threshold
        for i in np.argsort(-alike.sum(axis=1)):
            if taken[start + i]:
                continue
            around = np.flatnonzero(alike[i] & ~taken)
            if len(around) < settings.min_cluster_size:
                continue
            cluster, kept = _cluster(pool, vectors, around, settings)
            if cluster is not None:
                taken[kept] = True
                plan.clusters.append(cluster)


def _centre(vectors: Matrix) -> Vector:
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    centre: Vector = mean / np.float32(length) if length > 0 else mean
    return centre


def _cluster(
    pool: NDArray[np.int64], vectors: Matrix, around: NDArray[np.int64], settings: Consolidation
) -> tuple[Cluster | None, NDArray[np.int64]]:
    similarity = vectors[around] @ _centre(vectors[around])
    kept = around[similarity >= settings.similarity_threshold]
    if len(kept) < settings.min_cluster_size:
        return None, kept
    centroid = _centre(vectors[kept])
    strengths = np.clip(vectors[kept] @ centroid, 0.0, 1.0)
    coherence = float(strengths.mean())
    if coherence < settings.concept_min_coherence:
        return None, kept
    return Cluster(pool[kept].tolist(), strengths.tolist(), centroid, coherence), kept


def _measure(job: Job, plan: Plan, settings: Consolidation) -> None:
    """New centroids of the concepts that gain or lose members in this plan or lost some before it."""
    joining: dict[int, list[int]] = {}
    for slot, concepts in plan.assigned.items():
        for concept, _ in concepts:
            joining.setdefault(concept, []).append(slot)
    moved = plan.assigned.keys()
    for concept, members in job.members.items():
        if concept not in job.changing and concept not in joining:
            continue
        slots = [slot for slot in members if slot not in moved] + joining.get(concept, [])
        if len(slots) < settings.min_cluster_size:
            plan.weakened[concept] = False
            continue
        vectors = job.units[slots]
        centroid = _centre(vectors)
        coherence = float(np.clip(vectors @ centroid, 0.0, 1.0).mean())
        if coherence < settings.concept_min_coherence:
            plan.weakened[concept] = True
        else:
            plan.updated[concept] = (centroid, coherence)
