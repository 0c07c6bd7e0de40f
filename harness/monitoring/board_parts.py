"""What several dashboards ask and draw alike."""

from __future__ import annotations

from harness.monitoring.panels import Panel, Query
from harness.scenario.monitoring import MonitoringSpec

RECALL = "engram_recall_duration_seconds_bucket"
BLENDED = "engram_blended_recall_duration_seconds_bucket"
RUNS = "engram_consolidation_duration_seconds_bucket"


def limit(spec: MonitoringSpec, alert: str) -> float:
    return next(found.threshold for found in spec.alerts if found.name == alert)


def objective(spec: MonitoringSpec, slo: str) -> float:
    return next(1.0 - found.budget for found in spec.slos if found.name == slo)


def quantile(q: float, bucket: str, window: str = "5m", by: str = "instance", where: str = "") -> str:
    return f"histogram_quantile({q:g}, sum by ({by}, le) (rate({bucket}{where}[{window}])))"


def quantiles(bucket: str, window: str = "5m") -> tuple[Query, ...]:
    return tuple(Query(quantile(q, bucket, window), f"P{q * 100:g} {{{{instance}}}}") for q in (0.5, 0.95, 0.99))


def rate(counter: str, window: str = "5m", times: str = "") -> str:
    return f"sum by (instance) (rate({counter}[{window}])){times}"


def alerts_panel() -> Panel:
    return Panel(
        "Alerts",
        (Query('sum by (alertname, alertstate, severity) (ALERTS{job="engram"})', "{{alertname}} {{alertstate}}"),),
        about="MonitoringTest is always among them while Engram is scraped: an empty panel is a broken stack.",
        width=24,
    )
