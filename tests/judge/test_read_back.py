"""The checker as columns: deletes, leaks, duplicates, pieces, and what is said about each finding."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import RecordError
from harness.judge.durability import BAD, Checker, ReadBack, around, moments_of
from harness.judge.summary import CaseSummary
from harness.model import Op, Outcome
from harness.timeline.jsonl import dump_line
from harness.timeline.samples import DTYPE, MAGIC, Samples
from harness.timeline.writes import read_seen, read_writes, seen_of, writes_of
from tests.cases import build
from tests.judge import durability_scale

OK = Outcome.OK
Row = tuple[Op, int, float, float, Outcome]  # op, version, sent, done, outcome


def samples(*rows: Row, space: int = 0, item: int = 7) -> Samples:
    found: Samples = np.zeros(len(rows), dtype=DTYPE)
    for place, (op, version, sent, done, outcome) in enumerate(rows):
        found[place]["op"], found[place]["version"], found[place]["outcome"] = int(op), version, int(outcome)
        found[place]["sent"], found[place]["done"] = sent, done
    found["space"], found["item"] = space, item
    return found


def shown(**values: Any) -> dict[str, Any]:
    return {"by": "id", "space": 0, "item": 7, "status": 200, "seen_item": 7, "seen_version": 1, **values}


GONE = shown(status=404, seen_item=None, seen_version=None)
STORED: Row = (Op.STORE, 1, 0.0, 1.0, OK)
DELETED: Row = (Op.DELETE, 0, 2.0, 3.0, OK)
STORED_AGAIN: Row = (Op.STORE, 2, 4.0, 5.0, OK)


def judge(rows: list[Row], *seen: dict[str, Any]) -> ReadBack:
    checker = Checker(writes_of(samples(*rows)))
    checker.check(seen_of(seen))
    return checker.result()


def bad(found: ReadBack) -> dict[str, int]:
    return {name: getattr(found, name) for name in BAD if getattr(found, name)}


@pytest.mark.parametrize(
    ("rows", "seen", "wrong"),
    [
        ([STORED], shown(), {}),
        ([STORED], GONE, {"lost": 1}),
        ([STORED, DELETED], GONE, {}),
        ([STORED, DELETED], shown(), {"resurrected": 1}),
        ([STORED, DELETED, STORED_AGAIN], GONE, {"lost": 1}),
        ([STORED, DELETED, STORED_AGAIN], shown(seen_version=2), {}),
        ([STORED, DELETED, STORED_AGAIN], shown(), {"stale": 1}),
        # A delete that overlaps the store may have come before or after it.
        ([STORED, (Op.DELETE, 0, 0.5, 3.0, OK)], shown(), {}),
        ([STORED, (Op.DELETE, 0, 0.5, 3.0, OK)], GONE, {}),
        # One that was never acknowledged may have been done, then or later.
        ([STORED, (Op.DELETE, 0, 2.0, 3.0, Outcome.RESET)], GONE, {}),
        ([STORED, (Op.DELETE, 0, 2.0, 3.0, Outcome.RESET)], shown(), {}),
        # A store in flight at the crash may have been done after the delete.
        ([STORED, (Op.STORE, 2, 1.5, 9.0, Outcome.RESET), DELETED], shown(seen_version=2), {}),
        ([STORED], shown(seen_space=1), {"leaked": 1}),
        ([STORED], shown(seen_item=8), {"misplaced": 1}),
        ([STORED], shown(whole=False), {"corrupted": 1}),
        ([STORED], shown(seen_version=99), {"corrupted": 1}),
        ([STORED], shown(seen_version=2**40), {"corrupted": 1}),
    ],
)
def test_every_class_by_id(rows: list[Row], seen: dict[str, Any], wrong: dict[str, int]) -> None:
    found = judge(rows, seen)
    assert bad(found) == wrong
    assert (found.acknowledged, found.checked, found.unreachable) == (1, 1, 0)
    assert [finding["class"] for finding in found.findings] == list(wrong)


def test_a_recall_that_shows_it_twice_or_shows_strangers() -> None:
    recall = {"by": "embedding", "space": 0, "item": 7, "status": 200, "rank": 1}
    found = judge([STORED], shown(), recall | {"copies": 2}, recall | {"strangers": 1})
    assert bad(found) == {"duplicated": 1, "leaked": 1}
    assert judge([STORED], shown(), recall | {"rank": 0}).unrecallable == 1
    assert judge([STORED, DELETED], GONE, recall | {"rank": 0}).unrecallable == 0


def test_the_first_answer_counts_and_what_nobody_asked_about_is_unreachable() -> None:
    found = judge([STORED], GONE, shown())
    assert (found.lost, found.checked) == (1, 1)
    assert judge([STORED]).unreachable == 1
    assert judge([(Op.STORE, 1, 0.0, 1.0, Outcome.TIMEOUT)], GONE).acknowledged == 0


def test_a_version_sent_twice_is_allowed_where_either_sending_is() -> None:
    retried: list[Row] = [(Op.STORE, 1, 0.0, 1.0, Outcome.TIMEOUT), (Op.STORE, 1, 2.0, 3.0, OK)]
    assert bad(judge(retried, shown())) == {}


def test_a_finding_is_dated_by_what_was_done_to_the_target() -> None:
    events = [{"t": 9.0, "at": 1.5, "event": "inject_sent"}, {"t": 4.0, "event": "unrelated"}]
    ledger = [{"t": 0.25, "entry": "intent", "what": "process killed"}]
    checker = Checker(writes_of(samples(STORED)), moments_of(events, ledger))
    checker.check(seen_of([GONE]))
    found = checker.result()
    near = "0.750 s after ledger: intent process killed, 0.500 s before inject_sent"
    assert found.findings[0]["detail"] == f"404; acknowledged version 1; acknowledged {near}"
    assert found.findings[0]["acknowledged_t"] == 1.0
    assert around(1.0, ()) == ""


# A crash at 10.0, the questions from 20.0 to 21.0, and the last read-back at the end.
BEFORE_CRASH: Row = (Op.STORE, 2, 8.0, 9.0, OK)
AFTER_CRASH: Row = (Op.STORE, 3, 30.0, 31.0, OK)
LATEST = shown(seen_version=3)


def early(rows: list[Row], first: dict[str, Any], last: dict[str, Any], *more: dict[str, Any]) -> ReadBack:
    """A case whose memory was read right after the heal, and at the end."""
    recovered = tuple(row | {"asked": 20.0, "t": 21.0} for row in (first, *more))
    record = dataclasses.replace(build().record, samples=samples(*rows), recovered=recovered, read_back=(last,))
    return CaseSummary(record).read_back


@pytest.mark.parametrize(
    ("rows", "first", "wrong"),
    [
        ([STORED, BEFORE_CRASH, AFTER_CRASH], shown(seen_version=2), {}),
        ([STORED, BEFORE_CRASH, AFTER_CRASH], shown(), {"stale": 1}),
        ([STORED, BEFORE_CRASH, AFTER_CRASH], GONE, {"lost": 1}),
        ([STORED, DELETED, AFTER_CRASH], shown(), {"resurrected": 1}),
        ([STORED, DELETED, AFTER_CRASH], GONE, {}),
        # Nobody answered: nothing is known.
        ([STORED, BEFORE_CRASH, AFTER_CRASH], shown(status=0, seen_item=None, seen_version=None), {}),
        # In flight while it was asked: it may be shown or not, and so may a delete.
        ([STORED, (Op.STORE, 3, 20.5, 20.7, OK)], shown(seen_version=3), {}),
        ([STORED, (Op.STORE, 3, 19.9, 20.1, OK)], shown(), {}),
        ([STORED, (Op.DELETE, 0, 20.5, 20.6, OK), AFTER_CRASH], GONE, {}),
        ([STORED, (Op.STORE, 2, 19.0, 19.5, OK), AFTER_CRASH], shown(), {"stale": 1}),
        # Of what was sent after the last answer nothing can be shown.
        ([STORED, AFTER_CRASH], LATEST, {"corrupted": 1}),
    ],
)
def test_what_a_crash_took_is_seen_though_the_load_has_written_it_anew(
    rows: list[Row], first: dict[str, Any], wrong: dict[str, int]
) -> None:
    found = early(rows, first, LATEST)
    assert bad(found) == wrong
    assert [finding["class"] for finding in found.findings] == list(wrong)
    assert all("right after the heal" in text for texts in found.examples.values() for text in texts)
    assert (found.acknowledged, found.checked, found.unreachable) == (1, 1, 0)


def test_a_memory_that_is_wrong_at_both_times_counts_once_as_it_is_in_the_end() -> None:
    assert bad(early([STORED, BEFORE_CRASH], shown(), GONE)) == {"lost": 1}


def test_all_that_is_wrong_early_is_counted_though_few_are_kept() -> None:
    rows = np.concatenate([samples(STORED, AFTER_CRASH, item=item) for item in range(300)])
    recovered = tuple(GONE | {"item": item, "asked": 20.0, "t": 21.0} for item in range(300))
    last = tuple(LATEST | {"item": item, "seen_item": item} for item in range(300))
    record = dataclasses.replace(build().record, samples=rows, recovered=recovered, read_back=last)
    found = CaseSummary(record).read_back
    assert (found.lost, len(found.findings), len(found.examples["lost"])) == (300, 200, 5)


def test_a_row_of_the_early_read_back_that_is_none_is_a_broken_record() -> None:
    record = dataclasses.replace(build().record, recovered=({"t": 1.0},))
    with pytest.raises(RecordError, match="row of a read-back"):
        _ = CaseSummary(record).read_back


def test_what_is_lost_is_named_by_the_newest_that_was_acknowledged() -> None:
    unanswered: Row = (Op.STORE, 9, 8.0, 9.0, Outcome.RESET)
    found = judge([STORED, STORED_AGAIN, unanswered], shown())
    assert found.findings[0]["detail"] == "shows version 1; version 2, acknowledged since, is lost"


def test_columns_from_files_are_those_from_memory(tmp_path: Path) -> None:
    rows = samples(STORED, DELETED, (Op.RECALL, 0, 0.0, 1.0, OK))
    (tmp_path / "requests-00.bin").write_bytes(MAGIC + rows[:2].tobytes())
    (tmp_path / "requests-01.bin").write_bytes(MAGIC + rows[2:].tobytes() + b"torn")
    (tmp_path / "requests-02.bin").write_bytes(b"")
    found, expected = read_writes(tmp_path), writes_of(rows)
    assert (found.key == expected.key).all()
    assert len(found) == len(expected) == 2
    assert found.deletes.tolist() == [False, True]
    (tmp_path / "verify.jsonl").write_bytes(dump_line(GONE) + b'{"torn')
    pieces = list(read_seen(tmp_path / "verify.jsonl"))
    assert [len(piece) for piece in pieces] == [1]
    assert list(read_seen(tmp_path / "missing.jsonl")) == []


@pytest.mark.parametrize("each", [1, 2])
def test_many_writes_in_pieces(each: int, tmp_path: Path) -> None:
    durability_scale.write(tmp_path, each * 30_000, each)
    found = durability_scale.check(tmp_path)
    assert found["acknowledged"] == found["checked"] == 30_000
    assert (found["lost"], found["stale"]) == (1, 0)
