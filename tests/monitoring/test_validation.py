"""``harness validate-monitoring``: a stack that works passes; each lie is caught with its own message, exit code 1."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.engram import EngramClient
from harness.engram.metrics import MetricsSnapshot, parse_prometheus
from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNUSABLE
from harness.monitoring.assets import load_spec
from harness.monitoring.generate import FOLDER
from harness.monitoring.grafana import GrafanaClient
from harness.monitoring.validation import validate_exporter, validate_prometheus
from harness.monitoring.validation_grafana import validate_grafana
from harness.monitoring.validation_witness import Seen, _count, _errors, _latency, validate_witness
from harness.prometheus import PrometheusClient
from tests.engram.stub import Stub, always, http
from tests.monitoring.conftest import Stack
from tests.monitoring.grafana_stub import LyingPrometheus, StubGrafana

ROOT = Path(__file__).resolve().parents[2]
SPEC = load_spec(ROOT / "scenarios")


@pytest.fixture
def grafana() -> Iterator[StubGrafana]:
    with StubGrafana(ROOT / FOLDER) as found:
        yield found


def test_a_stack_that_works(stack: Stack, grafana: StubGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["validate-monitoring", "--prometheus-url", stack.prometheus, "--grafana-url", grafana.url, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert {f["check"]: f["detail"] for f in said["findings"] if f["verdict"] == "failed"} == {}
    assert code == EXIT_OK
    assert said["ok"]
    checks = {finding["check"] for finding in said["findings"]}
    assert {"target up", "scrape fresh", "rules loaded", "test alert fires", "dashboard dual-memory-overview"} <= checks
    assert [finding["check"] for finding in said["findings"] if finding["verdict"] == "skipped"] == ["engram"]


def test_what_the_service_exports_and_counts(stack: Stack) -> None:
    with EngramClient(stack.engram) as client:
        assert validate_exporter(client, stack.spec).verdict == "ok"
        # On a busy machine a recall may wait before the service sees it: only counts are asked for here.
        found = {f.check: f for f in validate_witness(client, latency_agreement=0.75, recalls=120)}
    assert found["witness: recalls"].verdict == "ok"
    assert found["witness: errors"].verdict == "ok"
    assert "client" in found["witness: P99 latency"].detail
    assert "service between" in found["witness: P99 latency"].detail


@dataclass(frozen=True)
class Lie:
    """What is told, and the one check that must catch it with these words."""

    change: Callable[[str, Any], Any]
    check: str
    words: str


def _target_down(path: str, document: Any) -> Any:
    if "/targets" in path:
        for target in document["data"]["activeTargets"]:
            target |= {"health": "down", "lastError": "connection refused"}
    return document


def _no_target(path: str, document: Any) -> Any:
    if "/targets" in path:
        document["data"]["activeTargets"] = []
    return document


def _rule_in_error(path: str, document: Any) -> Any:
    if "/rules" in path:
        document["data"]["groups"][0]["rules"][3] |= {"health": "err", "lastError": "many-to-many matching"}
    return document


def _rules_gone(path: str, document: Any) -> Any:
    if "/rules" in path:
        document["data"]["groups"] = [group for group in document["data"]["groups"] if group["name"] != "dual_memory"]
    return document


def _alert_rule_gone(path: str, document: Any) -> Any:
    if "/rules" in path:
        for group in document["data"]["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule["name"] != "ConsolidationFailures"]
    return document


def _stale(path: str, document: Any) -> Any:
    if "timestamp%28up" in path or "timestamp(up" in path:
        for one in document["data"]["result"]:
            one["value"][1] = "3600"
    return document


def _seldom(path: str, document: Any) -> Any:
    """Scraped once an hour, 50 s ago: fresh by its own measure, and nothing for rates over a minute to go by."""
    if "/targets" in path:
        for target in document["data"]["activeTargets"]:
            target["scrapeInterval"] = "1h"
    if "timestamp%28up" in path or "timestamp(up" in path:
        for one in document["data"]["result"]:
            one["value"][1] = "50"
    return document


def _renamed(path: str, document: Any) -> Any:
    if "/query" in path and document["data"]["resultType"] == "vector":
        for one in document["data"]["result"]:
            name = one["metric"].get("__name__")
            if name == "engram_blended_recall_total":
                one["metric"]["__name__"] = "engram_blended_recalls_total"
    return document


def _silent_alerts(path: str, document: Any) -> Any:
    if "/alerts" in path:
        document["data"]["alerts"] = []
    return document


def _pending_only(path: str, document: Any) -> Any:
    if "/alerts" in path:
        for alert in document["data"]["alerts"]:
            alert["state"] = "pending"
    return document


LIES = {
    "target down": Lie(_target_down, "target up", "is down: connection refused"),
    "no target": Lie(_no_target, "target up", "no target of job 'engram'"),
    "rule in error": Lie(_rule_in_error, "rules without error", "many-to-many matching"),
    "rules gone": Lie(_rules_gone, "rules loaded", "no rule group 'dual_memory'"),
    "alert rule gone": Lie(_alert_rule_gone, "rules loaded", "lacks ConsolidationFailures"),
    "stale scrape": Lie(_stale, "scrape fresh", "3600.0 s old"),
    "scraped too seldom": Lie(_seldom, "scrape fresh", "50.0 s old, more than 45 s"),
    "metric renamed": Lie(_renamed, "metrics scraped", "renamed to engram_blended_recalls_total?"),
    "no test alert": Lie(_silent_alerts, "test alert fires", "does not fire"),
    "test alert pending": Lie(_pending_only, "test alert fires", "pending, not firing"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_of_prometheus_is_caught(name: str, stack: Stack) -> None:
    lie = LIES[name]
    with LyingPrometheus(stack.prometheus, lie.change) as lying, PrometheusClient(lying.url) as client:
        found = [finding for finding in validate_prometheus(client, stack.spec) if finding.verdict == "failed"]
    assert [finding.check for finding in found] == [lie.check]
    assert lie.words in found[0].detail


def test_dashboards_as_they_are_checked_in_pass() -> None:
    with StubGrafana(ROOT / FOLDER) as grafana, GrafanaClient(grafana.url) as client:
        assert {finding.verdict for finding in validate_grafana(client, SPEC)} == {"ok"}


def _missing(grafana: StubGrafana) -> None:
    del grafana.dashboards["slo-compliance"]


def _wrong_uid(grafana: StubGrafana) -> None:
    grafana.dashboards["x7"] = {**grafana.dashboards.pop("canary-comparison"), "uid": "x7"}


def _wrong_title(grafana: StubGrafana) -> None:
    grafana.dashboards["cognitive-metrics"]["title"] = "Cognitive"


def _no_panel(grafana: StubGrafana) -> None:
    grafana.dashboards["engram-overview"]["panels"] = grafana.dashboards["engram-overview"]["panels"][:6]


def _empty_query(grafana: StubGrafana) -> None:
    panel = next(p for p in grafana.dashboards["engram-overview"]["panels"] if p["type"] != "row")
    panel["targets"][0]["expr"] = "engram_nothing_total"


def _broken_query(grafana: StubGrafana) -> None:
    panel = next(p for p in grafana.dashboards["engram-overview"]["panels"] if p["type"] != "row")
    panel["targets"][0]["expr"] = "sum("


def _sick(grafana: StubGrafana) -> None:
    grafana.database = "failing"


GRAFANA_LIES = {
    "dashboard missing": (_missing, "dashboard slo-compliance", "there is no dashboard"),
    "wrong uid": (_wrong_uid, "dashboard canary-comparison", "wrong uid: x7"),
    "wrong title": (_wrong_title, "dashboard cognitive-metrics", "is called 'Cognitive'"),
    "panel gone": (_no_panel, "dashboard engram-overview", "lacks the panels"),
    "query without data": (_empty_query, "dashboard queries answer", "no data (engram_nothing_total)"),
    "query broken": (_broken_query, "dashboard queries answer", "parse error"),
    "sick": (_sick, "grafana healthy", "'failing'"),
}


@pytest.mark.parametrize("name", GRAFANA_LIES)
def test_a_lie_of_grafana_is_caught(name: str) -> None:
    change, check, words = GRAFANA_LIES[name]
    with StubGrafana(ROOT / FOLDER) as grafana, GrafanaClient(grafana.url) as client:
        change(grafana)
        found = [finding for finding in validate_grafana(client, SPEC) if finding.verdict == "failed"]
    assert [finding.check for finding in found] == [check]
    assert words in found[0].detail


def test_the_command_fails_with_1_for_a_lie(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with LyingPrometheus(stack.prometheus, _target_down) as lying:
        assert main(["validate-monitoring", "--prometheus-url", lying.url]) == EXIT_FAILED
    said = capsys.readouterr().out
    assert "FAILED" in said
    assert "connection refused" in said
    assert "1 of " in said


UNUSABLE = {
    "html": (always(http(200, b"<html>", "text/html")), "HTML"),
    "401": (always(http(401)), "unauthorised"),
    "redirect": (always(http(302, extra="location: http://elsewhere/\r\n")), "redirects are not followed"),
}


@pytest.mark.parametrize("option", ["--prometheus-url", "--grafana-url", "--target"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_none_is_unusable(name: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    serve, words = UNUSABLE[name]
    with Stub(serve) as stub:
        code = main(["validate-monitoring", option, stub.url])
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (EXIT_UNUSABLE, 1)
    assert words in said or (option == "--target" and name == "html" and "sample" in said)
    assert stub.url in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to validate"),
        (["--prometheus-url", "http://127.0.0.1:1"], "is Prometheus running?"),
        (["--grafana-url", "http://127.0.0.1:1"], "is Grafana running?"),
        (["--prometheus-url", "ftp://x"], "not an http"),
        (["--grafana-url", "http://me:secret@x"], "ENGRAM_GRAFANA_TOKEN"),
    ],
)
def test_unusable_urls(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate-monitoring", *arguments]) == EXIT_UNUSABLE
    said = capsys.readouterr().err
    assert words in said
    assert "secret" not in said


def scrape(recalls: float, errors: float, buckets: dict[str, float]) -> MetricsSnapshot:
    lines = [f'engram_recall_total{{cohort="control"}} {recalls}', f"engram_recall_errors_total {errors}"]
    lines += [f'engram_recall_duration_seconds_bucket{{le="{edge}"}} {count}' for edge, count in buckets.items()]
    return parse_prometheus("\n".join(lines) + "\n")


def test_a_service_that_under_reports_is_a_finding_with_both_numbers() -> None:
    seen = Seen(recall_s=(0.040,) * 200, failed=10, idle_s=(0.001,) * 200)
    none = {"0.02": 0.0, "0.05": 0.0, "+Inf": 0.0}
    before = scrape(0, 0, none)
    honest = scrape(200, 10, {"0.02": 0.0, "0.05": 200.0, "+Inf": 200.0})
    assert _count(before, honest, seen).verdict == "ok"
    assert _errors(before, honest, seen).verdict == "ok"
    assert _latency(before, honest, seen, 0.75).verdict == "ok"
    lying = scrape(150, 4, {"0.02": 200.0, "0.05": 200.0, "+Inf": 200.0})
    count, errors, latency = (
        _count(before, lying, seen),
        _errors(before, lying, seen),
        _latency(before, lying, seen, 0.75),
    )
    assert (count.verdict, errors.verdict, latency.verdict) == ("failed", "failed", "failed")
    assert "150" in count.detail
    assert "200" in count.detail
    assert "4 errors counted, the client saw 10" in errors.detail
    assert "client 40.00 ms" in latency.detail
    assert "between 0 and 20 ms" in latency.detail


def test_no_counter_is_no_witness() -> None:
    seen = Seen(recall_s=(0.040,) * 200, failed=0, idle_s=(0.001,) * 200)
    nothing = parse_prometheus("x 1\n")
    assert _count(nothing, nothing, seen).verdict == "failed"
    assert _errors(nothing, nothing, seen).verdict == "failed"
    assert _latency(nothing, nothing, seen, 0.75).verdict == "failed"
    assert _latency(nothing, nothing, Seen((0.1,) * 9, 0, (0.1,) * 9), 0.75).verdict == "skipped"
