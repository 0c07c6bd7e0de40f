"""A gate that records Prometheus first: what it asked is kept, and a Prometheus that fails half-way leaves nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from harness.cli import main
from harness.judge.service_series import longest_spell
from harness.rollout.metrics_record import queries_of, read_metrics
from harness.rollout.plan import load_plan
from tests.engram.stub import Stub, http

PLAN = load_plan()
NOW = 1_763_600_000.0


def _success(data: object) -> bytes:
    return http(200, orjson.dumps({"status": "success", "data": data}))


def _prometheus(*, rules: int = 200, gap: bool = False) -> Stub:
    """One series of ones for every query, with a gap in the middle where it is told so."""

    def serve(connection: socket.socket, line: str, request: bytes) -> None:
        target = urlsplit(line.split(" ")[1])
        asked = {key: values[0] for key, values in parse_qs(target.query).items()}
        if target.path.endswith("query_range"):
            start, end, step = (float(asked[key]) for key in ("start", "end", "step"))
            steps = range(int((end - start) / step) + 1)
            points = [[start + i * step, "1"] for i in steps if not (gap and 20 < i < 60)]
            firing = asked["query"].startswith("ALERTS")
            result = [] if firing else [{"metric": {}, "values": points}]
            connection.sendall(_success({"resultType": "matrix", "result": result}))
        elif target.path.endswith("/query"):
            connection.sendall(_success({"resultType": "scalar", "result": [NOW, str(NOW)]}))
        elif target.path.endswith("/rules"):
            connection.sendall(_success({"groups": []}) if rules == 200 else http(rules, b"{}"))
        elif target.path.endswith("/buildinfo"):
            connection.sendall(_success({"version": "2.55.1"}))
        else:
            connection.sendall(http(200, b"Prometheus is Ready.", "text/plain"))

    return Stub(serve)


def _gate(url: str, folder: Path) -> int:
    words = ["rollout", "gate", "shadow", "--prometheus-url", url, "--span", "7d", "--json"]
    return main([*words, "--results-dir", str(folder / "r"), "--attestations", str(folder / "w")])


def test_what_was_asked_is_recorded_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _prometheus() as stub:
        assert _gate(stub.url, tmp_path) == 1  # a freshness of 1 s is fine; blended recalls in shadow mode are not
    found = json.loads(capsys.readouterr().out)
    assert "shadow.recall_unchanged" in found["no_go"]
    files = list(tmp_path.glob("r/rollout/gate-shadow-*/prometheus.json"))
    assert len(files) == 1
    phase, service, alerts = read_metrics(files[0], PLAN)
    assert phase == "shadow"
    assert sorted(service.series) == queries_of(PLAN, PLAN.phase("shadow"))
    assert "no rule ConceptQualityLow" in alerts.problem  # that it never fired says nothing


def test_the_recording_alone_gives_the_same_answer_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _prometheus() as stub:
        code = _gate(stub.url, tmp_path)
    first = capsys.readouterr().out
    again = ["rollout", "gate", "shadow", "--evidence", str(tmp_path / "r"), "--attestations", str(tmp_path / "w")]
    assert main([*again, "--json"]) == code
    assert capsys.readouterr().out == first


def test_a_gap_is_evidence_that_cannot_be_believed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _prometheus(gap=True) as stub:
        assert _gate(stub.url, tmp_path) == 4
    answers = {a["id"]: a for a in json.loads(capsys.readouterr().out)["answers"]}
    assert "points are missing" in answers["shadow.no_staleness"]["reason"]


def test_a_prometheus_that_fails_half_way_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _prometheus(rules=500) as stub:
        assert _gate(stub.url, tmp_path) == 3
    assert "/api/v1/rules" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("op", "points", "longest"),
    [
        (">", [2, 3, 1, 2, 2, 2], 3),
        (">", [1, 1], 0),
        (">", [2, math.nan, 2, math.nan], 4),  # a missing point ends no spell, and begins none
        (">", [math.nan, math.inf, 1, math.nan, 2], 1),
        (">=", [1, 0, 1, 1], 2),
        ("<", [0, 0, 1], 2),
        ("<=", [0, 1, 2], 2),
        ("==", [1, 1, 0], 2),
        ("!=", [1, 1, 0], 1),
        (">", [], 0),
    ],
)
def test_the_longest_spell_of_a_condition(op: str, points: list[float], longest: int) -> None:
    trigger = dataclasses.replace(PLAN.triggers[0], op=op, bound=1.0)
    assert longest_spell(points, trigger) == longest
