"""The read-back: what is missing is said to be missing, and what does not answer ends with the deadline."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from harness.load import LoadPlan, LoadSupervisor
from harness.load.plan import ProcessPlan
from harness.load.recording import SampleWriter
from harness.load.verify import VerifySummary, acknowledged_pairs, recent_pairs
from harness.model import Op, Outcome
from harness.timeline.jsonl import read_lines
from harness.timeline.samples import DTYPE, read_samples
from tests.load.servers import Peer, RawServer, always, answer, small_workload, stub


def _acknowledged(folder: Path, pairs: list[tuple[int, int]], outcome: Outcome = Outcome.OK) -> None:
    """A sample file in which each (space, item) was stored with ``outcome``."""
    folder.mkdir(exist_ok=True)
    writer = SampleWriter(folder / "requests-00.bin")
    for number, (space, item) in enumerate(pairs):
        row = dict.fromkeys(DTYPE.names or (), 0) | {"sequence": number, "item": item, "space": space}
        row |= {"op": int(Op.STORE), "outcome": int(outcome), "status": 201}
        writer.append(*row.values())
    writer.close()


def _verify(url: str, folder: Path, deadline_s: float) -> VerifySummary:
    plan = LoadPlan(small_workload(timeout_ms=300.0), url, 7, folder, 10.0)
    return LoadSupervisor(plan).verify(deadline_s=deadline_s)


def test_only_acknowledged_stores_are_expected(tmp_path: Path) -> None:
    _acknowledged(tmp_path, [(1, 5), (0, 9), (1, 5)])
    samples = read_samples(tmp_path / "requests-00.bin")
    assert acknowledged_pairs(samples) == [(0, 9), (1, 5)]
    _acknowledged(tmp_path, [(0, 1)], Outcome.TIMEOUT)
    assert acknowledged_pairs(read_samples(tmp_path / "requests-00.bin")) == []
    assert acknowledged_pairs(np.zeros(0, dtype=DTYPE)) == []


def test_of_what_a_crash_takes_first_the_latest_is_asked_for_first() -> None:
    rows = np.zeros(7, dtype=DTYPE)
    rows["op"], rows["outcome"] = int(Op.STORE), int(Outcome.OK)
    rows["item"] = [1, 2, 3, 4, 5, 6, 2]
    rows["done"] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0]
    rows["op"][2] = int(Op.DELETE)  # of what was never stored
    rows["outcome"][3] = int(Outcome.TIMEOUT)
    # Item 2 was written to after the instant, and item 6 only then.
    assert recent_pairs(rows, 5.0, 10) == [(0, 5), (0, 1)]
    assert recent_pairs(rows, 6.0, 10) == [(0, 6), (0, 5), (0, 1)]
    assert recent_pairs(rows, 6.0, 1) == [(0, 6)]
    rows["op"][4], rows["item"][4] = int(Op.DELETE), 1
    assert recent_pairs(rows, 5.0, 10) == [(0, 1)], "a delete is what must not come back"
    assert recent_pairs(rows[:0], 5.0, 10) == []


def test_what_a_crash_takes_first_is_read_beside_the_load(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    _acknowledged(folder, [(0, item) for item in range(5)])
    with stub(tmp_path) as (url, _), LoadSupervisor(LoadPlan(small_workload(), url, 7, folder, 10.0)) as load:
        read_recent = load.stand_by()
        asked_at = time.monotonic()
        summary = read_recent(asked_at)
    assert (summary.expected, summary.asked, summary.missing) == (5, 5, 5)
    lines = list(read_lines(folder / "recovered.jsonl"))
    assert [line["by"] for line in lines] == ["id"] * 5
    assert all(asked_at <= line["asked"] <= line["t"] for line in lines)
    assert not (folder / "verify.jsonl").exists()


def test_one_that_stands_by_ends_with_the_load(tmp_path: Path) -> None:
    with LoadSupervisor(LoadPlan(small_workload(), "http://127.0.0.1:9", 7, tmp_path, 10.0)) as load:
        load.stand_by()
        standing = load._standing
        assert standing is not None and standing.popen.poll() is None
    assert standing.popen.poll() is not None


def test_what_a_target_forgot_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    _acknowledged(folder, [(0, item) for item in range(5)])
    with stub(tmp_path) as (url, _):
        summary = _verify(url, folder, 10.0)
    assert (summary.expected, summary.asked, summary.missing) == (10, 10, 10)
    lines = list(read_lines(folder / "verify.jsonl"))
    by_id = [line for line in lines if line["by"] == "id"]
    assert [line["status"] for line in by_id] == [404] * 5
    assert {line["seen_version"] for line in lines} == {None}


@pytest.mark.parametrize("reply", [answer(b"{}", b"503 Service Unavailable"), b""])
def test_a_target_that_never_answers_ends_with_the_deadline(tmp_path: Path, reply: bytes) -> None:
    folder = tmp_path / "samples"
    _acknowledged(folder, [(0, item) for item in range(3)])
    with RawServer(always(reply)) as server:
        start = time.monotonic()
        summary = _verify(server.url, folder, 1.0)
        assert time.monotonic() - start < 8.0
    assert (summary.asked, summary.unanswered) == (6, 6)
    assert len(list(read_lines(folder / "verify.jsonl"))) == 6


def test_a_target_that_comes_back_in_time_is_read(tmp_path: Path) -> None:
    answered: list[bytes] = []

    def reply(request: bytes) -> bytes:
        answered.append(request)
        if len(answered) < 3:
            return answer(b'{"error":{}}', b"503 Service Unavailable")
        return answer(b'{"id":"m-00002","content":"m-00002 v4 s0 w","memories":{"vivid":[]}}')

    folder = tmp_path / "samples"
    _acknowledged(folder, [(0, 2)])

    def behave(peer: Peer) -> None:

        while request := peer.request():
            peer.send(reply(request))

    with RawServer(behave) as server:
        summary = _verify(server.url, folder, 10.0)
    assert (summary.found, summary.missing) == (1, 1)
    [by_id] = [line for line in read_lines(folder / "verify.jsonl") if line["by"] == "id"]
    assert (by_id["seen_item"], by_id["seen_version"], by_id["status"]) == (2, 4, 200)


def test_a_plan_survives_the_way_through_json(tmp_path: Path) -> None:
    plan = LoadPlan(small_workload(), "http://127.0.0.1:1", 7, tmp_path, 10.0, processes=2).for_process(1)
    assert ProcessPlan.from_json(plan.as_json()) == plan
