"""``harness validate-monitoring``: is the monitoring stack of a rollout what it seems to be?"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from harness.errors import EXIT_FAILED, EXIT_OK, UsageError
from harness.monitoring.validation import Finding


def register(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "validate-monitoring", help="check Prometheus, its rules, Grafana's dashboards and Engram's metrics"
    )
    parser.add_argument("--prometheus-url", metavar="URL", help="[ENGRAM_PROMETHEUS_URL]")
    parser.add_argument("--grafana-url", metavar="URL", help="[ENGRAM_GRAFANA_URL]")
    parser.add_argument("--target", metavar="URL", help="the Engram itself: its metrics, and as a witness of recalls")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=_validate)


def _validate(arguments: argparse.Namespace) -> int:
    prometheus = arguments.prometheus_url or os.environ.get("ENGRAM_PROMETHEUS_URL")
    grafana = arguments.grafana_url or os.environ.get("ENGRAM_GRAFANA_URL")
    target = arguments.target
    if not prometheus and not grafana and not target:
        raise UsageError("nothing to validate", hint="give --prometheus-url, --grafana-url or --target")
    findings = validate(prometheus, grafana, target)
    good = all(finding.verdict != "failed" for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": good, "findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        _print(findings)
    return EXIT_OK if good else EXIT_FAILED


def validate(prometheus: str | None, grafana: str | None, target: str | None) -> list[Finding]:
    """Every finding about what is given; the others are skipped with the reason.

    Raises an error of exit code 3 where a URL does not answer, refuses us, or is something else.
    """
    from harness.engram import EngramClient
    from harness.monitoring.assets import load_spec
    from harness.monitoring.grafana import GrafanaClient
    from harness.monitoring.validation import skipped, validate_exporter, validate_prometheus
    from harness.monitoring.validation_grafana import validate_grafana
    from harness.monitoring.validation_witness import validate_witness
    from harness.prometheus import PrometheusClient
    from harness.scenario.slo import load_objectives
    from harness.settings import scenarios_folder

    folder = scenarios_folder()
    spec, limits = load_spec(folder), load_objectives(folder / "slo.toml").limits
    found: list[Finding] = []
    if prometheus:
        with PrometheusClient.from_environment(prometheus) as client:
            found += validate_prometheus(client, spec)
    else:
        found.append(skipped("prometheus", "no --prometheus-url"))
    if grafana:
        with GrafanaClient.from_environment(grafana) as shown:
            found += validate_grafana(shown, spec)
    else:
        found.append(skipped("grafana", "no --grafana-url"))
    if target:
        with EngramClient(target) as engram:
            found.append(validate_exporter(engram, spec))
            found += validate_witness(engram, latency_agreement=limits["witness_latency_agreement"].value)
    else:
        found.append(skipped("engram", "no --target"))
    return found


def _print(findings: Sequence[Finding]) -> None:
    words = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{words[finding.verdict]:8}{finding.check:{width}}  {finding.detail}")
    failures = sum(finding.verdict == "failed" for finding in findings)
    print(f"{failures} of {len(findings)} checks failed" if failures else "the monitoring stack works")
