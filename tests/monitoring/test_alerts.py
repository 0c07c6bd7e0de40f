"""Every alert against Prometheus's own evaluation: when it fires, when it must not, and what missing data do.

The tests are tested: with its rule deleted every alert's cases fail, and without the part that holds a firing alert
every case of vanishing series fails.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from harness.monitoring.assets import load_spec
from harness.monitoring.rules import Document, rule_document
from tests.monitoring.alert_cases import Case, cases
from tests.monitoring.promtool import PROMTOOL, failed_cases, rules_for, without, write_test

ROOT = Path(__file__).resolve().parents[2]
SPEC = load_spec(ROOT / "scenarios")
CASES = cases(SPEC)
ALERTS = [rule["alert"] for group in rule_document(SPEC)["groups"] for rule in group["rules"] if "alert" in rule]
LABELS = {
    rule["alert"]: rule["labels"]
    for group in rule_document(SPEC)["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on the path (Debian: prometheus)")


def test_every_alert_has_its_cases() -> None:
    """At least three: it fires, it must not, and what happens when data are missing."""
    count: Counter[str] = Counter()
    for case in CASES:
        instances = {selector.partition('instance="')[2].partition('"')[0] for selector, _ in case.series}
        count[case.alert] += max(1, len(instances))
    assert not set(ALERTS) ^ set(count)
    assert min(count.values()) >= 3, count
    assert {case.alert for case in CASES if any(firing for _, firing in case.checks)} == set(ALERTS)
    assert len({case.name for case in CASES}) == len(CASES)


def _rules(case: Case) -> Document:
    return rules_for(SPEC, case.alert, phase0=case.phase0)


@needs_promtool
def test_every_case(tmp_path: Path) -> None:
    assert failed_cases([write_test(tmp_path, _rules(case), case, LABELS[case.alert]) for case in CASES]) == set()


@needs_promtool
def test_a_deleted_rule_is_seen(tmp_path: Path) -> None:
    """One rule at a time: every case in which its alert fires fails without it."""
    firing = [case for case in CASES if any(firing for _, firing in case.checks)]
    files = [write_test(tmp_path, without(_rules(case), case.alert), case, LABELS[case.alert]) for case in firing]
    assert failed_cases(files) == {case.name for case in firing}
    assert {case.alert for case in firing} == set(ALERTS)


@needs_promtool
def test_what_holds_a_firing_alert_is_needed(tmp_path: Path) -> None:
    """Without it, every alert whose series vanish resolves."""
    vanishing = [case.only(-1) for case in CASES if "vanishes, " in case.what]
    files = []
    for case in vanishing:
        document = _rules(case)
        (rule,) = (rule for rule in document["groups"][0]["rules"] if rule.get("alert") == case.alert)
        rule["expr"], held, _ = rule["expr"].rpartition("\nor (sum by (")
        assert held
        files.append(write_test(tmp_path, document, case, LABELS[case.alert]))
    assert failed_cases(files) == {case.name for case in vanishing}


@needs_promtool
def test_the_checked_in_files_are_valid() -> None:
    assert PROMTOOL is not None
    folder = ROOT / "harness/monitoring/generated/prometheus"
    for command in (
        ["check", "config", str(folder / "prometheus.yml")],
        ["check", "rules", str(folder / "rules/dual_memory.yml")],
    ):
        done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
