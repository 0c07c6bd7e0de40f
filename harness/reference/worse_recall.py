"""Defects of recall quality: what they do to an answer before it is written out."""

from __future__ import annotations

from harness.reference.blending import Blend, Item
from harness.reference.defects import Defects
from harness.reference.space import Hits, Space
from harness.reference.wire import category


def overlooked(hits: Hits, defects: Defects) -> Hits:
    """The nearest memories, without those that an index of poor quality does not find."""
    if not defects.on("recall_misses"):
        return hits
    return [hit for hit in hits if not defects.strikes("recall_misses")]


def spoil(space: Space, result: Blend, defects: Defects) -> None:
    """Spoil a blended answer as the defects in force say."""
    if not defects.any:
        return
    if defects.on("partial_cue_no_gain"):
        result.items = [item for item in result.items if item.path in ("episodic", "convergent")]
        result.completed = False
    if defects.on("convergence_lost"):
        result.convergent = 0
        for item in result.items:
            item.path = "episodic" if item.path == "convergent" else item.path
    if defects.strikes("completion_overused"):
        result.completed = True
    if defects.on("quality_overlap"):
        result.items = [_other(space, result, item, defects) for item in result.items]


def confidence_of(best: float, cohort: str, defects: Defects) -> dict[str, object]:
    """``recall_confidence``, how sure the answer as a whole is; nothing where a defect leaves it out."""
    if defects.on("confidence_gone"):
        return {}
    if cohort == "canary" and defects.on("canary_unsure"):
        best *= 1.0 - defects.magnitude("canary_unsure")
    return {"recall_confidence": {"value": best, "category": category(best)}}


def _other(space: Space, result: Blend, item: Item, defects: Defects) -> Item:
    """Now and then, another memory of the space in the place of the one that was found."""
    if not defects.strikes("quality_overlap"):
        return item
    taken = {other.slot for other in result.items}
    slots = [slot for slot in range(len(space)) if slot not in taken and space.at(slot) is not None]
    if not slots:
        return item
    slot = slots[int(defects.fraction() * len(slots))]
    return Item(slot, item.similarity, item.activation, item.confidence, item.path)
