"""Reading answers: right ones, wrong ones, and what they say about themselves."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from harness.load.answers import Reading, read_answer
from harness.model import Cohort, Flag, Found, Op, Outcome, Pathway, SemanticMissing


def _entry(item: int, *, version: int = 1, space: int = 0, **more: Any) -> dict[str, Any]:
    name = f"m-{item:05d}"
    return {
        "id": name,
        "content": f"{name} v{version} s{space} some words",
        "confidence": {"value": 0.9, "category": "high"},
        "activation_level": 0.8,
        "similarity_score": 0.7,
        **more,
    }


def _recall(entries: list[Any], metadata: dict[str, Any] | None = None, *, status: int = 200) -> Reading:
    answer: dict[str, Any] = {"memories": {"vivid": entries[:1], "associated": entries[1:], "reconstructed": []}}
    if metadata is not None:
        answer["metadata"] = metadata
    return read_answer(Op.RECALL, status, json.dumps(answer).encode(), 5, 0, 0)


def test_a_recall_that_found_it() -> None:
    metadata = {
        "cohort": "treatment",
        "pathway": "blended",
        "semantic_missing": None,
        "bindings_filtered": 3,
        "convergent": 2,
        "pattern_completed": True,
    }
    reading = _recall([_entry(9), _entry(5, version=77)], metadata)
    assert reading == Reading(
        Outcome.OK,
        results=2,
        items=(9, 5),
        bindings_filtered=3,
        convergent=2,
        cohort=Cohort.CANARY,
        pathway=Pathway.BLENDED,
        semantic_missing=SemanticMissing.PRESENT,
        found=Found.YES,
        flags=Flag.PATTERN_COMPLETED,
        rank=2,
        version=77,
        answered=True,
    )


def test_a_recall_that_did_not_find_it_is_no_error() -> None:
    reading = _recall([_entry(9)], {"cohort": "control", "pathway": "episodic", "semantic_missing": "off"})
    assert (reading.outcome, reading.found, reading.rank) == (Outcome.OK, Found.NO, 0)
    assert (reading.cohort, reading.pathway) == (Cohort.CONTROL, Pathway.EPISODIC)
    assert reading.semantic_missing == SemanticMissing.OFF


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("timeout", SemanticMissing.TIMEOUT),
        ("failed", SemanticMissing.FAILED),
        ("breaker_open", SemanticMissing.BREAKER_OPEN),
        ("something new", SemanticMissing.OTHER),
        (17, SemanticMissing.OTHER),
    ],
)
def test_why_the_semantic_half_is_missing(reason: Any, expected: SemanticMissing) -> None:
    assert _recall([_entry(5)], {"semantic_missing": reason}).semantic_missing == expected


def test_without_metadata_nothing_is_claimed() -> None:
    reading = _recall([_entry(5)])
    assert (reading.cohort, reading.pathway, reading.semantic_missing) == (0, 0, SemanticMissing.UNKNOWN)


@pytest.mark.parametrize("strength", [-0.1, 1.5, None, "much", float("nan"), float("inf")])
def test_an_invalid_strength_is_flagged(strength: Any) -> None:
    reading = _recall([_entry(5, concept_id="c-1", binding_strength=strength)])
    assert reading.flags & Flag.INVALID_STRENGTH
    nested = _recall([_entry(5, bindings=[{"concept": "c-1", "strength": strength}])])
    assert nested.flags & Flag.INVALID_STRENGTH


def test_a_memory_bound_to_nothing_has_no_strength_to_be_invalid() -> None:
    assert not _recall([_entry(5, concept_id=None, binding_strength=None)]).flags
    assert not _recall([_entry(5, concept_id="c-1", binding_strength=0.5)]).flags


@pytest.mark.parametrize("key", ["confidence", "activation_level", "similarity_score"])
@pytest.mark.parametrize("value", [-0.01, 1.01, None, {"value": 2.0}, {"category": "high"}])
def test_an_invalid_confidence_is_flagged(key: str, value: Any) -> None:
    reading = _recall([_entry(5, **{key: value})])
    assert reading.flags == Flag.INVALID_CONFIDENCE
    assert reading.outcome == Outcome.OK


def test_nan_is_not_json_and_still_seen() -> None:
    reading = _recall([_entry(5, concept_id="c", binding_strength=float("nan"))])
    assert (reading.outcome, reading.found) == (Outcome.NOT_JSON, Found.YES)
    assert reading.flags & Flag.INVALID_STRENGTH


@pytest.mark.parametrize(
    "wrong",
    [
        _entry(5, space=1),
        {**_entry(5), "content": "m-00006 v1 s0 x"},
        {**_entry(5), "content": "something else"},
        _entry(9, space=1),
    ],
)
def test_memories_of_another_space_or_with_another_content_are_wrong_answers(wrong: dict[str, Any]) -> None:
    assert _recall([wrong]).outcome == Outcome.WRONG_ANSWER


def test_memories_of_others_may_stand_beside_ours() -> None:
    foreign = {"id": "note", "content": "hello", "confidence": 0.5}
    beside = _recall([foreign, _entry(5)])
    assert beside.items == (5,)
    assert beside._replace(items=(9, 5)) == _recall([_entry(9), _entry(5)])


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"7",
        b"{}",
        b'{"memories":[]}',
        b'{"memories":{"vivid":{}}}',
        b'{"memories":{"vivid":[7]}}',
        b'{"memories":{"vivid":[{"id":5,"content":"x"}]}}',
        b'{"memories":{"vivid":[{"id":"x"}]}}',
    ],
)
def test_wrong_shapes(body: bytes) -> None:
    assert read_answer(Op.RECALL, 200, body, 5, 0, 0).outcome == Outcome.WRONG_SHAPE


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe", b"[" * 100_000])
def test_not_json(body: bytes) -> None:
    for op in (Op.RECALL, Op.STORE, Op.READ, Op.PATTERN_COMPLETION):
        assert read_answer(op, 200, body, 5, 0, 0).outcome == Outcome.NOT_JSON


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (301, Outcome.UNEXPECTED_STATUS),
        (401, Outcome.HTTP_4XX),
        (404, Outcome.HTTP_4XX),
        (500, Outcome.HTTP_5XX),
        (503, Outcome.HTTP_5XX),
        (999, Outcome.UNEXPECTED_STATUS),
    ],
)
def test_statuses(status: int, outcome: Outcome) -> None:
    assert read_answer(Op.RECALL, status, b"{}", 5, 0, 0).outcome == outcome


def test_the_confidence_of_the_whole_answer_is_read() -> None:
    def read(**more: Any) -> Reading:
        body = json.dumps({"memories": {"vivid": [_entry(5)]}, **more}).encode()
        return read_answer(Op.EMBEDDING_SEARCH, 200, body, 5, 0, 0)

    assert read(recall_confidence={"value": 0.8, "category": "high"}).confidence == 0.8
    assert read(recall_confidence=1).confidence == 1.0  # a bare number serves, too
    for none in ({}, {"recall_confidence": None}):
        assert math.isnan(read(**none).confidence) and not read(**none).flags
    for bad in (1.2, -0.1, True, "high", {"category": "high"}, {"value": None}, {"value": 7}):
        reading = read(recall_confidence=bad)
        assert math.isnan(reading.confidence) and reading.flags == Flag.INVALID_CONFIDENCE, bad
    empty = read_answer(Op.RECALL, 200, b'{"memories":{},"recall_confidence":{"value":0}}', 5, 0, 0)
    assert (empty.answered, empty.items, empty.confidence) == (True, (), 0.0)
    assert not read_answer(Op.RECALL, 500, b"{}", 5, 0, 0).answered


def test_stores() -> None:
    good = b'{"memory_id":"m-00005","storage_confidence":{"value":0.9}}'
    assert read_answer(Op.STORE, 201, good, 5, 0, 12) == Reading(Outcome.OK, version=12)
    assert read_answer(Op.STORE, 201, good, 6, 0, 12).outcome == Outcome.WRONG_ANSWER
    assert read_answer(Op.STORE, 201, b"{}", 5, 0, 12).outcome == Outcome.WRONG_SHAPE
    assert read_answer(Op.STORE, 202, good, 5, 0, 12).outcome == Outcome.UNEXPECTED_STATUS
    odd = b'{"memory_id":"m-00005","storage_confidence":{"value":7}}'
    assert read_answer(Op.STORE, 201, odd, 5, 0, 12).flags == Flag.INVALID_CONFIDENCE


def test_reads() -> None:
    good = json.dumps(_entry(5, version=3)).encode()
    reading = read_answer(Op.READ, 200, good, 5, 0, 0)
    assert (reading.outcome, reading.found, reading.version) == (Outcome.OK, Found.YES, 3)
    assert read_answer(Op.READ, 200, good, 6, 0, 0).outcome == Outcome.WRONG_ANSWER
    assert read_answer(Op.READ, 200, good, 5, 1, 0).outcome == Outcome.WRONG_ANSWER
    assert read_answer(Op.READ, 404, b"{}", 5, 0, 0).found == Found.NO


def test_a_weak_cue_is_an_answer_and_not_an_error() -> None:
    reading = read_answer(Op.PATTERN_COMPLETION, 422, b'{"error":{}}', 5, 0, 0)
    assert (reading.outcome, reading.found) == (Outcome.OK, Found.NO)
    assert read_answer(Op.PATTERN_COMPLETION, 200, b"{}", 5, 0, 0).outcome == Outcome.OK


def test_counts_are_bounded_as_samples_are() -> None:
    reading = _recall([_entry(5)], {"bindings_filtered": 10**9, "convergent": ["a", "b"]})
    assert (reading.bindings_filtered, reading.convergent) == (0xFFFF, 2)
    assert _recall([_entry(5)], {"bindings_filtered": -4, "convergent": True}).convergent == 0
