"""What a drill records of its monitoring stack: all that is asked, and why something could not be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.case_monitoring import CaseMonitoring
from harness.clock import SystemClock
from harness.judge.monitoring import EVENT, EXPECTED, GRAFANA_EXPECTED
from harness.monitoring import stack as asked_of
from harness.monitoring.generate import FOLDER
from harness.monitoring.stack import Stack, observe_stack, stack_plan
from harness.targets.prometheus_process import prometheus_program
from tests.drills.session import ROOT, DrillRun, tiny_scenarios
from tests.engram.stub import Stub, always, http
from tests.monitoring.conftest import SCENARIOS
from tests.monitoring.conftest import Stack as Live
from tests.monitoring.grafana_stub import StubGrafana

PLAN = stack_plan(SCENARIOS)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is wrong is not asked of again."""
    monkeypatch.setattr(asked_of, "_PASSING_S", 0.0)
    yield


def test_whatever_the_judge_expects_is_asked_of_a_live_stack(stack: Live) -> None:
    with StubGrafana(ROOT / FOLDER) as grafana:
        found = observe_stack(Stack(stack.prometheus, grafana.url, stack.engram), PLAN, SystemClock())
    answers = {finding.check: (finding.verdict, finding.detail) for finding in found}
    boards = {check for check in answers if check.startswith("dashboard ")}
    assert set(answers) == {*EXPECTED, *GRAFANA_EXPECTED, *boards}
    assert "unasked" not in {verdict for verdict, _ in answers.values()}
    assert {verdict for check, (verdict, _) in answers.items() if check != "witness: P99 latency"} == {"ok"}, answers


@pytest.mark.parametrize(
    ("serve", "words"),
    [(None, "is Prometheus running?"), (http(401), "unauthorised"), (http(200, b"<html>", "text/html"), "HTML")],
    ids=["nobody", "401", "html"],
)
def test_what_does_not_answer_could_not_be_asked(serve: bytes | None, words: str, hurried: None) -> None:
    absent = {"grafana": "left out", "engram": "none of ours"}
    if serve is None:
        found = observe_stack(Stack(NOWHERE, None, None, absent), PLAN, SystemClock())
    else:
        with Stub(always(serve)) as stub:
            found = observe_stack(Stack(stub.url, None, None, absent), PLAN, SystemClock())
    assert [(one.check, one.verdict) for one in found] == [
        ("prometheus", "unasked"),
        ("grafana", "skipped"),
        ("engram", "skipped"),
    ]
    assert words in found[0].detail
    assert found[1].detail == "left out"


def test_each_part_that_does_not_answer_is_told_alone(stack: Live) -> None:
    found = observe_stack(Stack(stack.prometheus, NOWHERE, NOWHERE), PLAN, SystemClock())
    unasked = {finding.check: finding.detail for finding in found if finding.verdict == "unasked"}
    assert set(unasked) == {"grafana", "metrics exported", "witness"}
    assert {finding.verdict for finding in found if finding.check not in unasked} == {"ok"}


class _Case:
    """The target, the record and the watch of a case, as far as looks go; ``events`` is what was written."""

    name = "stub"
    prometheus_url: str | None = NOWHERE
    grafana_url = None
    base_url = NOWHERE

    def __init__(self, wait: Callable[[float, str], None] = lambda seconds, phase: None) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.wait = wait

    def describe(self) -> dict[str, object]:
        return {"absent": {"grafana": "the image is not here"}}

    def event(self, event: str, **fields: object) -> float:
        self.events.append((event, fields))
        return 0.0

    def looks(self) -> CaseMonitoring:
        return CaseMonitoring(PLAN, self, self, self, SystemClock())  # type: ignore[arg-type]


def test_a_look_is_an_event_with_every_answer(hurried: None) -> None:
    case = _Case()
    case.looks().look()
    [(name, fields)] = case.events
    assert name == EVENT
    findings = fields["findings"]
    assert isinstance(findings, list)
    assert {one["check"]: one["verdict"] for one in findings} == {
        "prometheus": "unasked",
        "grafana": "skipped",
        "metrics exported": "unasked",
        "witness": "unasked",
    }
    assert {"check": "grafana", "verdict": "skipped", "detail": "the image is not here"} in findings


def test_a_case_is_aborted_while_it_looks(hurried: None) -> None:
    def abort(seconds: float, phase: str) -> None:
        raise InterruptedError(phase)

    case = _Case(abort)
    with pytest.raises(InterruptedError, match="monitoring"):
        case.looks().settle()
    assert case.events == []


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    """The tiny profile with the drills of this family, at a rate that leaves a busy machine something for them."""
    if prometheus_program() is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    profiles = tiny_scenarios(tmp_path) / "profiles.toml"
    before, tiny = profiles.read_text("utf-8").split("[profiles.tiny]")
    tiny = tiny.replace('["dual_memory"]', '["monitoring"]').replace("rate_ops_per_s = 400.0", "rate_ops_per_s = 150.0")
    profiles.write_text(f"{before}[profiles.tiny]{tiny}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("defects", "because"),
    [
        ((), ""),
        pytest.param(("metric_renamed",), "metrics scraped", marks=pytest.mark.long),  # half a minute of patience
        (("errors_counter_silent", "error_rate=0.3"), "witness: errors"),
    ],
    ids=["honest", "metric renamed", "errors not counted"],
)
def test_the_drill(defects: tuple[str, ...], because: str, scenarios: Path) -> None:
    """On a machine that lets nobody run, a latency decides nothing: only the rest is held against the stack."""
    words = [word for defect in defects for word in ("--defect", defect)]
    with DrillRun(scenarios, "drills/monitoring/test_validation.py", "--retry-inconclusive", "0", *words) as run:
        run.wait()
        case = run.verdict()["cases"][0]
        found = [one for window in case["monitoring"].values() for one in window]
        failed = {one["check"] for one in found if one["verdict"] == "failed"}
        reasons = " ".join(case["reasons"])
        if because:
            assert (case["verdict"], because in failed, because in reasons) == ("FAIL", True, True), reasons
        else:
            assert case["verdict"] in ("PASS", "INCONCLUSIVE") and failed <= {"witness: P99 latency"}, reasons
        assert json.loads((run.case() / "manifest.json").read_text())["monitoring"]["witness_latency_agreement"] == 0.75
