"""Prometheus's rules, made from the monitoring file; nothing here knows a threshold.

Missing data must not look healthy, which takes three things. A signal is absent where there is no data, and NaN where
there is data but no traffic. An alert that fires goes on firing while its signal is absent (:func:`held`), so that it
resolves only on evidence. And a service that cannot be scraped, is not scraped at all, or has lost a metric has alerts
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.monitoring.windows import duration, scaled
from harness.scenario.monitoring import AlertSpec, Burn, MonitoringSpec, SloSpec

GROUP = "dual_memory"
TEST_GROUP = "monitoring_test"
TEST_ALERT = "MonitoringTest"
MISSING_ALERT = "EngramMetricsMissing"
ABSENT_ALERT = "EngramAbsent"
PHASE0_ALERT = "Phase0BaselineMissing"
PHASE0_SERIES = "engram:phase0_resident_memory_bytes"
RUNBOOK = "docs/operations/alerts.md"

Document = dict[str, Any]


def rule_document(spec: MonitoringSpec, *, time_scale: float = 1.0, phase0_bytes: float | None = None) -> Document:
    """The rule file: one group, so that an alert reads signals recorded in the same evaluation.

    ``phase0_bytes`` is the resident memory of the phase 0 baseline (default: what the file says; 0 is none).
    """
    interval = duration(spec.scrape.evaluation_s / time_scale)
    rules = [
        *_phase0(spec, phase0_bytes),
        *(_record(signal.record, signal.expr, signal.by, signal.labels) for signal in spec.signals),
        *(rule for slo in spec.slos for rule in _slo_records(spec, slo)),
        *(_alert(alert) for alert in spec.alerts),
        *(rule for slo in spec.slos for rule in _slo_alerts(spec, slo)),
        _absent(spec),
        _missing(spec),
        _phase0_missing(spec),
    ]
    test = {"name": TEST_GROUP, "interval": interval, "rules": [_test_alert(spec)]}
    return {"groups": [{"name": GROUP, "interval": interval, "rules": _at_scale(rules, time_scale)}, test]}


def alert_names(spec: MonitoringSpec) -> tuple[str, ...]:
    """Every alert of group ``dual_memory``."""
    rules = rule_document(spec)["groups"][0]["rules"]
    return tuple(rule["alert"] for rule in rules if "alert" in rule)


def slo_record(slo: SloSpec, window_s: float) -> str:
    """The series of the share of bad events over a window (its name keeps the window of full scale)."""
    return f"engram:slo_{_snake(slo.name)}:bad_ratio_{duration(window_s)}"


def held(condition: str, name: str, identity: Sequence[str], presence: str) -> str:
    """``condition``, or where the alert fires already: that ``presence`` has no value. Its value is NaN then."""
    labels = ", ".join(identity)
    firing = f'sum by ({labels}) (ALERTS{{alertname="{name}", alertstate="firing"}}) * NaN'
    return f"({condition})\nor ({firing} unless on ({labels}) {presence})"


def _at_scale(rules: Sequence[Document], time_scale: float) -> list[Document]:
    found = []
    for rule in rules:
        changed = {**rule, "expr": scaled(rule["expr"], time_scale)}
        if "for" in rule:
            changed["for"] = duration(float(rule["for"]) / time_scale)
        found.append(changed)
    return found


def _record(record: str, expr: str, by: Sequence[str], labels: Mapping[str, str]) -> Document:
    rule: Document = {"record": record, "expr": expr.replace("$by", ", ".join(by))}
    return rule | ({"labels": dict(labels)} if labels else {})


def _phase0(spec: MonitoringSpec, given: float | None) -> list[Document]:
    value = spec.phase0_bytes if given is None else given
    return [{"record": PHASE0_SERIES, "expr": f"vector({value:.10g})"}] if value > 0 else []


def _rule(
    name: str, expr: str, for_s: float, severity: str, component: str, summary: str, description: str
) -> Document:
    return {
        "alert": name,
        "expr": expr,
        "for": for_s,
        "labels": {"severity": severity, "component": component},
        "annotations": {"summary": summary, "description": description, "runbook": f"{RUNBOOK}#{name.lower()}"},
    }


def _alert(alert: AlertSpec) -> Document:
    expr = held(alert.condition, alert.name, alert.signal.identity, alert.signal.selector)
    return _rule(alert.name, expr, alert.for_s, alert.severity, alert.component, alert.summary, alert.description)


def _slo_records(spec: MonitoringSpec, slo: SloSpec) -> list[Document]:
    return [
        _record(slo_record(slo, window_s), slo.bad.replace("$w", duration(window_s)), slo.by, {})
        for window_s in spec.burn_windows_s
    ]


def _slo_alerts(spec: MonitoringSpec, slo: SloSpec) -> list[Document]:
    found = []
    for suffix, burns, severity in (("BudgetBurn", spec.page, "critical"), ("BudgetBurnSlow", spec.ticket, "warning")):
        name = f"{slo.name}{suffix}"
        condition = "\nor ".join(_burning(slo, burn) for burn in burns)
        presence = slo_record(slo, min(burn.short_s for burn in burns))
        found.append(
            _rule(
                name,
                held(condition, name, slo.by, presence),
                0.0,
                severity,
                slo.component,
                f"The error budget of '{slo.title}' burns too fast",
                f"{{{{ $value | humanizePercentage }}}} bad on {{{{ $labels.instance }}}}; "
                f"the objective allows {slo.budget * 100:.6g} %",
            )
        )
    return found


def _burning(slo: SloSpec, burn: Burn) -> str:
    limit = f"{burn.factor * slo.budget:.6g}"
    return f"({slo_record(slo, burn.long_s)} > {limit} and {slo_record(slo, burn.short_s)} > {limit})"


def _absent(spec: MonitoringSpec) -> Document:
    return _rule(
        ABSENT_ALERT,
        f'absent(up{{job="{spec.scrape.job}"}})',
        _down_for_s(spec),
        "critical",
        "service",
        "Prometheus scrapes no Engram",
        f"There is no target of job {spec.scrape.job}: nothing is watched",
    )


def _down_for_s(spec: MonitoringSpec) -> float:
    return next(alert.for_s for alert in spec.alerts if alert.name == "EngramDown")


def _missing(spec: MonitoringSpec) -> Document:
    up = f'(up{{job="{spec.scrape.job}"}} == 1)'
    parts = [
        f'label_replace({up} unless on (job, instance) ({family} == {family}), "family", "{family}", "", "")'
        for family in spec.required.families
    ]
    return _rule(
        MISSING_ALERT,
        "\nor ".join(parts),
        spec.required.for_s,
        spec.required.severity,
        spec.required.component,
        "Engram is up and does not export a metric that alerts need",
        "{{ $labels.family }} of {{ $labels.instance }} is missing or NaN: the alerts on it are blind",
    )


def _phase0_missing(spec: MonitoringSpec) -> Document:
    return _rule(
        PHASE0_ALERT,
        f"absent({PHASE0_SERIES})",
        0.0,
        "warning",
        "memory",
        "No phase 0 baseline of memory is known",
        "MemoryFootprintRegression cannot fire: give the baseline's resident memory in bytes",
    )


def _test_alert(spec: MonitoringSpec) -> Document:
    """Fires while Engram is scraped: proof that scrape, rules and alerts work from end to end."""
    rule = _rule(
        TEST_ALERT,
        f'up{{job="{spec.scrape.job}"}} == 1',
        0.0,
        "none",
        "monitoring",
        "The test alert: fires while Engram is scraped",
        "Scrape, rules and alerts work for {{ $labels.instance }}; silence is the news",
    )
    return {**rule, "for": "0s"}


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
