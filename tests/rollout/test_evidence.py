"""Evidence as directories: what is found, and what is refused because it contradicts the plan or itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.errors import RecordError
from harness.judge.gate_records import read_suites
from harness.model import Verdict
from harness.rollout.evidence import collect
from harness.rollout.metrics_record import queries_of, read_metrics
from harness.rollout.plan import load_plan
from harness.timeline.jsonl import write_json_atomically
from tests.cases import write_case

PLAN = load_plan()
PHASE = PLAN.phase("25")


def _run(folder: Path, name: str = "night", **manifest: Any) -> Path:
    write_case(folder / name, kind="no_fault", cohort_rate=0.25, baseline_s=3, during_s=3, after_s=3, manifest=manifest)
    return folder / name


def _metrics(folder: Path, phase: str = "25", **change: Any) -> Path:
    queries = {query: [[1.0] * 101] for query in queries_of(PLAN, PLAN.phase(phase))}
    value = {"schema": 1, "kind": "prometheus", "plan": "runbook", "phase": phase, "start": 0.0, "end": 30_000.0}
    value |= {"step_s": 300.0, "queries": queries, "alerts": {}, "rules": [], **change}
    folder.mkdir(exist_ok=True)
    write_json_atomically(folder / "prometheus.json", value)
    return folder / "prometheus.json"


def test_a_directory_says_itself_what_it_holds(tmp_path: Path) -> None:
    _run(tmp_path)
    write_case(tmp_path / "drill", kind="semantic_latency", baseline_s=3, during_s=3, after_s=3)
    _metrics(tmp_path)
    xml = '<testsuites><testsuite name="dual_memory_chaos" tests="3" failures="1" errors="0" skipped="0"/></testsuites>'
    (tmp_path / "tests.xml").write_text(xml, encoding="utf-8")
    checks = {"ok": True, "findings": [{"check": "rules loaded", "verdict": "ok", "detail": "38 alerts"}]}
    (tmp_path / "monitoring.json").write_text(json.dumps(checks), encoding="utf-8")

    found = collect(PLAN, PHASE, [str(tmp_path), str(tmp_path)])  # given twice is not two runs

    evidence = found.evidence
    assert len(evidence.runs["25"].runs) == 1
    assert [d.fault for d in evidence.drills["25"]] == ["semantic_latency"]
    assert set(evidence.services) == {"25"}
    assert evidence.monitoring == {"rules loaded": Verdict.PASS}
    criterion = PLAN.phase("0").criterion("suites_pass")
    assert criterion is not None
    assert read_suites(criterion, evidence.suites).verdict is Verdict.FAIL
    assert not found.rehearsal


def test_a_run_of_a_rehearsal_says_its_phase_and_scale(tmp_path: Path) -> None:
    _run(tmp_path, rollout={"plan": "runbook", "phase": "25", "time_scale": 1000.0})
    found = collect(PLAN, PLAN.phase("50"), [str(tmp_path)])
    assert found.rehearsal
    assert found.evidence.runs["25"].covered_s == pytest.approx(9.7e3, rel=0.1)


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda f: _run(f, cohort_rate=0.5), "50 % in the cohort"),
        (lambda f: _run(f, rollout={"plan": "task015", "phase": "25"}), "belongs to plan"),
        (lambda f: _run(f, rollout={"plan": "runbook", "phase": "25", "time_scale": -1}), "time scale"),
        (lambda f: (_run(f, "a"), _run(f, "b", rollout={"plan": "runbook", "phase": "25", "time_scale": 9})), "scale"),
        (lambda f: (_metrics(f / "a"), _metrics(f / "b")), "second recording"),
        (lambda f: _metrics(f / "a", plan="task015"), "recorded for plan"),
        (lambda f: _metrics(f / "a", schema=9), "schema 9"),
        (lambda f: _metrics(f / "a", step_s=0), "no range"),
        (lambda f: (f / "t.xml").write_text("<html>"), "no JUnit"),
        (lambda f: (f / "monitoring.json").write_text("{}"), "no findings"),
    ],
)
def test_what_contradicts_is_refused(tmp_path: Path, made: Any, complaint: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    made(tmp_path)
    with pytest.raises(RecordError, match=complaint) as error:
        collect(PLAN, PHASE, [str(tmp_path)])
    assert str(tmp_path) in str(error.value)


def test_a_drill_whose_verdict_was_edited_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "drill", kind="semantic_latency", never_recovers=True)
    (tmp_path / "drill" / "verdict.json").write_text('{"verdict": "PASS"}', encoding="utf-8")
    assert main(["rollout", "gate", "25", "--evidence", str(tmp_path)]) == 3
    assert "its verdict.json says PASS, its record says" in capsys.readouterr().err


def test_the_same_directories_give_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path)
    _metrics(tmp_path)
    arguments = ["rollout", "gate", "25", "--evidence", str(tmp_path), "--json", "--attestations", str(tmp_path / "w")]
    code = main(arguments)
    first = capsys.readouterr().out
    assert main(arguments) == code
    assert capsys.readouterr().out == first
    assert str(tmp_path) not in first  # nor does it say where it lies


def test_an_incidents_file_says_what_it_covers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "incidents.toml"
    file.write_text('[covers]\n25 = 604800.0\n[incidents.a]\nphase = "25"\nkind = "quake"\n', encoding="utf-8")
    assert main(["rollout", "gate", "25", "--incidents", str(file)]) == 3
    assert f"{file}:5: incidents.a.kind: 'quake' is not one of" in capsys.readouterr().err


def test_a_recording_keeps_gaps_as_gaps(tmp_path: Path) -> None:
    query = queries_of(PLAN, PHASE)[0]
    path = _metrics(tmp_path, queries={query: [[None, 2.0, *[1.0] * 99]]})
    _, service, alerts = read_metrics(path, PLAN)
    assert np.isnan(service.series[query].series[0][0])
    assert service.series[query].problem() == ""  # one point of 101 is within the hundredth
    assert alerts.problem == ""
