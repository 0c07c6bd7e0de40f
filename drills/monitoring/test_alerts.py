"""Alerts fire for real: a fault, a Prometheus that scrapes the target under load, pending -> firing -> resolved."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.drill(family="monitoring", requires=("prometheus", "blended_recall"))


def it_fired_and_was_resolved(outcome, alert_limit, name):
    assert outcome.baseline.alert_active_ratio == 0
    assert outcome.alert_time_s(step="pending") <= alert_limit(name, step="firing")
    assert outcome.alert_time_s(step="firing") <= alert_limit(name, step="firing")
    assert outcome.alert_time_s(step="resolved") <= alert_limit(name, step="resolved")
    assert outcome.acknowledged_memories.lost == 0


@pytest.mark.drill(family="monitoring", requires=("prometheus", "blended_recall", "chaos.latency"))
def test_staging_exercise_as_alerts_see_it(drill, recall_latency, roll_back, alert_limit, slo):
    """Runbook, "Rollback Testing in Staging": 30 ms -> P99 alert -> flag rollback -> recovered, by the client's P99."""
    outcome = drill.run(recall_latency(latency_ms=30), then=roll_back.immediate(), alert="RecallLatencySLOBreach")

    assert outcome.step_time_s(step="rollback") <= slo.rollback_immediate_s
    assert outcome.recovery_time_s(signal="slowed_recalls") <= slo.rollback_latency_s
    assert outcome.after.latency_ms(p=99) <= slo.recall_p99_ms
    it_fired_and_was_resolved(outcome, alert_limit, "RecallLatencySLOBreach")


@pytest.mark.drill(family="monitoring", matrix=True, requires=("prometheus", "blended_recall", "chaos.latency"))
@pytest.mark.parametrize(
    "name",
    ["BlendedRecallLatencyP99Breach", "RampLatencySpike", "CanaryP99LatencyRegression", "RecallLatencyBudgetBurn"],
)
def test_slow_blended_recall(drill, recall_latency, alert_limit, name):
    outcome = drill.run(recall_latency(latency_ms=30), alert=name)

    it_fired_and_was_resolved(outcome, alert_limit, name)


@pytest.mark.drill(family="monitoring", requires=("prometheus", "blended_recall", "chaos.semantic_pathway"))
def test_semantic_pathway_times_out(drill, semantic_latency, alert_limit):
    outcome = drill.run(semantic_latency(latency_ms=50), alert="SemanticPathwayTimeoutHigh")

    it_fired_and_was_resolved(outcome, alert_limit, "SemanticPathwayTimeoutHigh")


@pytest.mark.drill(family="monitoring", requires=("prometheus", "chaos.binding_index"))
def test_corrupted_bindings_are_a_quality_violation(drill, binding_corruption, alert_limit):
    """Runbook 3.3, drill 3: the ConceptQualityViolation alert fires."""
    outcome = drill.run(binding_corruption(corruption_rate=0.2), alert="ConceptQualityViolation")

    it_fired_and_was_resolved(outcome, alert_limit, "ConceptQualityViolation")


@pytest.mark.drill(family="monitoring", matrix=True, requires=("prometheus", "chaos.consolidation"))
@pytest.mark.parametrize("name", ["ConsolidationFailures", "ConsolidationBudgetBurn"])
def test_consolidation_fails(drill, consolidation_failure, alert_limit, name):
    outcome = drill.run(consolidation_failure(fail_rate=0.5), alert=name)

    it_fired_and_was_resolved(outcome, alert_limit, name)


@pytest.mark.drill(family="monitoring", requires=("prometheus", "prometheus_through_proxy"))
def test_silent_metrics_are_no_health(drill, metrics_outage, alert_limit):
    """The service serves, its metrics do not answer: every other alert is blind, and one says so, and a validation."""
    outcome = drill.run(metrics_outage(), alert="EngramDown", validate_monitoring=True)

    assert outcome.during.monitoring_findings(check="target up") == 1
    assert outcome.after.monitoring_findings == 0
    it_fired_and_was_resolved(outcome, alert_limit, "EngramDown")
