"""The page every alert links to: what it means, when it fires, what to do; made from the monitoring file."""

from __future__ import annotations

from harness.monitoring.rules import (
    ABSENT_ALERT,
    MISSING_ALERT,
    PHASE0_ALERT,
    TEST_ALERT,
    TEST_GROUP,
    rule_document,
)
from harness.monitoring.windows import duration
from harness.scenario.monitoring import Burn, MonitoringSpec, SloSpec

_HEAD = """# Alerts

Made from `scenarios/monitoring.toml` (`make monitoring`); every alert links to its section. Critical pages at once,
warning goes to the chat.

An alert that fires goes on firing while its signal is absent: it resolves on evidence, not on silence. Its value is NaN
then. A signal that is NaN (data, but no traffic) resolves it.
"""
_OURS = {
    ABSENT_ALERT: (
        "See whether Prometheus's configuration and service discovery still name Engram.",
        "docs/design.md, 'Monitoring'",
    ),
    PHASE0_ALERT: (
        "Record the phase 0 baseline and write its resident memory into `[phase0]` of `scenarios/monitoring.toml`.",
        "rollout runbook 1.2, item 2",
    ),
    TEST_ALERT: (
        "Nothing, while it fires. `harness validate-monitoring` wants it firing; route it to a dead man's switch.",
        "rollout runbook 0.4: test alert fires correctly",
    ),
}


def alert_page(spec: MonitoringSpec) -> str:
    """The page, in Markdown."""
    words = _words(spec)
    parts = [_HEAD]
    for group in rule_document(spec)["groups"]:
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            action, source = words[rule["alert"]]
            notes, labels = rule["annotations"], rule["labels"]
            held_for = "" if rule["for"] == "0s" else f", for {rule['for']}"
            where = " · group `monitoring_test`" if group["name"] == TEST_GROUP else ""
            parts.append(
                f"## {rule['alert']}\n\n{notes['summary']}. *{labels['severity']}*, {labels['component']}{where}\n\n"
                f"```promql\n{_condition(rule['alert'], rule['expr'], spec)}\n```\n\n"
                f"Fires when that holds{held_for}. {action}\n\nSource: {source}.\n"
            )
    return "\n".join(parts)


def _condition(name: str, expr: str, spec: MonitoringSpec) -> str:
    """The condition itself: without the part that holds a firing alert, and with one family for all."""
    if name == MISSING_ALERT:
        families = "\n".join(f"#   {family}" for family in spec.required.families)
        first = expr.partition("\nor ")[0]
        return f"{first}\n# and so for each of\n{families}"
    condition, _, held = expr.rpartition("\nor (sum by (")
    return condition[1:-1] if held and condition else expr


def _words(spec: MonitoringSpec) -> dict[str, tuple[str, str]]:
    """Action and source by alert."""
    found = {alert.name: (alert.action, alert.source) for alert in spec.alerts} | _OURS
    found[MISSING_ALERT] = (spec.required.action, spec.required.source)
    for slo in spec.slos:
        for suffix, burns in (("BudgetBurn", spec.page), ("BudgetBurnSlow", spec.ticket)):
            found[f"{slo.name}{suffix}"] = _burn_words(slo, burns, spec.burn_source)
    return found


def _burn_words(slo: SloSpec, burns: tuple[Burn, ...], source: str) -> tuple[str, str]:
    rates = " or ".join(
        f"{burn.factor:g} times as fast as it may over {duration(burn.long_s)} and {duration(burn.short_s)}"
        for burn in burns
    )
    action = f"The budget of {slo.budget * 100:.6g} % burns {rates}: find what is bad on the SLO Compliance dashboard."
    return action, f"{slo.source}; {source}"
