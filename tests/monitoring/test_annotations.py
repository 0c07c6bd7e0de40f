"""Marks on Grafana: set where it is there, and a warning, said once, where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Aborted, TargetError, TargetRefused, TargetUnreachable
from harness.faults.ledger import Ledger
from harness.faults.no_fault import NoFault
from harness.monitoring.annotations import Annotator
from harness.monitoring.generate import FOLDER
from harness.monitoring.grafana import GrafanaClient
from harness.runner import Experiment, ExperimentRun
from harness.scenario.profiles import load_profile
from harness.scenario.slo import load_objectives
from harness.scenario.workload import load_workload
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.record import CaseWriter
from tests.engram.stub import Stub, always, http
from tests.monitoring.grafana_stub import StubGrafana

ROOT = Path(__file__).resolve().parents[2]


class Warnings:
    """Keeps what was warned of."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.said.append((event, fields))


def marked(url: str | None, *events: str) -> Warnings:
    warnings = Warnings()
    annotator = Annotator(url, "case-75pct", "recalls 30 ms slower", warnings)
    for event in events:
        annotator.mark(event)
    annotator.close()
    return warnings


def test_baseline_fault_and_recovery_are_marked() -> None:
    with StubGrafana(ROOT / FOLDER) as grafana:
        warnings = marked(grafana.url, "flags_set", "baseline_started", "inject_acked", "heal_acked", "after_started")
    assert not warnings.said
    assert [a["text"].split(": ")[1].split(" (")[0] for a in grafana.annotations] == [
        "baseline",
        "fault in force",
        "healed",
        "recovery watched",
    ]
    assert all(a["tags"][:2] == ["engram-harness", "case-75pct"] for a in grafana.annotations)


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_grafana_that_refuses_is_one_warning(status: int) -> None:
    with StubGrafana(ROOT / FOLDER) as grafana:
        grafana.status = status
        warnings = marked(grafana.url, "baseline_started", "inject_acked", "heal_acked")
    assert [event for event, _ in warnings.said] == ["annotation_failed"]
    assert str(status) in warnings.said[0][1]["reason"]
    assert grafana.requests == 1


def test_no_grafana_and_none_that_answers() -> None:
    assert not marked(None, "baseline_started").said
    assert [event for event, _ in marked("http://127.0.0.1:1", "baseline_started", "heal_acked").said] == [
        "annotation_failed"
    ]


def test_an_answer_that_is_none_is_a_warning_too() -> None:
    with Stub(always(http(200, b"<html>", "text/html"))) as stub:
        assert "HTML" in marked(stub.url, "baseline_started").said[0][1]["reason"]


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_GRAFANA_BASIC", "admin:s3cret")
    with Stub(always(http(401))) as stub:
        warnings = marked(stub.url, "baseline_started")
        assert b"basic ywrtaw46cznjcmv0" in stub.requests[0].lower()
    assert "s3cret" not in str(warnings.said)


def test_the_client_says_what_is_wrong() -> None:
    with pytest.raises(TargetUnreachable, match="is Grafana running"), GrafanaClient("http://127.0.0.1:1") as client:
        client.health()
    with Stub(always(http(403))) as stub, GrafanaClient(stub.url) as client, pytest.raises(TargetRefused):
        client.dashboard("x")


class _NeverThere(EmbeddedTarget):
    """A target with a Grafana beside it that ends its case before there is anything to measure."""

    def __init__(self, folder: Path, grafana: str, error: BaseException) -> None:
        super().__init__(folder)
        self._grafana = grafana
        self._error = error

    @property
    def grafana_url(self) -> str:
        return self._grafana

    def start(self) -> None:
        raise self._error


@pytest.mark.parametrize("status", [None, 500])
@pytest.mark.parametrize(
    ("error", "raised"),
    [(TargetError("died"), Aborted), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["died", "ctrl-c"],
)
def test_a_case_that_is_cut_short_is_marked(
    error: BaseException, raised: type[BaseException], status: int | None, tmp_path: Path
) -> None:
    scenarios = ROOT / "scenarios"
    experiment = Experiment(
        name="case",
        fault=NoFault(),
        workload=load_workload(scenarios / "durability.toml"),
        profile=load_profile(scenarios / "profiles.toml", "quick"),
        objectives=load_objectives(scenarios / "slo.toml"),
        seed=1,
        cohort_rate=0.5,
    )
    case = tmp_path / "case"
    with StubGrafana(ROOT / FOLDER) as grafana, Ledger(tmp_path / "ledger.jsonl") as ledger:
        grafana.status = status
        target = _NeverThere(tmp_path, grafana.url, error)
        with pytest.raises(raised):
            ExperimentRun(experiment, target, CaseWriter(case), ledger).run()
        assert grafana.requests == 1
    events = [json.loads(line)["event"] for line in (case / "timeline.jsonl").read_text("utf-8").splitlines()]
    assert "aborted" in events
    assert ("annotation_failed" in events) == (status is not None)
    assert [a["text"] for a in grafana.annotations] == (
        ["case: aborted (no fault (control))"] if status is None else []
    )
