"""The checker as columns: deletes, leaks, duplicates, pieces, and what is said about each finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.judge.durability import BAD, Checker, ReadBack, around, moments_of
from harness.model import Op, Outcome
from harness.timeline.jsonl import dump_line
from harness.timeline.samples import DTYPE, MAGIC, Samples
from harness.timeline.writes import read_seen, read_writes, seen_of, writes_of
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
