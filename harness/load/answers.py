"""Reading one answer: is it what was asked for, and what does it say about itself.

Pure and cheap, as it runs on the path of every request. ``Reading`` is what goes into the sample.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import orjson

from harness.load.payload import memory_id, parse_origin
from harness.model import Cohort, Flag, Found, Op, Outcome, Pathway, SemanticMissing


class Reading(NamedTuple):
    """What an answer turned out to be; the defaults say nothing."""

    outcome: int
    results: int = 0
    bindings_filtered: int = 0
    convergent: int = 0
    cohort: int = 0
    pathway: int = 0
    semantic_missing: int = int(SemanticMissing.UNKNOWN)
    found: int = 0
    flags: int = 0
    rank: int = 0
    version: int = 0
    items: tuple[int, ...] = ()  # of our memories among the results, in their order
    answered: bool = False  # a recall that was answered as one, with results or without
    confidence: float = math.nan  # of a recall's answer as a whole, 0 to 1; NaN where it bore none that can be one


_COHORTS = {"control": int(Cohort.CONTROL), "canary": int(Cohort.CANARY), "treatment": int(Cohort.CANARY)}
_PATHWAYS = {"episodic": int(Pathway.EPISODIC), "blended": int(Pathway.BLENDED)}
_MISSING = {
    None: int(SemanticMissing.PRESENT),
    "": int(SemanticMissing.PRESENT),
    "present": int(SemanticMissing.PRESENT),
    "none": int(SemanticMissing.PRESENT),
    "timeout": int(SemanticMissing.TIMEOUT),
    "failed": int(SemanticMissing.FAILED),
    "failure": int(SemanticMissing.FAILED),
    "error": int(SemanticMissing.FAILED),
    "breaker_open": int(SemanticMissing.BREAKER_OPEN),
    "breaker": int(SemanticMissing.BREAKER_OPEN),
    "off": int(SemanticMissing.OFF),
    "disabled": int(SemanticMissing.OFF),
    "control": int(SemanticMissing.OFF),
}
_BANDS = ("vivid", "associated", "reconstructed")
_STRENGTHS = ("strength", "binding_strength")
_CONFIDENCES = ("confidence", "activation_level", "similarity_score")
_WRONG_SHAPE = int(Outcome.WRONG_SHAPE)
_WRONG_ANSWER = int(Outcome.WRONG_ANSWER)
_NOT_JSON = int(Outcome.NOT_JSON)
_OK = int(Outcome.OK)
_WEAK_CUE = 422


def read_answer(op: int, status: int, body: bytes, item: int, space: int, version: int) -> Reading:
    """Judge the answer to one request about ``item`` in ``space`` (``version``: what a store wrote)."""
    if not 200 <= status < 300:
        return _by_status(op, status)
    try:
        answer = orjson.loads(body)
        strict = True
    except orjson.JSONDecodeError:
        # NaN and Infinity are not JSON, yet what they stand for must be seen: it may be a strength that was served.
        answer = _lenient(body)
        strict = False
    if not isinstance(answer, dict):
        return Reading(_WRONG_SHAPE if strict else _NOT_JSON)
    if op in (Op.RECALL, Op.EMBEDDING_SEARCH):
        reading = _recall(answer, item, space)
    elif op == Op.STORE:
        reading = _store(status, answer, item, version)
    elif op == Op.READ:
        reading = _read(answer, item, space)
    elif op == Op.DELETE:
        reading = Reading(_OK if answer.get("memory_id", memory_id(item)) == memory_id(item) else _WRONG_ANSWER)
    else:
        reading = _completion(answer)
    return reading if strict else reading._replace(outcome=_NOT_JSON)


def _by_status(op: int, status: int) -> Reading:
    if op == Op.PATTERN_COMPLETION and status == _WEAK_CUE:
        # A documented answer: the cue was too weak to complete. It is no error, and nothing was found.
        return Reading(_OK, found=int(Found.NO))
    if op == Op.DELETE and status == 404:
        # It was gone already, which is all that a delete asks for.
        return Reading(_OK, found=int(Found.NO))
    if 400 <= status < 500:
        found = int(Found.NO) if op == Op.READ and status == 404 else 0
        return Reading(int(Outcome.HTTP_4XX), found=found)
    return Reading(int(Outcome.HTTP_5XX if 500 <= status < 600 else Outcome.UNEXPECTED_STATUS))


def _lenient(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _store(status: int, answer: dict[str, Any], item: int, version: int) -> Reading:
    if status not in (200, 201):
        return Reading(int(Outcome.UNEXPECTED_STATUS))
    stored = answer.get("memory_id")
    if not isinstance(stored, str):
        return Reading(_WRONG_SHAPE)
    if stored != memory_id(item):
        return Reading(_WRONG_ANSWER)
    confidence = answer.get("storage_confidence")
    flags = 0 if confidence is None or _within(confidence) else int(Flag.INVALID_CONFIDENCE)
    return Reading(_OK, flags=flags, version=version)


def _read(answer: dict[str, Any], item: int, space: int) -> Reading:
    content = answer.get("content")
    if not isinstance(content, str) or not isinstance(answer.get("id"), str):
        return Reading(_WRONG_SHAPE)
    origin = parse_origin(content)
    if answer["id"] != memory_id(item) or origin is None or origin[0] != item or origin[2] != space:
        return Reading(_WRONG_ANSWER, results=1)
    return Reading(_OK, results=1, found=int(Found.YES), rank=1, version=origin[1])


def _completion(answer: dict[str, Any]) -> Reading:
    flags = int(Flag.INVALID_STRENGTH) if _bad_strength(answer) else 0
    return Reading(_OK, results=1, found=int(Found.NOT_ASKED), flags=flags)


def _recall(answer: dict[str, Any], item: int, space: int) -> Reading:
    memories = answer.get("memories")
    if not isinstance(memories, dict):
        return Reading(_WRONG_SHAPE)
    outcome, flags, place, rank, version = _OK, 0, 0, 0, 0
    wanted = memory_id(item)
    items: list[int] = []
    for band in _BANDS:
        entries = memories.get(band)
        if entries is None:
            continue
        if not isinstance(entries, list):
            return Reading(_WRONG_SHAPE)
        for entry in entries:
            place += 1
            if not isinstance(entry, dict):
                return Reading(_WRONG_SHAPE)
            name, content = entry.get("id"), entry.get("content")
            if not isinstance(name, str) or not isinstance(content, str):
                return Reading(_WRONG_SHAPE)
            flags |= _entry_flags(entry)
            origin = parse_origin(content)
            if origin is not None:
                items.append(origin[0])
            # Memories of others may live in the same target; those that bear our ids must hold what we wrote.
            if origin is not None and (origin[2] != space or name != memory_id(origin[0])):
                outcome = _WRONG_ANSWER
            if name == wanted and not rank:
                rank = place
                if origin is None:
                    outcome = _WRONG_ANSWER
                else:
                    version = origin[1]
    found = int(Found.YES if rank else Found.NO)
    sure, bad = _confidence(answer.get("recall_confidence"))
    reading = _with_metadata(answer.get("metadata"), outcome, flags | bad, place, found, rank, version)
    return reading._replace(items=tuple(items), answered=True, confidence=sure)


def _with_metadata(
    metadata: Any, outcome: int, flags: int, results: int, found: int, rank: int, version: int
) -> Reading:
    results = min(results, 0xFFFF)
    if not isinstance(metadata, dict):
        return Reading(outcome, results=results, found=found, flags=flags, rank=rank, version=version)
    if metadata.get("pattern_completed") is True:
        flags |= int(Flag.PATTERN_COMPLETED)
    missing = int(SemanticMissing.UNKNOWN)
    if "semantic_missing" in metadata:
        reason = metadata["semantic_missing"]
        known = reason is None or isinstance(reason, str)
        missing = _MISSING.get(reason, int(SemanticMissing.OTHER)) if known else int(SemanticMissing.OTHER)
    cohort, pathway = metadata.get("cohort"), metadata.get("pathway")
    return Reading(
        outcome,
        results,
        _small(metadata.get("bindings_filtered")),
        _small(metadata.get("convergent")),
        _COHORTS.get(cohort, 0) if isinstance(cohort, str) else 0,
        _PATHWAYS.get(pathway, 0) if isinstance(pathway, str) else 0,
        missing,
        found,
        flags,
        rank,
        version,
    )


def _entry_flags(entry: dict[str, Any]) -> int:
    flags = 0
    for key in _CONFIDENCES:
        if key in entry and not _within(entry[key]):
            flags = int(Flag.INVALID_CONFIDENCE)
            break
    if _bad_strength(entry):
        flags |= int(Flag.INVALID_STRENGTH)
    return flags


def _bad_strength(entry: dict[str, Any]) -> bool:
    """Whether a binding strength is served here that is no number in [0, 1].

    Null is how NaN often travels, so it is invalid too, unless the entry says that it is bound to no concept.
    """
    unbound = "concept_id" in entry and entry["concept_id"] is None
    for key in _STRENGTHS:
        if key in entry and not _within(entry[key]) and not (unbound and entry[key] is None):
            return True
    bindings = entry.get("bindings")
    if isinstance(bindings, list):
        return any(isinstance(binding, dict) and _bad_strength(binding) for binding in bindings)
    return False


def _within(value: Any) -> bool:
    """Whether ``value`` (or its ``value`` field) is a number in [0, 1]."""
    if isinstance(value, dict):
        value = value.get("value")
    return isinstance(value, int | float) and not math.isnan(value) and 0.0 <= value <= 1.0


def _confidence(value: Any) -> tuple[float, int]:
    """An answer's confidence as a whole, and a flag where one was given that is no number in [0, 1]; NaN without."""
    if value is None:
        return math.nan, 0
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool) or not _within(value):
        return math.nan, int(Flag.INVALID_CONFIDENCE)
    return float(value), 0


def _small(value: Any) -> int:
    """A count as a sample can hold it; a list counts its entries, anything else is 0."""
    if isinstance(value, list):
        value = len(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), 0xFFFF)
