"""Whether the monitoring stack works: each question is asked of what runs, and each lie has a message of its own."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from harness.engram import EngramClient
from harness.errors import TargetRefused
from harness.monitoring.rules import GROUP, TEST_ALERT, alert_names
from harness.prometheus import PrometheusClient, RuleGroup
from harness.scenario.monitoring import MonitoringSpec

STALE_SCRAPES = 3.0  # scrape intervals after which a sample is not fresh: two may be lost
# Exported with zero values even while blended recall is off (runbook 0.4).
DUAL_MEMORY = ("engram_concepts_formed_total", "engram_bindings_created_total", "engram_blended_recall_total")


@dataclass(frozen=True)
class Finding:
    """One question and its answer.

    ``verdict``: ``ok``, ``failed``, ``skipped`` (nobody was to look) or, in a record, ``unasked`` (somebody was to look
    and could not), with the reason in ``detail``.
    """

    check: str
    verdict: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"check": self.check, "verdict": self.verdict, "detail": self.detail}


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", detail)


def failed(check: str, detail: str) -> Finding:
    """It is not."""
    return Finding(check, "failed", detail)


def skipped(check: str, detail: str) -> Finding:
    """Nobody looked, and why."""
    return Finding(check, "skipped", detail)


def unasked(check: str, detail: str) -> Finding:
    """Whoever looked got no answer, and why."""
    return Finding(check, "unasked", detail)


def validate_prometheus(client: PrometheusClient, spec: MonitoringSpec) -> list[Finding]:
    """Every question to Prometheus. Raises what the client raises where it is no Prometheus or does not answer."""
    found = [_healthy(client)]
    if found[0].verdict != "ok":
        return found  # while it starts, every other answer would be about nothing
    checks: tuple[Callable[[PrometheusClient, MonitoringSpec], Finding], ...] = (
        _target_up,
        _scrape_fresh,
        _metrics_scraped,
        _rules_loaded,
        _rules_without_error,
        _test_alert,
    )
    return found + [check(client, spec) for check in checks]


def validate_exporter(client: EngramClient, spec: MonitoringSpec) -> Finding:
    """Whether Engram itself exports what alerts and panels need, by one scrape of ours."""
    snapshot = client.metrics()
    names = {name for name in snapshot.series if any(not math.isnan(value) for _, value in snapshot.series[name])}
    return _names("metrics exported", names, spec, f"by {client.base_url}/metrics")


def _healthy(client: PrometheusClient) -> Finding:
    if not client.ready():
        return failed("prometheus healthy", f"{client.base_url} is not ready (503)")
    if not client.healthy():
        return failed("prometheus healthy", f"{client.base_url} says it is unhealthy")
    return ok("prometheus healthy", f"version {client.version()}")


def _target_up(client: PrometheusClient, spec: MonitoringSpec) -> Finding:
    targets = [target for target in client.targets() if target.job == spec.scrape.job]
    if not targets:
        return failed("target up", f"Prometheus has no target of job {spec.scrape.job!r}")
    bad = [
        f"{t.scrape_url} is {t.health}" + (f": {t.last_error}" if t.last_error else "")
        for t in targets
        if t.health != "up"
    ]
    if bad:
        return failed("target up", "; ".join(bad))
    return ok("target up", ", ".join(target.scrape_url for target in targets))


def _scrape_fresh(client: PrometheusClient, spec: MonitoringSpec) -> Finding:
    """By the age of the samples themselves: an exporter may answer with old ones, and `up` would not tell."""
    job = f'{{job="{spec.scrape.job}"}}'
    intervals = [t.interval_s for t in client.targets() if t.job == spec.scrape.job and t.interval_s > 0]
    # Never longer than it is meant to be: rates over a minute have nothing to go by where a scrape is an hour apart.
    limit_s = STALE_SCRAPES * min(spec.scrape.interval_s, max(intervals, default=spec.scrape.interval_s))
    for series in (f"up{job}", f"engram_recall_total{job}"):
        age = client.query(f"max(time() - timestamp({series}))").value()
        if age is None:
            return failed("scrape fresh", f"there is no sample of {series} that is young enough to be seen")
        if age > limit_s:
            return failed("scrape fresh", f"the last sample of {series} is {age:.1f} s old, more than {limit_s:g} s")
    return ok("scrape fresh", f"samples are younger than {limit_s:g} s")


def _metrics_scraped(client: PrometheusClient, spec: MonitoringSpec) -> Finding:
    names = {
        series.name
        for series in client.query(f'{{job="{spec.scrape.job}"}}').series
        if series.latest is not None and not math.isnan(series.latest.value)
    }
    return _names("metrics scraped", names, spec, f"in {client.base_url}")


def _names(check: str, names: Iterable[str], spec: MonitoringSpec, where: str) -> Finding:
    there = set(names)
    wanted = dict.fromkeys((*DUAL_MEMORY, *spec.required.families))
    missing = [name for name in wanted if name not in there]
    if not missing:
        return ok(check, f"{len(wanted)} families that alerts need {where}")
    return failed(
        check, f"missing or NaN {where}: " + ", ".join(_with_nearest(name, there - set(wanted)) for name in missing)
    )


def _with_nearest(name: str, others: set[str]) -> str:
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
    return f"{name} (renamed to {near[0]}?)" if near else name


def _rules_loaded(client: PrometheusClient, spec: MonitoringSpec) -> Finding:
    groups = {group.name: group for group in client.rules()}
    group = groups.get(GROUP)
    if group is None:
        there = ", ".join(sorted(groups)) or "no group at all"
        return failed("rules loaded", f"there is no rule group {GROUP!r}; there is {there}")
    names = {rule.name for rule in group.rules if rule.kind == "alerting"}
    missing = [name for name in alert_names(spec) if name not in names]
    if missing:
        return failed("rules loaded", f"group {GROUP!r} lacks {', '.join(missing)}")
    records = {rule.name for rule in group.rules if rule.kind == "recording"}
    unrecorded = sorted({signal.record for signal in spec.signals} - records)
    if unrecorded:
        return failed("rules loaded", f"group {GROUP!r} does not record {', '.join(unrecorded)}")
    return ok("rules loaded", f"{len(names)} alerts and {len(records)} recorded series in group {GROUP!r}")


def _rules_without_error(client: PrometheusClient, spec: MonitoringSpec) -> Finding:
    groups = client.rules()
    bad = [
        f"{rule.name}: {rule.last_error or 'in error'}"
        for group in groups
        for rule in group.rules
        if rule.health == "err" or rule.last_error
    ]
    if bad:
        return failed("rules without error", "; ".join(bad))
    waiting = [rule.name for group in groups for rule in group.rules if rule.health != "ok"]
    if waiting:
        return failed("rules without error", f"not evaluated yet: {', '.join(waiting[:5])}")
    return ok("rules without error", f"{_count(groups)} rules evaluate")


def _count(groups: Iterable[RuleGroup]) -> int:
    return sum(len(group.rules) for group in groups)


def _test_alert(client: PrometheusClient, spec: MonitoringSpec) -> Finding:
    """The alert that fires while Engram is scraped: scrape, rule and alert work from end to end, and just now."""
    check = "test alert fires"
    states = {alert.state for alert in client.alerts() if alert.name == TEST_ALERT}
    if not states:
        return failed(check, f"{TEST_ALERT} does not fire: is its rule loaded, is Engram scraped?")
    if "firing" not in states:
        return failed(check, f"{TEST_ALERT} is {', '.join(sorted(states))}, not firing")
    age = client.query(f'max(time() - timestamp(ALERTS{{alertname="{TEST_ALERT}"}}))').value()
    intervals = [group.interval_s for group in client.rules() if group.name == GROUP]
    limit_s = STALE_SCRAPES * min(spec.scrape.evaluation_s, max(intervals, default=spec.scrape.evaluation_s))
    if age is None or age > limit_s:
        said = "at a time not seen" if age is None else f"{age:.1f} s ago"
        return failed(check, f"{TEST_ALERT} was evaluated {said}, not within {limit_s:g} s")
    return ok(check, f"{TEST_ALERT} fires, evaluated {age:.1f} s ago")


def query_fails(client: PrometheusClient, expr: str) -> str:
    """Why a panel's expression shows nothing, empty where it shows something. NaN is something: no traffic."""
    try:
        result = client.query(expr)
    except TargetRefused as error:
        return error.what
    return "" if result.series else "no data"
