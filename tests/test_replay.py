"""Replaying: the public build's traces read as they are, a recorded run sent again, and what is no trace refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.load.trace import PackedTrace, TraceArrivals, TraceRequests, pack_trace, read_trace_answer
from harness.model import Found, Op, Outcome
from harness.performance import Measurement
from harness.scenario import trace as trace_module
from harness.scenario.trace import read_trace
from tests.load.servers import stub

Json = dict[str, Any]


def vector(number: int, size: int = 768) -> list[float]:
    return [round(float(x), 4) for x in np.random.default_rng(number).standard_normal(size)]


def operation(number: int) -> Json:
    space = f"space_{number % 2}"
    return (
        {"type": "store", "memory": {"embedding": vector(number), "memory_space": space, "confidence": 0.75}},
        {"type": "recall", "cue": {"embedding": vector(number), "memory_space": space, "threshold": 0.6}},
        {"type": "embedding_search", "query": vector(number), "k": 7},
        {"type": "pattern_completion", "partial": vector(number, 384)},
    )[number % 4]


def trace_json(count: int = 8, every_ms: int = 25, start_ms: int = 1000) -> Json:
    rows = [{"timestamp_ms": start_ms + every_ms * i, "operation": operation(i)} for i in range(count)]
    return {"metadata": {"start_time": "x", "duration_seconds": 1, "total_operations": count}, "operations": rows}


def written(folder: Path, value: Json | str) -> Path:
    path = folder / "trace.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def packed(folder: Path, value: Json, speed: float = 1.0) -> PackedTrace:
    return pack_trace(read_trace(written(folder, value)), folder / "trace.bin", "a trace", speed=speed)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize("chunk", [7, 1000, 1 << 20])
def test_a_trace_is_read_whatever_the_size_of_a_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(trace_module, "_CHUNK", chunk)
    value = trace_json(4)
    found = list(read_trace(written(tmp_path, value)))
    assert [entry.op for entry in found] == [Op.STORE, Op.RECALL, Op.EMBEDDING_SEARCH, Op.PATTERN_COMPLETION]
    assert [entry.at_ms for entry in found] == [1000, 1025, 1050, 1075]
    assert found[0].confidence == 0.75 and found[1].threshold == 0.6 and found[2].results == 7
    assert found[0].space == "space_0" and found[1].space == "space_1"
    np.testing.assert_array_equal(found[0].vector, np.array(vector(0), np.float32))


def change(edit: Callable[[Json], Any]) -> Json:
    value = trace_json(4)
    edit(value["operations"])
    return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("<html>not a trace</html>", "is no trace"),
        ("", "is no trace"),
        ("[]", "is no trace"),
        ("{}", "no 'operations'"),
        ('{"operations": {}}', "is no trace"),
        ('{"operations": []}', "no operation"),
        (json.dumps(trace_json(4))[:-9000], "is not JSON"),
        (json.dumps(trace_json(4))[:-1], "breaks in the middle"),
        (change(lambda rows: rows[2].pop("timestamp_ms")), "operations[2]"),
        (change(lambda rows: rows[1].update(timestamp_ms=-1)), "operations[1]: 'timestamp_ms'"),
        (change(lambda rows: rows[1].update(operation=7)), "no JSON object"),
        (change(lambda rows: rows[1]["operation"].update(type="forget")), "'forget' is not one of"),
        (change(lambda rows: rows[0]["operation"]["memory"]["embedding"].pop()), "768 numbers, not 767"),
        (change(lambda rows: rows[0]["operation"]["memory"].update(memory_space="A b")), "memory_space"),
        (change(lambda rows: rows[0]["operation"]["memory"].update(embedding=["x"] * 768)), "768 numbers"),
        (change(lambda rows: rows[1]["operation"]["cue"].update(embedding=[float("nan")] * 768)), "no finite"),
        (change(lambda rows: rows[2]["operation"].update(k=0)), "'k' is no number"),
        (change(lambda rows: rows[3]["operation"].update(partial=[0.0] * 400)), "1 to 384"),
    ],
)
def test_what_is_no_trace_is_told_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Json | str, told: str
) -> None:
    path = written(tmp_path, value)
    assert main(["replay", str(path), "--target", "http://127.0.0.1:9", "--results-dir", str(tmp_path / "r")]) == 3
    said = capsys.readouterr().err
    assert told in said.replace("operations[1]: operation:", "") and str(path) in said and said.count("\n") == 1
    assert not list(tmp_path.glob("r/performance/*"))


def test_it_starts_with_its_first_operation_in_order_of_time(tmp_path: Path) -> None:
    value = trace_json(8, every_ms=100, start_ms=5000)
    value["operations"].reverse()
    found = packed(tmp_path, value, speed=2.0)
    arrivals = TraceArrivals(found.path)
    assert arrivals.rows["offset_s"].tolist() == pytest.approx([0.05 * i for i in range(8)])
    assert arrivals.rows["op"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert (arrivals.count_before(0.0), arrivals.count_before(0.051), arrivals.count_before(9.0)) == (0, 2, 8)
    assert found.workload.duration_s == pytest.approx(0.35)


def test_any_number_of_processes_sends_the_same(tmp_path: Path) -> None:
    arrivals = TraceArrivals(packed(tmp_path, trace_json(11)).path)
    whole = list(arrivals.stream())
    for processes in (2, 4):
        parts = [row for p in range(processes) for row in arrivals.stream(p, processes)]
        assert sorted(parts) == whole
    assert arrivals.digest(11) != arrivals.digest(10)


def test_the_requests_say_what_the_trace_says(tmp_path: Path) -> None:
    found = packed(tmp_path, trace_json(4))
    arrivals = TraceArrivals(found.path)
    requests = TraceRequests(arrivals, found.spaces, "/engram", "Host: h\r\n")
    sent = [requests.build(op, item, space, user, cue, 9) for _, _, op, user, item, space, cue in arrivals.stream()]
    store, recall, search, completion = (part.split(b"\r\n\r\n", 1) for part in sent)
    assert store[0].startswith(b"POST /engram/api/v1/memories/remember ") and b"x-memory-space: space_0" in store[0]
    body = json.loads(store[1])
    assert body["embedding"] == vector(0) and body["id"] == "m-00000" and body["confidence"] == 0.75
    assert recall[0].startswith(b"GET /engram/api/v1/memories/recall?embedding=%5B") and b"space_1" in recall[0]
    assert b"threshold=0.6000" in recall[0] and b"max_results=7" in search[0]
    partial = json.loads(completion[1])["partial_episode"]["partial_embedding"]
    assert len(partial) == 768 and partial[0::2] == vector(3, 384) and set(partial[1::2]) == {None}


def test_nothing_is_expected_to_be_found_and_nonsense_is_still_seen() -> None:
    fine = b'{"memories":{"vivid":[],"associated":[],"reconstructed":[]}}'
    reading = read_trace_answer(Op.RECALL, 200, fine, 3, 0, 0)
    assert (reading.outcome, reading.found) == (Outcome.OK, Found.NOT_ASKED)
    assert read_trace_answer(Op.RECALL, 200, b"<html>", 3, 0, 0).outcome == Outcome.NOT_JSON
    assert read_trace_answer(Op.STORE, 201, b'{"memory_id":"m-00004"}', 3, 0, 5).outcome == Outcome.WRONG_ANSWER


def test_a_trace_is_sent_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, trace_json(40, every_ms=10))
    with stub(tmp_path) as (url, _):
        words = ["replay", str(path), "--target", url, "--processes", "2", "--json"]
        assert main([*words, "--results-dir", str(tmp_path / "r")]) in (0, 4)
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["due"], value["unsent"]) == ("trace", 40, 0)
    assert value["outcomes"] == {op: {"ok": 10} for op in ("store", "recall", "embedding_search", "pattern_completion")}
    assert value["error_rate"]["high"] > 0
    assert not list(tmp_path.rglob("trace.bin"))


def test_a_recorded_run_is_sent_again_and_proves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.performance.Measurement", partial(Measurement, warm_up_s=2.0))
    results = ["--results-dir", str(tmp_path / "r")]
    with stub(tmp_path) as (url, _):
        main(["perf", "001", "before", "--target", url, "--seconds", "1", "--rate", "50", *results])
        first = next((tmp_path / "r" / "performance").glob("001_before_*"))
        capsys.readouterr()
        assert main(["replay", str(first), "--target", url, "--seconds", "1", "--json", *results]) in (0, 4)
        value = json.loads(capsys.readouterr().out)
        assert value["same_schedule"] and value["kind"] == "run" and 50 <= value["due"] <= 100
        assert value["recorded"]["operations"] > value["replayed"]["operations"]
        plan = first / "samples" / "generator-00.json"
        plan.write_text(
            plan.read_text().replace('"seed":3735928559', '"seed":1').replace('"seed": 3735928559', '"seed": 1')
        )
        assert main(["replay", str(first), "--target", url, *results]) == 3
    assert "another schedule" in capsys.readouterr().err


def test_a_target_that_fails_it_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, trace_json(60, every_ms=5))
    words = ["replay", str(path), "--defect", "error_rate=0.5", "--json", "--results-dir", str(tmp_path / "r")]
    assert main(words) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["error_rate"]["low"] > 0.01
    assert {name for row in value["outcomes"].values() for name in row} <= {"ok", "http_5xx"}


@pytest.mark.parametrize(
    "words",
    [["missing"], ["."], [".", "--speed", "0"], [".", "--seconds", "-1"], [".", "--processes", "0"]],
)
def test_sources_and_options_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    source = [word.replace(".", str(tmp_path / "empty")) if word == "." else word for word in words]
    assert main(["replay", *source, "--target", "http://127.0.0.1:9", "--results-dir", str(tmp_path / "r")]) == 3
    assert not list(tmp_path.glob("r/performance/*"))
