"""The metrics of the service, in registries of their own: one always exported, one behind the ``monitoring`` flag."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from harness.reference.defects import Defects

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COHORTS = ("canary", "control")
# 8, 10, 15, 20 and 50 ms are where the gates cut; a gate between two edges could only interpolate.
_RECALL_S = (0.001, 0.002, 0.004, 0.006, 0.008, 0.010, 0.0125, 0.015, 0.020, 0.030, 0.050, 0.1, 0.25, 1.0, 5.0)
_RUN_S = (0.001, 0.004, 0.008, 0.010, 0.015, 0.020, 0.050, 0.1, 0.5, 1.0, 5.0, 6.0)
_COHERENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class _Cohorts:
    """Recall metrics of one cohort, looked up once instead of per request."""

    def __init__(self, metrics: Metrics, cohort: str) -> None:
        self.recalls = metrics.recall_total.labels(cohort)
        self.errors = metrics.recall_errors.labels(cohort)
        self.duration = metrics.recall_duration.labels(cohort)
        self.results = metrics.recall_result_count.labels(cohort)
        self.overlap = metrics.topk_overlap.labels(cohort)


class Metrics:
    """Every family of the contract exists from the start, with zero values."""

    def __init__(self, defects: Defects, faulty: Callable[[], bool], limit_bytes: float) -> None:
        self._defects = defects
        self._faulty = faulty
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.base = CollectorRegistry()
        self.dual = CollectorRegistry()
        ProcessCollector(registry=self.base)
        self._recall_families()
        self._dual_families()
        Gauge("engram_memory_limit_bytes", "Memory the service may use", registry=self.base).set(limit_bytes)
        self.cohorts = {cohort: _Cohorts(self, cohort) for cohort in COHORTS}

    def _recall_families(self) -> None:
        base = self.base
        self.recall_total = Counter("engram_recall_total", "Recalls", ["cohort"], registry=base)
        self.recall_errors = Counter("engram_recall_errors_total", "Recalls answered 5xx", ["cohort"], registry=base)
        self.recall_duration = Histogram(
            "engram_recall_duration_seconds", "Recall duration", ["cohort"], buckets=_RECALL_S, registry=base
        )
        self.recall_result_count = Gauge(
            "engram_recall_result_count", "Memories per recall, moving average", ["cohort"], registry=base
        )
        self.topk_overlap = Gauge(
            "engram_recall_topk_overlap_ratio",
            "Share of the episodic top results also in the answer, sampled, moving average",
            ["cohort"],
            registry=base,
        )
        self.episodes = Gauge("engram_episodes_total", "Stored memories", registry=base)

    def _dual_families(self) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(name, meaning, registry=self.dual)

        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(name, meaning, registry=self.dual)

        self.blended = counter("engram_blended_recall_total", "Blended recalls tried")
        self.convergent = counter("engram_blended_recall_convergent_total", "Blended recalls whose pathways agreed")
        self.completed = counter(
            "engram_blended_recall_pattern_completed_total", "Blended recalls filled up through concepts"
        )
        self.timeouts = counter("engram_semantic_pathway_timeout_total", "Semantic pathways past their budget")
        self.semantic_failures = counter("engram_semantic_pathway_failures_total", "Semantic pathways that raised")
        self.concepts_formed = counter("engram_concepts_formed_total", "Concepts formed")
        self.bindings_created = counter("engram_bindings_created_total", "Bindings created")
        self.runs = counter("engram_consolidation_runs_total", "Consolidation runs, failed ones included")
        self.run_failures = counter("engram_consolidation_failures_total", "Consolidation runs that failed")
        self.concept_violations = counter("engram_concept_quality_violations_total", "Concepts found below quality")
        self.binding_violations = counter(
            "engram_binding_quality_violations_total", "Invalid binding strengths met, each encounter"
        )
        self.fan_penalties = counter("engram_fan_effect_penalties_total", "Associations weakened by fan")
        # A bare sum: prometheus_client appends _total to every counter, and the contract's name has none.
        self.fan_penalty_sum = gauge("engram_fan_effect_penalty_sum", "Sum of the activation lost to fan")
        self.bindings = gauge("engram_bindings_total", "Bindings")
        self.coherence = gauge("engram_concept_coherence", "Mean coherence of the concepts")
        self.convergent_ratio = gauge("engram_blended_recall_convergent_ratio", "Convergent share of blended recalls")
        self.breaker_state = gauge("engram_spreading_breaker_state", "0 closed, 1 open")
        self.freshness = gauge("engram_consolidation_freshness_seconds", "Since the last successful run")
        self.coherence_distribution = Histogram(
            "engram_concept_coherence_distribution",
            "Coherence of concepts formed",
            buckets=_COHERENCE,
            registry=self.dual,
        )
        self.blended_duration = Histogram(
            "engram_blended_recall_duration_seconds", "Blended recall duration", buckets=_RECALL_S, registry=self.dual
        )
        self.run_duration = Histogram(
            "engram_consolidation_duration_seconds", "Consolidation run duration", buckets=_RUN_S, registry=self.dual
        )

    def reported_s(self, duration_s: float) -> float:
        """The duration metrics are told, seconds."""
        if self._defects.on("latency_underreported"):
            return duration_s * self._defects.magnitude("latency_underreported")
        return duration_s

    def render(self, *, monitoring: bool) -> bytes:
        """The exposition text."""
        text = generate_latest(self.base)
        vanished = (self._faulty() and self._defects.on("metrics_vanish")) or self._defects.on("metrics_gone")
        if monitoring and not vanished:
            text += generate_latest(self.dual)
        if self._defects.on("metric_renamed"):
            text = re.sub(rb"\bengram_blended_recall_total\b", b"engram_blended_recalls_total", text)
        if self._faulty() and self._defects.on("nan_metrics"):
            text = _gauges_as_nan(text)
        return text


def _gauges_as_nan(text: bytes) -> bytes:
    gauges: set[bytes] = set()
    lines = text.split(b"\n")
    for i, line in enumerate(lines):
        if line.startswith(b"# TYPE ") and line.endswith(b" gauge"):
            gauges.add(line.split(b" ")[2])
        elif line and not line.startswith(b"#") and line.split(b" ")[0].split(b"{")[0] in gauges:
            lines[i] = line.rsplit(b" ", 1)[0] + b" NaN"
    return b"\n".join(lines)


def memory_limit_bytes(configured_mb: float) -> float:
    """What the process may use: as configured, else the control group's limit, else the machine's memory."""
    if configured_mb > 0:
        return configured_mb * 1e6
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(file)
        if path.exists() and (text := path.read_text(encoding="ascii").strip()).isdigit():
            limits.append(float(text))
    return min(limits)


def moving(previous: float, value: float, weight: float = 0.02) -> float:
    """An exponential moving average that starts at its first value."""
    return value if math.isnan(previous) else previous + weight * (value - previous)
