"""Acknowledged memories: every class of what a read-back can find, and what concurrency may excuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.judge.case import judge_case
from harness.judge.checks import answer, check_from_json
from harness.judge.durability import acceptable_versions
from harness.judge.summary import CaseSummary
from harness.model import Op, Outcome, Verdict
from harness.timeline.samples import DTYPE, Samples
from tests.cases import build, check


def stores(*rows: tuple[int, float, float, Outcome]) -> Samples:
    """Stores of one item: (version, sent, done, outcome)."""
    found: Samples = np.zeros(len(rows), dtype=DTYPE)
    found["op"] = int(Op.STORE)
    for place, (version, sent, done, outcome) in enumerate(rows):
        found["version"][place], found["sent"][place], found["done"][place] = version, sent, done
        found["outcome"][place] = int(outcome)
    return found


def allowed(*rows: tuple[int, float, float, Outcome]) -> set[int]:
    return acceptable_versions(stores(*rows)).get((0, 0), set())


def test_only_the_last_of_two_writes_one_after_the_other_may_be_seen() -> None:
    assert allowed((1, 0.0, 1.0, Outcome.OK), (2, 2.0, 3.0, Outcome.OK)) == {2}


def test_either_of_two_writes_that_overlap_may_be_seen() -> None:
    assert allowed((1, 0.0, 2.5, Outcome.OK), (2, 2.0, 3.0, Outcome.OK)) == {1, 2}


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.RESET, Outcome.HTTP_5XX])
def test_a_write_that_was_never_acknowledged_may_be_seen_or_not(outcome: Outcome) -> None:
    assert allowed((1, 0.0, 1.0, Outcome.OK), (2, 2.0, 3.0, outcome)) == {1, 2}
    # It may even have been applied after a later one.
    assert allowed((1, 0.0, 1.0, outcome), (2, 2.0, 3.0, Outcome.OK)) == {1, 2}


def test_a_memory_that_was_never_acknowledged_is_not_asked_for() -> None:
    assert acceptable_versions(stores((1, 0.0, 1.0, Outcome.TIMEOUT))) == {}


def test_a_write_sent_before_a_slow_one_but_acknowledged_first_is_superseded_only_if_certain() -> None:
    assert allowed((1, 0.0, 1.0, Outcome.OK), (2, 0.5, 9.0, Outcome.OK), (3, 5.0, 6.0, Outcome.OK)) == {2, 3}


@pytest.mark.parametrize("kind", ["lost", "stale", "corrupted", "misplaced", "unrecallable"])
def test_each_class_is_counted_with_examples(kind: str) -> None:
    knobs: dict[str, Any] = {kind: 3}
    found = CaseSummary(build(**knobs).record).read_back
    others = {"lost", "stale", "corrupted", "misplaced", "unrecallable", "unreachable"} - {kind}
    assert getattr(found, kind) == 3
    assert all(getattr(found, other) == 0 for other in others)
    assert len(found.examples[kind]) == 3
    assert found.checked == found.acknowledged == 600


def _lost(summary: CaseSummary) -> Verdict:
    return answer(summary, check_from_json(check("case", "acknowledged_memories.lost", "==", 0))).verdict


def test_what_was_not_read_back_may_be_lost() -> None:
    assert _lost(CaseSummary(build().record)) is Verdict.PASS
    assert _lost(CaseSummary(build(unreachable=1).record)) is Verdict.INCONCLUSIVE
    assert _lost(CaseSummary(build(unreachable=1, lost=1).record)) is Verdict.FAIL


def test_a_memory_nobody_read_back_is_unreachable() -> None:
    built = build()
    record = built.record
    cut = type(record)(**{**record.__dict__, "read_back": record.read_back[:10]})
    assert CaseSummary(cut).read_back.unreachable == 590
    none = type(record)(**{**record.__dict__, "read_back": ()})
    assert _lost(CaseSummary(none)) is not Verdict.PASS


@pytest.mark.parametrize("kind", ["lost", "stale", "corrupted", "misplaced"])
def test_a_bad_memory_fails_a_drill_that_never_asked(kind: str) -> None:
    knobs: dict[str, Any] = {kind: 1}
    found = judge_case(build(checks=(check("during", "error_rate", "<=", "error_rate"),), **knobs).record)
    assert found.verdict is Verdict.FAIL
    assert any(kind in reason for reason in found.reasons)
