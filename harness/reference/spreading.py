"""Spreading activation: from a cue to concepts, and from concepts through bindings to episodes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from harness.reference.config import BlendedRecall
from harness.reference.failures import SemanticFailure
from harness.reference.memory import Vector
from harness.reference.space import Hits, Space

_SEEDS = 10
_CONCEPT_FAN_SLOPE = 0.1


@dataclass(slots=True)
class Association:
    """An episode reached through a concept."""

    activation: float
    strength: float
    concept: int


@dataclass(slots=True)
class Semantic:
    """What the semantic pathway found."""

    found: dict[int, Association] = field(default_factory=dict)
    """By episode slot, strongest first."""
    quality: float = 0.0
    """Mean coherence of the active concepts times the strongest activation, in [0, 1]."""
    filtered: int = 0
    """Invalid bindings met and passed over."""
    penalties: int = 0
    penalty_sum: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How activation spreads for one request."""

    settings: BlendedRecall
    fan_effect: bool
    serve_invalid: bool


def activate_by_vector(space: Space, cue: Vector, rules: Rules) -> dict[int, float]:
    """Concepts whose centroids resemble the unit vector ``cue``, with their activation in [0, 1]."""
    view = space.concepts.view
    if not len(view.numbers):
        return {}
    similarity = view.centroids @ cue
    if not np.isfinite(similarity).all():
        raise SemanticFailure("a concept has a centroid that is not finite")
    fit = (similarity >= rules.settings.concept_activation_floor) & (
        view.coherence >= rules.settings.min_concept_coherence
    )
    chosen = np.flatnonzero(fit)
    chosen = chosen[np.argsort(-similarity[chosen])][: rules.settings.max_concepts]
    return {int(view.numbers[i]): min(1.0, float(similarity[i])) for i in chosen}


def activate_by_hits(space: Space, hits: Hits, rules: Rules, semantic: Semantic) -> dict[int, float]:
    """Concepts that the memories sharing the cue's words are bound to: words have no centroid of their own."""
    active: dict[int, float] = {}
    table, strength = space.concepts.by_number, space.bindings.strength
    for slot, score in hits[:_SEEDS]:
        for concept, row in space.bindings.concepts_of(slot).items():
            bound = float(strength[row])
            if not 0.0 <= bound <= 1.0:
                if not rules.serve_invalid:
                    semantic.filtered += 1
                    continue
                bound = 1.0
            known = table.get(concept)
            if known is not None and known.coherence >= rules.settings.min_concept_coherence:
                active[concept] = max(active.get(concept, 0.0), score * bound)
    best = sorted(active.items(), key=lambda entry: -entry[1])
    return dict(best[: rules.settings.max_concepts])


def spread(space: Space, active: dict[int, float], rules: Rules, semantic: Semantic, limit: int) -> None:
    """Fill ``semantic`` with the ``limit`` episodes that ``active`` concepts reach most strongly."""
    if not active:
        return
    bindings = space.bindings
    parts = [bindings.rows_of(concept) for concept in active]
    sizes = [len(part) for part in parts]
    rows = np.concatenate(parts)
    activation = np.repeat(np.fromiter(active.values(), np.float64, len(active)), sizes)
    concept_fan = np.repeat(np.asarray(sizes, dtype=np.float64), sizes)
    strength = bindings.strength[rows]
    valid = (strength >= 0.0) & (strength <= 1.0)
    invalid = len(rows) - int(np.count_nonzero(valid))
    if invalid and not rules.serve_invalid:
        semantic.filtered += invalid
        rows, activation, strength = rows[valid], activation[valid], strength[valid]
        concept_fan = concept_fan[valid]
    slots = bindings.episode[rows]
    activation = activation * strength
    if rules.fan_effect and len(rows):
        factor = 1.0 / (np.sqrt(bindings.episode_fan[slots]) * (1.0 + _CONCEPT_FAN_SLOPE * np.log(concept_fan)))
        semantic.penalties = int(np.count_nonzero(factor < 1.0))
        semantic.penalty_sum = float(len(factor) - factor.sum())
        activation = activation * factor
    _collect(semantic, slots, activation, strength, bindings.concept[rows], limit)
    coherence = [space.concepts.by_number[c].coherence for c in active if c in space.concepts.by_number]
    if coherence:
        semantic.quality = sum(coherence) / len(coherence) * max(active.values())


def _collect(
    semantic: Semantic,
    slots: np.ndarray,
    activation: np.ndarray,
    strength: np.ndarray,
    concepts: np.ndarray,
    limit: int,
) -> None:
    order = np.argsort(-np.nan_to_num(activation, nan=0.0))
    order = order[: 3 * limit]  # an episode may be reached through several concepts; the strongest way counts
    for slot, active, strong, concept in zip(
        slots[order].tolist(),
        activation[order].tolist(),
        strength[order].tolist(),
        concepts[order].tolist(),
        strict=True,
    ):
        if slot not in semantic.found:
            if len(semantic.found) >= limit:
                return
            usable = active if math.isfinite(active) else 0.0
            semantic.found[slot] = Association(usable, strong, concept)
