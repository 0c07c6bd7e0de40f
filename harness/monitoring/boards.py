"""The five dashboards the runbook refers to (1.2, 2.4, 3.4, "Grafana Dashboards"); alerts give them their lines."""

from __future__ import annotations

from harness.monitoring.board_parts import BLENDED, RUNS, alerts_panel, limit, quantiles, rate
from harness.monitoring.boards_service import canary, engram, slo
from harness.monitoring.panels import Board, Panel, Query
from harness.scenario.monitoring import MonitoringSpec


def boards(spec: MonitoringSpec) -> tuple[Board, ...]:
    """All of them."""
    return (_overview(spec), _cognitive(spec), canary(spec), slo(spec), engram(spec))


def _overview(spec: MonitoringSpec) -> Board:
    return Board(
        "dual-memory-overview",
        "Dual Memory Architecture Overview",
        "30s",
        "Concepts, bindings and blended recall while dual memory is rolled out.",
        (
            ("Concepts and bindings", _concepts(spec)),
            ("Blended recall", _blended(spec)),
            ("Alerts", (alerts_panel(),)),
        ),
    )


def _concepts(spec: MonitoringSpec) -> tuple[Panel, ...]:
    formation = Panel(
        "Concept Formation Rate",
        (
            Query(rate("engram_concepts_formed_total", "1m", " * 60"), "per minute {{instance}}"),
            Query("engram:concepts_formed:per_hour", "per hour {{instance}}"),
        ),
        about="Target: fewer than 1,000 concepts an hour (runbook 1.2).",
        limit=limit(spec, "ConceptFormationExcessive"),
    )
    index = Panel(
        "Binding Index Stats",
        (
            Query("engram:bindings:per_episode", "bindings per episode {{instance}}"),
            Query("engram_bindings_total", "bindings {{instance}}"),
            Query("engram_episodes_total", "episodes {{instance}}"),
        ),
        about="Target: fewer than two bindings per episode (runbook 1.2).",
        limit=limit(spec, "BindingIndexBloat"),
    )
    dynamics = Panel(
        "Binding Dynamics",
        (Query(rate("engram_bindings_created_total", "1m", " * 60"), "created per minute {{instance}}"),),
    )
    quality = Panel(
        "Quality Violations",
        (
            Query(rate("engram_concept_quality_violations_total"), "concepts {{instance}}"),
            Query(rate("engram_binding_quality_violations_total"), "bindings {{instance}}"),
            Query("engram:quality_violations:per_concept_formed", "per concept formed {{instance}}"),
        ),
        about="Per second; and per concept formed, target below 1 % (runbook 2.6).",
    )
    return (formation, index, dynamics, quality)


def _blended(spec: MonitoringSpec) -> tuple[Panel, ...]:
    latency = Panel(
        "Blended Recall Latency", quantiles(BLENDED), "s", limit=limit(spec, "BlendedRecallLatencyP99Breach")
    )
    convergent = Panel(
        "Convergent Retrieval",
        (
            Query("engram_blended_recall_convergent_ratio", "moving average {{instance}}"),
            Query("engram_blended_recall_convergent_total / engram_blended_recall_total", "since start {{instance}}"),
        ),
        "percentunit",
        about="Target: above 30 % (runbook 2.6).",
    )
    completed = Panel(
        "Pattern Completion",
        (
            Query(
                f"{rate('engram_blended_recall_pattern_completed_total')} / {rate('engram_blended_recall_total')}",
                "share of blended recalls {{instance}}",
            ),
        ),
        "percentunit",
        about="Target: below 10 % of queries (runbook 2.6).",
    )
    traffic = Panel("Blended Recalls", (Query(rate("engram_blended_recall_total", "1m")),), "reqps")
    return (latency, convergent, completed, traffic)


def _cognitive(spec: MonitoringSpec) -> Board:
    return Board(
        "cognitive-metrics",
        "Cognitive Metrics Tuning",
        "1m",
        "Consolidation, fan effect and the semantic pathway, for those who tune them.",
        (
            ("Consolidation", _consolidation(spec)),
            ("Fan effect", _fan(spec)),
            ("Semantic pathway and concepts", _semantic(spec)),
        ),
    )


def _consolidation(spec: MonitoringSpec) -> tuple[Panel, ...]:
    performance = Panel(
        "Consolidation Performance",
        (
            *quantiles(RUNS, "15m"),
            Query('engram_consolidation_duration_seconds{quantile="0.99"}', "recorded P99 {{instance}}"),
        ),
        "s",
        about="Target: P99 below 5 s (runbook 1.2).",
        limit=spec.lines["consolidation_p99_s"],
    )
    runs = Panel(
        "Consolidation Runs",
        (
            Query(rate("engram_consolidation_runs_total", "15m", " * 60"), "runs per minute {{instance}}"),
            Query(rate("engram_consolidation_failures_total", "15m", " * 60"), "failures per minute {{instance}}"),
        ),
    )
    over = Panel(
        "Consolidation Runs over 6 s",
        (Query("engram:consolidations_over_6s:ratio_15m"),),
        "percentunit",
        limit=limit(spec, "ConsolidationLatencyRegression"),
    )
    fresh = Panel(
        "Consolidation Freshness",
        (Query("engram_consolidation_freshness_seconds"),),
        "s",
        limit=limit(spec, "ConsolidationStale"),
    )
    return (performance, runs, over, fresh)


def _fan(spec: MonitoringSpec) -> tuple[Panel, ...]:
    fan = Panel(
        "Fan Effect Statistics",
        (
            Query("engram:fan_effect_penalty:average_5m", "average penalty {{instance}}"),
            Query(rate("engram_fan_effect_penalties_total"), "penalties per second {{instance}}"),
        ),
        limit=limit(spec, "FanEffectExcessive"),
    )
    lost = Panel("Activation Lost to Fan", (Query(rate("engram_fan_effect_penalty_sum")),))
    return (fan, lost)


def _semantic(spec: MonitoringSpec) -> tuple[Panel, ...]:
    health = Panel(
        "Semantic Pathway Health",
        (
            Query("engram:semantic_pathway_timeouts:ratio_5m", "timeouts, share of blended recalls {{instance}}"),
            Query(
                f"{rate('engram_semantic_pathway_failures_total')} / {rate('engram_blended_recall_total')}",
                "failures, share of blended recalls {{instance}}",
            ),
        ),
        "percentunit",
        about="Target: fewer than 10 % timeouts (runbook 2.6).",
        limit=limit(spec, "SemanticPathwayTimeoutHigh"),
    )
    breaker = Panel(
        "Spreading Circuit Breaker",
        (Query("engram_spreading_breaker_state"),),
        about="0 closed, 1 open.",
        limit=limit(spec, "SpreadingBreakerOpen"),
    )
    coherence = Panel(
        "Concept Coherence",
        (
            Query("engram_concept_coherence", "average {{instance}}"),
            Query(
                "1 - sum by (instance) (increase(engram_concept_coherence_distribution_bucket"
                '{le="0.6"}[1h])) / sum by (instance) (increase(engram_concept_coherence_distribution_count[1h]))',
                "share of new concepts above 0.6 {{instance}}",
            ),
        ),
        "percentunit",
        about="Target: above 0.6 for 95 % of concepts (runbook 1.3).",
        limit=limit(spec, "ConceptQualityLow"),
        below=True,
    )
    return (health, breaker, coherence)
