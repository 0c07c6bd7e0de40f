"""The shapes of results that are read, the baseline that is written, and the commands around them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.baseline import figures_from, load_limits, read_figures, result_json, write_result
from harness.cli import main
from harness.errors import RecordError, RecordTooNew
from harness.histogram import Histogram
from harness.judge.regression import Limits, RunFigures
from harness.settings import scenarios_folder
from tests.soak.synthetic import Shape, write

NESTED = {
    "latency": {"p50_ms": 4.2, "p95_ms": 8.1, "p99_ms": 12.3},
    "throughput": {"ops_per_sec": 10500},
    "errors": {"total": 21, "error_rate": 0.001},
}
OTHER = {"p99_latency_ms": 12.3, "throughput_ops_per_sec": 10500, "error_rate": 0.001}
PUBLIC = {
    "p50_latency_ms": 4.2,
    "p95_latency_ms": 8.1,
    "p99_latency_ms": 12.3,
    "overall_throughput": 10500.0,
    "overall_error_rate": 0.001,
    "total_errors": 630,
    "total_operations": 630_000,
    "elapsed_seconds": 60.0,
    "per_operation_stats": {},
}


@pytest.mark.parametrize("value", [NESTED, OTHER, PUBLIC, {"metrics": OTHER}, {"metrics": NESTED}])
def test_every_known_shape_is_read(value: dict[str, Any]) -> None:
    found = figures_from(value, "a file")
    assert found.p99_ms == 12.3
    assert found.ops_per_s == 10500
    assert found.error_rate == 0.001


def test_counts_come_from_where_they_are() -> None:
    assert figures_from(PUBLIC, "f").operations == 630_000
    assert figures_from(NESTED, "f").operations == pytest.approx(21_000)
    assert math.isnan(figures_from(OTHER, "f").operations)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "not a JSON object"),
        ({}, "no shape"),
        ({"latency": {"p99_ms": None}}, "p99_ms"),
        ({"latency": {"p99_ms": "12"}}, "p99_ms"),
        ({"latency": {"p99_ms": -1}}, "p99_ms"),
        ({"latency": {"p99_ms": True}}, "p99_ms"),
        ({"latency": {"p99_ms": 1.0}, "throughput": 5}, "throughput"),
        ({"latency": {"p99_ms": 1.0, "hdr": "nonsense"}}, "histogram"),
        ({"p99_latency_ms": 1.0, "overall_throughput": "fast"}, "overall_throughput"),
    ],
)
def test_what_is_malformed_is_refused(value: Any, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        figures_from(value, "a file")


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(RecordTooNew, match="schema 2"):
        figures_from({**NESTED, "schema": 2}, "a file")


def test_what_is_written_is_read_back() -> None:
    latency = Histogram.of_seconds(np.random.default_rng(1).lognormal(-5, 0.5, 1000))
    run = RunFigures("r", 1.0, 2.0, 3.0, 500.0, 2, 0.002, 1000, 2.0, 99.0, latency, True, "late")
    value = json.loads(json.dumps(result_json(run, {"task": "001"})))
    found = figures_from(value, "r")
    assert found == run
    assert value["task"] == "001"
    assert value["latency"]["p99_ms"] == 3.0


def test_the_limits_file_is_what_the_judge_takes() -> None:
    limits = load_limits(scenarios_folder() / "compare.toml")
    assert limits.competitor_p99_ms == 27.96
    assert set(Limits.__dataclass_fields__) - {"sources"} <= set(limits.sources)


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = tmp_path_factory.mktemp("soak") / "20251120-000000"
    session.mkdir()
    write(session, Shape(interval_s=300.0, faults_h=((7.0, 7.5),)))
    (session / "verdict.json").write_text(json.dumps({"verdict": "PASS"}))
    return session


def test_a_soaks_figures_leave_warm_up_and_faults_out(soak: Path) -> None:
    found = read_figures(soak)
    assert 0 < found.p50_ms < found.p95_ms < found.p99_ms
    assert found.duration_s == pytest.approx((24 - 0.25 - 0.5) * 3600, rel=0.02)
    assert found.ops_per_s == pytest.approx(1000.0, rel=0.05)
    assert found.memory_mb == pytest.approx(300.0, rel=0.05)


def test_baseline_writes_the_file_and_the_log(soak: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "PERFORMANCE_LOG.md"
    log.write_text("# Log\n")
    words = ["baseline", str(soak), "--baselines", str(tmp_path / "baselines"), "--log", str(log), "--name", "phase0"]
    assert main(words) == 0
    value = json.loads((tmp_path / "baselines" / "phase0.json").read_text())
    assert set(NESTED) <= set(value)
    assert value["memory"]["rss_mb"] > 0
    text = log.read_text()
    assert text.startswith("# Log\n\n## Phase 0 Baseline")
    assert "P99 latency:" in text and "Status: Baseline established" in text
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"] == "phase0"


def test_whose_word_the_memory_is_goes_along(tmp_path: Path) -> None:
    shape, session = Shape(interval_s=300.0), tmp_path / "20251120-000000"
    session.mkdir()
    write(session, shape)
    assert read_figures(session).memory_source == ""
    [file] = session.rglob("intervals.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for number, record in enumerate(records):
        record["target"]["source"] = "engine" if number > len(records) / 2 else "process"
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    figures = read_figures(session)
    assert figures.memory_source == "engine and process"
    write_result(tmp_path / "result.json", figures, {})
    assert read_figures(tmp_path / "result.json").memory_source == "engine and process"


@pytest.mark.parametrize(("verdict", "code"), [("FAIL", 1), ("INCONCLUSIVE", 4), ("ABORTED", 1), ("?", 3)])
def test_only_what_passed_becomes_a_baseline(tmp_path: Path, verdict: str, code: int) -> None:
    (tmp_path / "verdict.json").write_text(json.dumps({"verdict": verdict}))
    words = ["baseline", str(tmp_path), "--baselines", str(tmp_path / "b"), "--log", str(tmp_path / "L.md")]
    assert main(words) == code
    assert not (tmp_path / "b").exists() and not (tmp_path / "L.md").exists()


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", str(tmp_path)]) == 3
    assert main(["baseline", str(tmp_path / "nowhere")]) == 3
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 3
    assert "is no run" in capsys.readouterr().err


def put(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**PUBLIC, **changes}))
    return str(path)


@pytest.mark.parametrize(
    ("after", "words", "code"),
    [
        ({}, [], 4),
        ({}, ["--method", "runbook"], 0),
        ({"p99_latency_ms": 14.2}, [], 1),
        ({"p99_latency_ms": 14.2}, ["--method", "runbook"], 1),
        ({"overall_throughput": 5000.0}, [], 1),
        ({}, ["--run-variation", "0.001"], 0),
        ({}, ["--run-variation", "7"], 3),
    ],
)
def test_compare_answers_by_its_exit_code(
    tmp_path: Path, after: dict[str, Any], words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [put(tmp_path / "a.json"), put(tmp_path / "b.json", **after)]
    assert main(["compare", *files, *words]) == code
    if code != 3:
        out = capsys.readouterr().out
        assert "P99 latency (ms)" in out and "Throughput (ops/s)" in out
        assert main(["compare", *files, *words, "--json"]) == code
        assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_competitive_regressions_have_their_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [put(tmp_path / "a.json", p99_latency_ms=40.0), put(tmp_path / "b.json", p99_latency_ms=40.0)]
    assert main(["compare", *files, "--competitive", "--method", "runbook"]) == 2
    assert "27.96" in capsys.readouterr().out


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    good = put(tmp_path / "a.json")
    (tmp_path / "bad.json").write_text("{")
    assert main(["compare", good, str(tmp_path / "bad.json")]) == 3
    assert main(["compare", good, str(tmp_path / "missing.json")]) == 3
    assert main(["compare", good]) == 3
    assert main(["compare", "no-such-task", "--results-dir", str(tmp_path)]) == 3
