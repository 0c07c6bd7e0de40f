"""What a generated night's probes read and its answers say, and the levels of a generated week's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.model import Cohort, Cue, Outcome, Pathway
from harness.timeline.answers import ANSWER, NONE, Answers
from harness.timeline.samples import Samples

if TYPE_CHECKING:
    from harness.rollout.plan import Phase
    from tests.rollout.full_size import World

Rows = tuple[dict[str, Any], ...]
_START, _HOUR_S = 1000.0, 3600.0
_RUN_EDGES = ("0.001", "0.004", "0.008", "0.01", "0.015", "0.02", "0.05", "0.1", "0.5", "1.0", "5.0", "6.0", "+Inf")
_INTERVAL_S = 300.0


def streams_of(world: World, samples: Samples, rng: np.random.Generator, *, blended: bool) -> dict[str, Rows]:
    """All probe streams of a night."""
    ticks = (_START + np.arange(0.0, _HOUR_S + 2, 10.0)).tolist()
    base_mb = 240.0 + (30.0 if blended else 6.0) + world.memory_mb + float(rng.normal(0, 1.0))
    pid = 4711
    process = tuple(
        {
            "asked": t,
            "t": t + 0.002,
            "ok": True,
            "pid": pid,
            "rss_bytes": 1e6 * (base_mb + world.leak_mb_per_h * (t - _START) / _HOUR_S + 0.2 * float(rng.random())),
            "cpu_s": 0.31 * (t - _START) * (1 + 0.01 * (base_mb - 240) / 240),
        }
        for t in ticks
    )
    every = (_START + np.arange(0.0, _HOUR_S + 2, 2.0)).tolist()
    return {
        "process": process,
        "health": tuple({"asked": t, "t": t + 0.002, "ok": True} for t in every),
        "bindings": tuple({"asked": t, "t": t + 0.002, "ok": True, "total": 1200, "invalid": 0} for t in ticks),
        "consolidation": _consolidation(world, rng),
        "service": _service(world, samples, ticks, process, rng, blended=blended),
    }


def answers_of(world: World, samples: Samples, seed: int) -> Answers:
    """How sure the answers to a night's recalls are; which memories they named is left to the service's own gauge."""
    rng = np.random.default_rng(seed)
    kept = samples[samples["outcome"] == int(Outcome.OK)]
    answers: Answers = np.zeros(len(kept), dtype=ANSWER)
    answers["sequence"], answers["items"] = kept["sequence"], NONE
    level = np.where(kept["cue"] == int(Cue.EXACT), 0.85, np.where(kept["cue"] == int(Cue.PARTIAL), 0.55, 0.5))
    habits = np.random.default_rng(11).uniform(0.9, 1.1, int(samples["item"].max()) + 1)
    canary = kept["cohort"] == int(Cohort.CANARY)
    sure = level * habits[kept["item"]] * np.where(canary, world.confidence, 1.0) * rng.normal(1.0, 0.03, len(kept))
    bare = (canary & (rng.random(len(kept)) >= world.sure)) | (not world.confidences)
    answers["confidence"] = np.where(bare, np.nan, np.clip(sure, 0.0, 1.0))
    return answers


def _consolidation(world: World, rng: np.random.Generator) -> Rows:
    runs = np.arange(_START - 2 * _INTERVAL_S, _START + _HOUR_S + 2, _INTERVAL_S)
    failed = rng.random(len(runs)) < world.failing_consolidation
    failed[0] = False
    good = runs[~failed]
    rows = []
    for t in (_START + np.arange(0.0, _HOUR_S + 2, 20.0)).tolist():
        done = int(np.searchsorted(good, t))
        rows.append(
            {
                "asked": t,
                "t": t + 0.002,
                "ok": True,
                "successful": done,
                "failed": int(np.searchsorted(runs[failed], t)),
                "last_success_age_s": t - float(good[done - 1]),
                "interval_s": _INTERVAL_S,
            }
        )
    return tuple(rows)


def _service(
    world: World, samples: Samples, ticks: list[float], process: Rows, rng: np.random.Generator, *, blended: bool
) -> Rows:
    rows = []
    blended_requests = float((samples["pathway"] == int(Pathway.BLENDED)).sum())
    concepts, violations = 400, 2
    below = round(concepts * (1 - world.coherence_good))
    for t, reading in zip(ticks, process, strict=True):
        part = (t - _START) / _HOUR_S
        values: dict[str, float] = {
            "process_resident_memory_bytes": reading["rss_bytes"],
            "engram_memory_limit_bytes": 8e9,
        }
        if world.metrics:
            values |= {
                "engram_concepts_formed_total": float(concepts + round(12 * part)),
                "engram_consolidation_runs_total": 100.0 + float(round(12 * part)),
                "engram_concept_coherence": 0.78,
                "engram_concept_coherence_distribution_bucket{le=0.6}": float(below),
                "engram_concept_coherence_distribution_bucket{le=1.0}": float(concepts),
                "engram_concept_coherence_distribution_count": float(concepts),
                "engram_concept_quality_violations_total": float(violations if concepts < 1000 else 0) * 0.0,
                "engram_binding_quality_violations_total": float(round(world.binding_violations * part)),
                "engram_bindings_total": 1200.0,
                "engram_episodes_total": 900.0,
                "engram_spreading_breaker_state": 0.0,
                "engram_fan_effect_penalty_sum": 800.0 * part,
                "engram_fan_effect_penalties_total": 9000.0 * part,
                **{
                    f"engram_consolidation_duration_seconds_bucket{{le={edge}}}": 100.0 if number >= 7 else 0.0
                    for number, edge in enumerate(_RUN_EDGES)
                },
            }
            if blended:
                overlap = min(1.0, world.overlap + 0.005 * float(rng.normal()))
                values["engram_blended_recall_total"] = blended_requests * part
                values["engram_recall_topk_overlap_ratio{cohort=canary}"] = overlap
        rows.append({"asked": t, "t": t + 0.002, "values": values})
    return tuple(rows)


def level_of(world: World, name: str, cohort: str, phase: Phase) -> tuple[float, float]:
    """Level and spread of a week's points of one query."""
    rate = phase.cohort_rate
    canary_ms = 12.7 * world.canary_slower if world.blended else 9.0
    mixed_ms = canary_ms if rate >= 0.2 else 9.3 if rate else 9.0
    mixed_errors = world.errors + rate * world.canary_errors
    memory = 240.0 + (30.0 if rate else 6.0) + world.memory_mb + world.leak_mb_per_h * 24
    levels: dict[str, tuple[float, float]] = {
        "recall_p99_ms": (canary_ms, 0.15),
        "recall_p99_increase": (canary_ms if cohort == "canary" else 9.0, 0.15),
        "all_recall_p99_ms": (mixed_ms, 0.15),
        "all_recall_p99_increase": (mixed_ms, 0.15),
        "recall_p99_change": (9.0, 0.05),
        "blended_p99_ms": (canary_ms, 0.15),
        "blended_p95_ms": (canary_ms * 0.72, 0.1),
        "error_rate": (mixed_errors, mixed_errors / 8),
        "all_error_rate_increase": (mixed_errors, mixed_errors / 8),
        "error_rate_increase": (world.errors + (world.canary_errors if cohort == "canary" else 0.0), world.errors / 8),
        "canary_error_rate": (world.errors + world.canary_errors, (world.errors + world.canary_errors) / 8),
        "availability": (1.0, 0.0),
        "slo_compliance": (1.0, 0.0),
        "crashes": (0.0, 0.0),
        "memory_increase": (memory, 1.0),
        "memory_share": (memory * 1e6 / 8e9, 0.0005),
        "rss_growth_mb_per_h": (world.leak_mb_per_h, 4.0),
        "cpu_increase": (0.32, 0.004),
        "consolidation_p99_s": (0.09, 0.004),
        "consolidation_p99_increase": (0.09, 0.002),
        "consolidation_success": (1.0 - world.failing_consolidation, 0.0),
        "consolidation_failure_ratio": (world.failing_consolidation, 0.0),
        "consolidation_on_time": (1.0, 0.0),
        "consolidation_freshness_s": (280.0, 5.0),
        "concepts_per_hour": (140.0, 8.0),
        "concepts_formed": (5000.0, 0.0),
        "coherence_above_0_6": (world.coherence_good, 0.002),
        "coherence_mean": (0.78, 0.005),
        "concept_violations": (0.002, 0.0003),
        "bindings": (1200.0, 0.0),
        "bindings_per_episode": (1.33, 0.01),
        "binding_violations": (float(world.binding_violations), 0.0),
        "fan_penalty_mean": (0.09, 0.003),
        "blended_share": (0.0, 0.0),
        "topk_overlap": (world.overlap, 0.008),
        "convergent_ratio": (world.convergent, 0.01),
        "pattern_completion_share": (world.completion, 0.003),
        "semantic_timeout_ratio": (world.timeouts, world.timeouts / 8),
        "breaker_open": (0.0, 0.0),
        "queries_per_day": (40_000.0, 900.0),
    }
    return levels[name]
