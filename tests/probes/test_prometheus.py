"""What Prometheus has of a run is kept on our clock; where it has nothing, that is said and costs no verdict."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.clock import FakeClock
from harness.probes.prometheus import STREAM, flat_name, keep_series_of
from harness.timeline.jsonl import read_lines
from harness.timeline.record import CaseWriter
from tests.engram.stub import Serve, Stub, always, http

EPOCH = 1_700_000_000.0
BEGUN = 100.0  # the clock of the harness when the run began, 20 s before it is asked
TARGETS = {
    "activeTargets": [
        {"labels": {"job": "engram"}, "scrapeUrl": "http://e/metrics", "health": "up", "scrapeInterval": "2s"},
        {"labels": {"job": "other"}, "scrapeUrl": "http://o/metrics", "health": "up", "scrapeInterval": "1s"},
    ]
}


def success(data: Any) -> bytes:
    return http(200, orjson.dumps({"status": "success", "data": data}))


def prometheus(matrix: list[dict[str, Any]]) -> Serve:
    """Answers the time, the targets, and ``matrix`` to the first range query, nothing to the others."""

    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        if "/targets" in line:
            answer = success(TARGETS)
        elif "query_range" in line:
            first = "job%3D%22engram" in line
            answer = success({"resultType": "matrix", "result": matrix if first else []})
        else:
            answer = success({"resultType": "scalar", "result": [EPOCH, str(EPOCH)]})
        connection.sendall(answer)

    return serve


def series(name: str, values: list[tuple[float, str]], **labels: str) -> dict[str, Any]:
    metric = {"__name__": name, "job": "engram", "instance": "engram:7432", **labels}
    return {"metric": metric, "values": [[EPOCH - ago, value] for ago, value in values]}


def kept(tmp_path: Path, serve: Serve) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The event, and the lines of the stream."""
    clock = FakeClock(BEGUN + 20.0)
    writer = CaseWriter(tmp_path, clock)
    with Stub(serve) as stub:
        keep_series_of(stub.url, writer, BEGUN, clock)
    writer.close()
    path = tmp_path / "metrics" / f"{STREAM}.jsonl"
    return list(read_lines(tmp_path / "timeline.jsonl"))[-1], list(read_lines(path)) if path.exists() else []


def test_series_are_kept_by_the_instant_on_our_clock(tmp_path: Path) -> None:
    matrix = [
        series("engram_recall_total", [(2.0, "7"), (0.0, "9")], cohort="canary"),
        series("engram_recall_total", [(0.0, "4")], cohort="control"),
        series("up", [(2.0, "1"), (0.0, "NaN")]),
    ]
    event, lines = kept(tmp_path, prometheus(matrix))
    assert event["event"] == "series_kept"
    assert (event["series"], event["steps"], event["step_s"]) == (3, 2, 2.0)
    assert event["labels"] == {"job": "engram", "instance": "engram:7432"}
    assert lines == [
        {"t": BEGUN + 18.0, "values": {"engram_recall_total{cohort=canary}": 7.0, "up": 1.0}},
        {
            "t": BEGUN + 20.0,
            "values": {
                "engram_recall_total{cohort=canary}": 9.0,
                "engram_recall_total{cohort=control}": 4.0,
                "up": None,
            },
        },
    ]


def test_two_instances_are_told_apart(tmp_path: Path) -> None:
    two = [series("up", [(0.0, "1")], instance="one:1"), series("up", [(0.0, "0")], instance="two:2")]
    event, lines = kept(tmp_path, prometheus(two))
    assert event["labels"] == {"job": "engram"}
    assert lines[0]["values"] == {"up{instance=one:1}": 1.0, "up{instance=two:2}": 0.0}


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (prometheus([]), "has no series of this run"),
        (always(http(401)), "401"),
        (always(http(200, b"<html></html>", "text/html")), "HTML"),
        (always(http(503)), "503"),
    ],
    ids=["nothing", "401", "html", "503"],
)
def test_what_cannot_be_kept_is_said_and_raises_nothing(tmp_path: Path, serve: Serve, said: str) -> None:
    event, lines = kept(tmp_path, serve)
    assert event["event"] == "series_not_kept"
    assert said in event["reason"]
    assert lines == []


def test_names_are_as_the_services_own() -> None:
    assert flat_name({"__name__": "up"}) == "up"
    assert flat_name({"__name__": "x", "b": "2", "a": "1"}) == "x{a=1,b=2}"
    assert flat_name({"a": "1"}) == "{a=1}"
