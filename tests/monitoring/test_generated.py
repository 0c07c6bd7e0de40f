"""What is checked in is what the monitoring file says, and what the runbook asks for is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from harness.errors import ConfigError, EnvironmentUnusable, UsageError
from harness.monitoring import generate
from harness.monitoring.assets import load_spec, write_assets
from harness.monitoring.dashboards import DATASOURCE_UID, dashboards
from harness.monitoring.rules import GROUP, alert_names, rule_document
from harness.monitoring.windows import duration, scaled
from harness.scenario.monitoring import load_monitoring
from harness.scenario.slo import load_objectives

ROOT = Path(__file__).resolve().parents[2]
SPEC = load_spec(ROOT / "scenarios")
RUNBOOK_ALERTS = [
    "ConceptFormationExcessive",
    "MemoryFootprintRegression",
    "ConsolidationLatencyRegression",
    "BindingIndexBloat",
    "ConceptQualityViolation",
    "ConceptQualityLow",
    "FanEffectExcessive",
    "BlendedRecallLatencyP99Breach",
    "RecallErrorRateHigh",
    "ConsolidationFailures",
    "MemoryLeakDetected",
    "SemanticPathwayTimeoutHigh",
    "CanaryP99LatencyRegression",
]


def test_checked_in_files_are_not_stale() -> None:
    assert generate.stale() == [], "run: make monitoring"


def test_a_stale_file_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each kind of stale: changed, missing, and one that should not be there."""
    for name, text in generate.generated(tmp_path / "scratch").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 0
    rules = tmp_path / generate.FOLDER / "prometheus/rules/dual_memory.yml"
    rules.write_text(rules.read_text("utf-8").replace("> 0.015", "> 0.15"), "utf-8")
    (tmp_path / generate.PAGE).unlink()
    (tmp_path / generate.FOLDER / "extra.yml").write_text("", "utf-8")
    assert generate.stale() == [
        "docs/operations/alerts.md",
        "harness/monitoring/generated/extra.yml",
        "harness/monitoring/generated/prometheus/rules/dual_memory.yml",
    ]
    assert generate.main([]) == 0
    assert generate.stale() == []


def test_every_alert_of_the_runbook_is_there() -> None:
    assert not set(RUNBOOK_ALERTS) - set(alert_names(SPEC))


def test_every_alert_says_what_and_where_to_read_on() -> None:
    page = (ROOT / "docs/operations/alerts.md").read_text("utf-8")
    anchors = {line[3:].lower() for line in page.splitlines() if line.startswith("## ")}
    for group in rule_document(SPEC)["groups"]:
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            assert rule["labels"]["severity"] in ("critical", "warning", "none")
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"]
            file, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert (ROOT / file).is_file()
            assert anchor in anchors


def test_alerts_stand_in_the_runbooks_group() -> None:
    groups = {group["name"]: group for group in rule_document(SPEC)["groups"]}
    assert sum("alert" in rule for rule in groups[GROUP]["rules"]) >= 6  # runbook 0.4


def test_one_factor_for_everything(tmp_path: Path) -> None:
    """Scrape, evaluation, windows and `for` alike; thresholds stay."""
    write_assets(tmp_path, SPEC, engram="e:1", time_scale=60)
    config = yaml.safe_load((tmp_path / "prometheus/prometheus.yml").read_text("utf-8"))
    assert config["global"] == {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "500ms"}
    full = {rule.get("alert") or rule["record"] + str(rule.get("labels")): rule for rule in _rules(1.0)}
    short = {rule.get("alert") or rule["record"] + str(rule.get("labels")): rule for rule in _rules(60.0)}
    assert full.keys() == short.keys()
    for name, rule in full.items():
        assert short[name]["expr"] == scaled(rule["expr"], 60.0)
        assert re.sub(r"\[\w+\]", "", short[name]["expr"]) == re.sub(r"\[\w+\]", "", rule["expr"])
    assert full["RecallErrorRateHigh"]["for"] == "5m"
    assert short["RecallErrorRateHigh"]["for"] == "5s"
    assert "[5s]" in short["engram:recall_errors:ratio_5mNone"]["expr"]


def _rules(time_scale: float) -> list[dict[str, str]]:
    rules: list[dict[str, str]] = rule_document(SPEC, time_scale=time_scale)["groups"][0]["rules"]
    return rules


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5m"), (90, "90s"), (0.25, "250ms"), (86400, "1d"), (0, "0s"), (1.5, "1500ms")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_windows_offsets_and_subqueries_are_scaled() -> None:
    assert scaled("rate(x[5m]) + y[1h:30s] offset 1d + z[2h:]", 60) == "rate(x[5s]) + y[1m:500ms] offset 24m + z[2m:]"


def test_the_runbooks_dashboards() -> None:
    found = dashboards(SPEC)
    expected = {
        "dual-memory-overview": ("Dual Memory Architecture Overview", "30s"),
        "cognitive-metrics": ("Cognitive Metrics Tuning", "1m"),
        "canary-comparison": ("Canary vs Control Comparison", "30s"),
        "slo-compliance": ("SLO Compliance", "1m"),
        "engram-overview": ("Engram Overview", "30s"),
    }
    assert {uid: (model["title"], model["refresh"]) for uid, model in found.items()} == expected
    titles = {uid: {panel["title"] for panel in model["panels"]} for uid, model in found.items()}
    assert {"Concept Formation Rate", "Binding Index Stats", "Binding Dynamics", "Blended Recall Latency"} <= titles[
        "dual-memory-overview"
    ]
    assert "Convergent Retrieval" in titles["dual-memory-overview"]
    assert {"Consolidation Performance", "Fan Effect Statistics", "Semantic Pathway Health"} <= titles[
        "cognitive-metrics"
    ]
    assert {"P99 Latency: Canary vs Control", "Throughput", "Error Rate"} <= titles["canary-comparison"]
    assert any("Latency SLO" in title for title in titles["slo-compliance"])
    assert "Memory Usage" in titles["engram-overview"]


def test_panels_stand_apart_and_know_their_datasource() -> None:
    for uid, model in dashboards(SPEC).items():
        panels = [panel for panel in model["panels"] if panel["type"] != "row"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in model["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, f"{uid}: {panel['title']} overlaps"
            assert max(x for x, _ in cells) < 24
            taken |= cells
        for panel in panels:
            assert panel["datasource"]["uid"] == DATASOURCE_UID
            assert panel["targets"], f"{uid}: {panel['title']} asks nothing"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_provisioning_agrees_with_itself(tmp_path: Path) -> None:
    write_assets(tmp_path, SPEC, engram="e:1", prometheus_url="http://p:9", dashboards_path="/d", api_key_file="/k")
    source = yaml.safe_load((tmp_path / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert source["datasources"][0]["uid"] == DATASOURCE_UID
    assert source["datasources"][0]["url"] == "http://p:9"
    provider = yaml.safe_load((tmp_path / "grafana/provisioning/dashboards/engram.yml").read_text("utf-8"))
    assert provider["providers"][0]["options"]["path"] == "/d"
    assert {p.stem for p in (tmp_path / "grafana/dashboards").iterdir()} == set(dashboards(SPEC))
    for path in (tmp_path / "grafana/dashboards").iterdir():
        assert json.loads(path.read_text("utf-8"))["uid"] == path.stem
    scrape = yaml.safe_load((tmp_path / "prometheus/prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    assert scrape["authorization"] == {"type": "Bearer", "credentials_file": "/k"}
    assert scrape["static_configs"] == [{"targets": ["e:1"]}]


def test_a_baseline_of_phase_0_is_written_into_the_rules() -> None:
    def first(given: float | None) -> dict[str, str]:
        found: dict[str, str] = rule_document(SPEC, phase0_bytes=given)["groups"][0]["rules"][0]
        return found

    assert first(2e8) == {"record": "engram:phase0_resident_memory_bytes", "expr": "vector(200000000)"}
    assert "phase0" not in first(None)["record"]


def test_unusable_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="time scale"):
        write_assets(tmp_path, SPEC, engram="e:1", time_scale=0.5)
    with pytest.raises(UsageError, match="host:port"):
        write_assets(tmp_path, SPEC, engram="http://e:1")
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(EnvironmentUnusable, match="monitoring assets"):
        write_assets(tmp_path / "file", SPEC, engram="e:1")


BROKEN = {
    "unknown signal": ('signal = "blended_p99"', 'signal = "blended"', "is not one of"),
    "both sides": ("above = 0.015\n", "above = 0.015\nbelow = 1.0\n", "either above or below"),
    "no duration": ('for = "10m"', 'for = "ten minutes"', "no duration"),
    "unknown key": ("[scrape]\n", "[scrape]\ninterval = 1\n", "unknown key"),
    "burn": ('long = "1h", short = "5m"', 'long = "5m", short = "1h"', "short window below the long one"),
    "limit": ('limit = "error_rate"', 'limit = "errors"', "is not one of"),
    "window": ('[$w]))"\ntitle = "recalls without', '[5m]))"\ntitle = "recalls without', r"\$w"),
    "family": ('  "engram_recall_total",\n', '  "engram recall",\n', "names of metrics"),
    "record": ('record = "engram:up"', 'record = "engram up"', "no name of a series"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_in_the_file_names_file_line_and_key(name: str, tmp_path: Path) -> None:
    old, new, words = BROKEN[name]
    text = (ROOT / "scenarios/monitoring.toml").read_text("utf-8")
    if name == "window":
        text = text.replace('rate(engram_recall_total[$w]))"\ntitle', 'rate(engram_recall_total[5m]))"\ntitle')
        text = text.replace("rate(engram_recall_errors_total[$w])", "rate(engram_recall_errors_total[5m])")
    else:
        assert old in text
        text = text.replace(old, new, 1)
    file = tmp_path / "monitoring.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        load_monitoring(file, load_objectives(ROOT / "scenarios/slo.toml"))
    assert re.search(r"monitoring\.toml:\d+: ", str(caught.value))
