"""Against a real Prometheus that scrapes a real Engram under load: every query has data, every name is used."""

from __future__ import annotations

import math
import re
from pathlib import Path

from harness.engram import EngramClient
from harness.engram.metrics import parse_prometheus
from harness.faults.recipe import EndProcessRecipe
from harness.monitoring.dashboards import dashboard_queries
from harness.monitoring.rules import rule_document
from harness.prometheus import PrometheusClient
from tests.monitoring.conftest import PHASE0_BYTES, SCALE, Stack

ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"\b(?:engram|process)_[a-z0-9_]+\b")
_QUOTED = re.compile(r'"((?:engram|process)_[a-z0-9_]+_(?:total|seconds|bytes|state))"')
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
# What may be NaN although there is traffic, and why.
NO_NUMBER = {"engram:quality_violations:per_concept_formed": "while no concept is formed and none is violated"}
# What is exported and asked for by nobody, and why.
UNUSED: dict[str, str] = {}


def test_every_query_of_every_panel_has_data(stack: Stack) -> None:
    empty, no_number, count = [], [], 0
    with PrometheusClient(stack.prometheus) as client:
        for uid, queries in dashboard_queries(stack.spec, time_scale=SCALE).items():
            for title, expr in queries:
                found, count = client.query(expr), count + 1
                if not found.series:
                    empty.append(f"{uid} / {title}: {expr}")
                elif found.empty and not any(name in expr for name in NO_NUMBER):
                    no_number.append(f"{uid} / {title}: {expr}")
    assert count > 70
    assert not empty
    assert not no_number


def test_every_rule_evaluates_and_every_signal_has_data(stack: Stack) -> None:
    with PrometheusClient(stack.prometheus) as client:
        rules = [rule for group in client.rules() for rule in group.rules]
        expected = [rule for group in rule_document(stack.spec, phase0_bytes=1)["groups"] for rule in group["rules"]]
        assert len(rules) == len(expected)
        assert not [f"{rule.name}: {rule.last_error}" for rule in rules if rule.health != "ok"]
        silent = [rule.name for rule in rules if rule.kind == "recording" and not client.query(rule.name).series]
    assert not silent


def test_healthy_alerts_are_silent_but_for_the_test_alert(stack: Stack) -> None:
    """On a machine that is busy, latency may alert: only what latency has no part in is asked for."""
    with PrometheusClient(stack.prometheus) as client:
        firing = {alert.name: alert for alert in client.alerts() if alert.state == "firing"}
    assert "MonitoringTest" in firing
    blind = {"EngramDown", "EngramAbsent", "EngramMetricsMissing", "Phase0BaselineMissing", "NoRecallTraffic"}
    assert not blind & set(firing)
    for alert in firing.values():
        assert "error" not in alert.annotations["description"].lower().split()
        assert "<error" not in alert.annotations["description"]


def test_names_in_both_directions(stack: Stack) -> None:
    """Nothing is asked for that is not exported; nothing is exported that nobody asks for without a reason given."""
    with EngramClient(stack.engram) as client:
        exported = {_family(name) for name in client.metrics().series}
    recorded = {str(rule["record"]) for rule in _rules(stack) if "record" in rule}
    asked: dict[str, set[str]] = {}
    for place, expr in _asking(stack):
        for name in _NAME.findall(expr):
            if name not in recorded:
                asked.setdefault(_family(name), set()).add(place)
    assert not {name: places for name, places in asked.items() if name not in exported}
    unused = exported - set(asked)
    assert unused == set(UNUSED), f"exported and unused: {sorted(unused ^ set(UNUSED))}"


def _family(name: str) -> str:
    base = _SUFFIX.sub("", name)
    # A bare sum is a family of its own, as the runbook's name of it is.
    return name if name == "engram_fan_effect_penalty_sum" else base


def _rules(stack: Stack) -> list[dict[str, str]]:
    return [rule for group in rule_document(stack.spec, phase0_bytes=PHASE0_BYTES)["groups"] for rule in group["rules"]]


def _asking(stack: Stack) -> list[tuple[str, str]]:
    """(place, text): expressions of rules and panels, and the names the harness itself reads for drills."""
    found = [
        (str(rule.get("alert") or rule.get("record")), re.sub(r'"[^"]*"', "", rule["expr"])) for rule in _rules(stack)
    ]
    for uid, queries in dashboard_queries(stack.spec).items():
        found += [(f"{uid} / {title}", re.sub(r'"[^"]*"', "", expr)) for title, expr in queries]
    for file in ("judge/witness.py", "judge/quantities.py", "judge/effects.py", "judge/effects_families.py"):
        text = (ROOT / "harness" / file).read_text("utf-8")
        found += [
            (file, name)
            for name in re.findall(r'"((?:engram|process)_[a-z0-9_]+_(?:total|seconds|bytes|state))"', text)
        ]
    return found


def test_a_renamed_metric_would_be_seen() -> None:
    """The comparison of names can fail."""
    snapshot = parse_prometheus("engram_recall_sum 1\n")
    assert {_family(name) for name in snapshot.series} == {"engram_recall"}
    assert not math.isnan(snapshot.value("engram_recall_sum") or math.nan)


def test_nothing_of_the_stack_outlives_a_killed_pytest(stack: Stack) -> None:
    """Its guardian ends what stands in the ledger: both processes must."""
    ended = [
        recipe.process
        for entry in stack.ledger.open_entries
        for recipe in entry.recipes
        if isinstance(recipe, EndProcessRecipe)
    ]
    assert stack.target.process in ended
    assert {entry.what for entry in stack.ledger.open_entries} >= {"Prometheus"}
    assert len(ended) == 2
    assert all(process.alive() for process in ended)
