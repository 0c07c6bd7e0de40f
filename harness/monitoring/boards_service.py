"""The canary, SLO and service dashboards."""

from __future__ import annotations

from harness.monitoring.board_parts import RECALL, alerts_panel, limit, objective, quantile, quantiles
from harness.monitoring.panels import Board, Panel, Query
from harness.monitoring.rules import PHASE0_SERIES, slo_record
from harness.scenario.monitoring import MonitoringSpec


def _both(canary: str, control: str) -> tuple[Query, ...]:
    return (Query(canary, "Canary (blended)"), Query(control, "Control (episodic-only)"))


def _cohorts(expr: str) -> tuple[Query, ...]:
    return _both(expr.replace("$c", 'cohort=~"canary|treatment"'), expr.replace("$c", 'cohort="control"'))


def canary(spec: MonitoringSpec) -> Board:
    def by_cohort(q: float) -> tuple[Query, ...]:
        return _cohorts(quantile(q, RECALL, by="cohort", where="{$c}"))

    p99 = Panel(
        "P99 Latency: Canary vs Control", by_cohort(0.99), "s", limit=limit(spec, "BlendedRecallLatencyP99Breach")
    )
    ratio = Panel(
        "P99 Latency Ratio",
        (Query("engram:recall_duration_seconds:canary_to_control_p99", "canary / control {{instance}}"),),
        limit=limit(spec, "CanaryP99LatencyRegression"),
    )
    throughput = Panel("Throughput", _cohorts("sum by (cohort) (rate(engram_recall_total{$c}[1m]))"), "reqps")
    share = Panel(
        "Share of Traffic",
        (
            Query(
                'sum(rate(engram_recall_total{cohort=~"canary|treatment"}[5m])) / sum(rate(engram_recall_total[5m]))',
                "canary",
            ),
        ),
        "percentunit",
    )
    errors = Panel(
        "Error Rate",
        _cohorts("max by (cohort) (engram:recall_errors:ratio_5m{$c})"),
        "percentunit",
        limit=limit(spec, "RecallErrorRateHigh"),
    )
    overlap = Panel(
        "Recall Quality: Top-K Overlap",
        (Query('engram_recall_topk_overlap_ratio{cohort=~"canary|treatment"}', "canary {{instance}}"),),
        "percentunit",
        about="Target: above 85 % (runbook 2.4); control overlaps with itself by definition.",
        limit=spec.lines["topk_overlap_ratio"],
        below=True,
    )
    results = Panel("Recall Quality: Results per Recall", _cohorts("avg by (cohort) (engram_recall_result_count{$c})"))
    return Board(
        "canary-comparison",
        "Canary vs Control Comparison",
        "30s",
        "Both cohorts side by side (runbook 2.4).",
        (
            ("Latency", (p99, ratio, Panel("P50 Latency: Canary vs Control", by_cohort(0.5), "s"))),
            ("Traffic and errors", (throughput, share, errors)),
            ("Recall quality", (overlap, results)),
        ),
    )


def slo(spec: MonitoringSpec) -> Board:
    return Board(
        "slo-compliance",
        "SLO Compliance",
        "1m",
        "The five objectives of the runbook (3.4) and how fast their budgets burn.",
        (("Now", _compliance(spec)), ("Error budgets", _budgets(spec)), ("Alerts", (alerts_panel(),))),
    )


def _compliance(spec: MonitoringSpec) -> tuple[Panel, ...]:
    return (
        Panel(
            "Latency SLO (% < 15 ms)",
            (
                Query(
                    'sum(rate(engram_recall_duration_seconds_bucket{le="0.015"}[5m]))\n/\n'
                    "sum(rate(engram_recall_duration_seconds_count[5m]))",
                    "within 15 ms",
                ),
            ),
            "percentunit",
            limit=objective(spec, "RecallLatency"),
            below=True,
            stat=True,
            width=6,
        ),
        Panel(
            "Error Rate SLO (% that succeed)",
            (
                Query(
                    "1 - (\n  sum(rate(engram_recall_errors_total[5m]))\n  /\n  sum(rate(engram_recall_total[5m]))\n)",
                    "succeed",
                ),
            ),
            "percentunit",
            limit=objective(spec, "RecallErrors"),
            below=True,
            stat=True,
            width=6,
        ),
        Panel(
            "Availability SLO (% uptime)",
            (Query('avg_over_time(up{job="engram"}[24h])'),),
            "percentunit",
            limit=objective(spec, "Availability"),
            below=True,
            stat=True,
            width=4,
        ),
        Panel(
            "Memory Utilization",
            (Query("engram:memory_utilization:ratio"),),
            "percentunit",
            limit=limit(spec, "MemoryPressure"),
            stat=True,
            width=4,
        ),
        Panel(
            "Consolidation Success",
            (Query("engram:consolidation_success:ratio_1h"),),
            "percentunit",
            limit=objective(spec, "Consolidation"),
            below=True,
            stat=True,
            width=4,
        ),
    )


def _budgets(spec: MonitoringSpec) -> tuple[Panel, ...]:
    burning = tuple(
        Panel(
            f"Budget Burn: {slo.title}",
            tuple(
                Query(f"{slo_record(slo, window_s)} / {slo.budget:g}", f"{slo_record(slo, window_s)[-2:].strip('_')}")
                for window_s in spec.burn_windows_s
            ),
            about="1 spends the budget exactly; pages come at 14.4 (1 h and 5 min) and 6 (6 h and 30 min).",
            limit=spec.page[0].factor,
        )
        for slo in spec.slos
    )
    ramp = Panel(
        "Recalls within 15 ms (1 min)",
        (Query("engram:recall_within_15ms:ratio_1m"),),
        "percentunit",
        limit=limit(spec, "RampLatencySpike"),
        below=True,
    )
    return (*burning, ramp)


def engram(spec: MonitoringSpec) -> Board:
    return Board(
        "engram-overview",
        "Engram Overview",
        "30s",
        "The service itself: memory, CPU, traffic, latency.",
        (("Service", _service()), ("Traffic", _traffic(spec)), ("Resources", _resources(spec))),
    )


def _resources(spec: MonitoringSpec) -> tuple[Panel, ...]:
    memory = Panel(
        "Memory Usage",
        (
            Query('process_resident_memory_bytes{job="engram"}', "resident {{instance}}"),
            Query('process_virtual_memory_bytes{job="engram"}', "virtual {{instance}}"),
            Query("engram_memory_limit_bytes", "limit {{instance}}"),
            Query(PHASE0_SERIES, "phase 0 baseline"),
        ),
        "bytes",
        about="Target: less than 10 % above phase 0 (runbook 1.2).",
    )
    growth = Panel(
        "Memory Growth",
        (Query("engram:memory_growth_bytes:per_hour", "per hour {{instance}}"),),
        "bytes",
        limit=limit(spec, "MemoryLeakDetected"),
    )
    increase = Panel(
        "Memory above Phase 0",
        (Query("engram:memory_increase:ratio"),),
        "percentunit",
        limit=limit(spec, "MemoryFootprintRegression"),
    )
    cpu = Panel(
        "CPU",
        (Query('rate(process_cpu_seconds_total{job="engram"}[1m]) * 100'),),
        "percent",
        limit=spec.lines["cpu_percent"],
    )
    files = Panel(
        "Open Files",
        (
            Query('process_open_fds{job="engram"}', "open {{instance}}"),
            Query('process_max_fds{job="engram"}', "limit {{instance}}"),
        ),
    )
    return (memory, growth, increase, cpu, files)


def _traffic(spec: MonitoringSpec) -> tuple[Panel, ...]:
    recalls = Panel("Recalls", (Query("rate(engram_recall_total[1m]) * 60", "{{cohort}} {{instance}}"),), "opm")
    latency = Panel(
        "Recall Latency",
        (*quantiles(RECALL), Query('engram_recall_duration_seconds{quantile="0.99"}', "recorded P99 {{instance}}")),
        "s",
        limit=limit(spec, "RecallLatencySLOBreach"),
    )
    errors = Panel(
        "Recall Errors", (Query("rate(engram_recall_errors_total[5m])", "{{cohort}} {{instance}}"),), "reqps"
    )
    return (recalls, latency, errors)


def _service() -> tuple[Panel, ...]:
    up = Panel("Up", (Query('up{job="engram"}'),), stat=True, limit=1.0, below=True, width=6)
    uptime = Panel("Uptime", (Query('time() - process_start_time_seconds{job="engram"}'),), "s", stat=True, width=6)
    episodes = Panel("Memories", (Query("engram_episodes_total"),), stat=True, width=6)
    scrape = Panel("Scrape Duration", (Query('scrape_duration_seconds{job="engram"}'),), "s", stat=True, width=6)
    return (up, uptime, episodes, scrape)
