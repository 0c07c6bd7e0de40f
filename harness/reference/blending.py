"""One list out of two pathways: weights, convergence, pattern completion."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reference.config import BlendedRecall
from harness.reference.space import Hits, Space
from harness.reference.spreading import Association, Semantic

_COMPLETION_DISCOUNT = 0.5


@dataclass(slots=True)
class Item:
    """One remembered thing in an answer."""

    slot: int
    similarity: float
    activation: float
    confidence: float
    path: str
    association: Association | None = None


@dataclass(slots=True)
class Blend:
    """The items, strongest first, and how they came about."""

    items: list[Item]
    convergent: int = 0
    completed: bool = False


def _confidence(space: Space, slot: int, activation: float) -> float:
    memory = space.at(slot)
    stored = memory.confidence if memory is not None else 0.0
    return min(1.0, activation * (0.5 + 0.5 * stored))


def episodic_items(space: Space, hits: Hits) -> list[Item]:
    """The episodic pathway's answer."""
    return [Item(slot, score, score, _confidence(space, slot, score), "episodic") for slot, score in hits]


def weights(settings: BlendedRecall, semantic_weight: float, quality: float) -> tuple[float, float]:
    """Episodic and semantic weight, summing to 1; adaptive ones trust the concepts as far as they fit the cue."""
    as_configured = semantic_weight == settings.base_semantic_weight
    episodic = settings.base_episodic_weight if as_configured else 1.0 - semantic_weight
    total = episodic + semantic_weight
    if total <= 0:
        return 1.0, 0.0
    share = semantic_weight / total
    if settings.adaptive_weighting:
        share *= quality
    return 1.0 - share, share


def blend(
    space: Space, hits: Hits, semantic: Semantic, settings: BlendedRecall, semantic_weight: float, threshold: float
) -> Blend:
    """Both pathways' findings; what the episodic pathway found never ranks lower for being looked at twice."""
    episodic_share, semantic_share = weights(settings, semantic_weight, semantic.quality)
    result = Blend(episodic_items(space, hits))
    seen = set()
    for item in result.items:
        seen.add(item.slot)
        other = semantic.found.get(item.slot)
        if other is not None:
            item.association, item.path = other, "convergent"
            mixed = episodic_share * item.similarity + semantic_share * other.activation
            item.activation = max(item.activation, min(1.0, mixed))
            boosted = _confidence(space, item.slot, item.activation) * settings.convergence_boost
            item.confidence = min(1.0, boosted)
            result.convergent += 1
    for slot, other in semantic.found.items():
        if slot not in seen and other.activation >= threshold and space.at(slot) is not None:
            activation = min(1.0, other.activation * semantic_share / max(episodic_share, semantic_share))
            confidence = _confidence(space, slot, activation)
            result.items.append(Item(slot, other.activation, activation, confidence, "semantic", other))
    result.items.sort(key=lambda item: -item.activation)
    return result


def complete(space: Space, result: Blend, semantic: Semantic, settings: BlendedRecall, limit: int) -> None:
    """Fill a poor answer with what the active concepts suggest."""
    poor = len(result.items) < settings.pattern_completion_min_results or (
        max((item.confidence for item in result.items), default=0.0) < settings.pattern_completion_min_confidence
    )
    if not settings.enable_pattern_completion or not poor:
        return
    seen = {item.slot for item in result.items}
    for slot, other in semantic.found.items():
        if len(result.items) >= limit:
            return
        if slot not in seen and space.at(slot) is not None:
            activation = min(1.0, other.activation) * _COMPLETION_DISCOUNT
            confidence = _confidence(space, slot, activation)
            result.items.append(Item(slot, other.activation, activation, confidence, "pattern_completion", other))
            result.completed = True
