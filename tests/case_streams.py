"""What the probes would have read in a synthetic case; the second half of ``tests/cases.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.model import Cohort, Op, Outcome, SemanticMissing
from harness.timeline.samples import Samples

if TYPE_CHECKING:
    from tests.cases import Shape, Times

Rows = tuple[dict[str, Any], ...]
Floats = npt.NDArray[np.float64]
_ROUND_TRIP_S = 0.002


def streams_of(shape: Shape, at: Times, samples: Samples, rng: np.random.Generator) -> dict[str, Rows]:
    """All probe streams of a run."""
    begin, end = at.baseline[0] - 1.5, at.ended
    runs, failed = consolidation_history(shape, at, begin - 1.0, end, rng)
    ticks = np.arange(begin, end, shape.poll_s)
    late = np.abs(rng.normal(0.0, shape.host_late_ms, len(ticks)))
    return {
        "service": _service(shape, samples, np.arange(begin, end, 0.5), runs[failed]),
        "consolidation": _consolidation(shape, ticks, runs, failed),
        "bindings": _bindings(shape, at, np.arange(begin, end, 0.5)),
        "health": tuple({"asked": t, "t": t + _ROUND_TRIP_S, "ok": True, "status": 200} for t in ticks.tolist()),
        "process": tuple(
            {"asked": t, "t": t + _ROUND_TRIP_S, "rss_bytes": 180_000_000 + int(2e5 * rng.random()), "fds": 40}
            for t in ticks.tolist()
        ),
        "host": tuple({"t": t, "late_ms": float(ms)} for t, ms in zip(ticks.tolist(), late, strict=True)),
    }


def consolidation_history(
    shape: Shape, at: Times, begin: float, end: float, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """When consolidation ran, and which runs failed: spread evenly, so that the share is the dose's."""
    runs = np.arange(begin, end, shape.consolidation_interval_s) + rng.uniform(0.0, 0.002)
    failed = np.zeros(len(runs), dtype=np.bool_)
    if shape.kind == "consolidation_failure" and shape.takes_effect:
        rate = 0.5 * shape.effect_share
        on = (runs >= at.inject[1]) & (runs < at.recovered_at)
        rest = runs >= at.recovered_at
        failed = (on & (rng.random(len(runs)) < rate)) | (rest & (rng.random(len(runs)) < shape.residue_share))
    return runs, failed


def _consolidation(shape: Shape, ticks: Floats, runs: Floats, failed: npt.NDArray[np.bool_]) -> Rows:
    rows = []
    good = runs[~failed]
    for t in ticks.tolist():
        seen = t + _ROUND_TRIP_S / 2
        successes = int(np.searchsorted(good, seen))
        failures = int(np.searchsorted(runs[failed], seen))
        age = seen - float(good[successes - 1]) if successes else None
        rows.append(
            {
                "asked": t,
                "t": t + _ROUND_TRIP_S,
                "ok": True,
                "successful": successes,
                "failed": failures,
                "last_success_age_s": age,
                "interval_s": shape.consolidation_interval_s,
            }
        )
    return tuple(rows)


def _bindings(shape: Shape, at: Times, ticks: Floats) -> Rows:
    on = shape.kind == "binding_corruption" and shape.takes_effect
    invalid = round(1200 * 0.05 * shape.effect_share)
    rest = round(1200 * 0.05 * shape.residue_share)
    rows = []
    for t in ticks.tolist():
        now = 0
        if on and t >= at.inject[1]:
            now = invalid if t < at.recovered_at else rest
        rows.append({"asked": t, "t": t + _ROUND_TRIP_S, "ok": True, "total": 1200, "invalid": now})
    return tuple(rows)


def _service(shape: Shape, samples: Samples, ticks: Floats, failures: Floats) -> Rows:
    """The service's counters: they count a request at its end, and what they miss is ``counter_factor``."""
    asked = samples[(samples["op"] != int(Op.STORE)) & (samples["outcome"] == int(Outcome.OK))]
    canary = asked[asked["cohort"] == int(Cohort.CANARY)]
    late = canary[canary["semantic_missing"] == int(SemanticMissing.TIMEOUT)]
    filtered = canary[canary["bindings_filtered"] > 0]
    spent = np.cumsum(np.sort(canary, order="done")["done"] - np.sort(canary, order="done")["sent"])
    ends = {
        "engram_recall_total": np.sort(asked["done"]),
        "engram_blended_recall_total": np.sort(canary["done"]),
        "engram_semantic_pathway_timeout_total": np.sort(late["done"]),
        "engram_binding_quality_violations_total": np.sort(filtered["done"]),
        "engram_consolidation_failures_total": failures,
        "engram_recall_duration_seconds_count{cohort=canary}": np.sort(canary["done"]),
    }
    factor = shape.counter_factor
    rows = []
    for t in ticks.tolist():
        seen = t + _ROUND_TRIP_S / 2
        values = {name: factor * float(np.searchsorted(done, seen)) for name, done in ends.items()}
        index = int(np.searchsorted(ends["engram_blended_recall_total"], seen))
        values["engram_recall_duration_seconds_sum{cohort=canary}"] = float(spent[index - 1]) if index else 0.0
        rows.append({"asked": t, "t": t + _ROUND_TRIP_S, "values": values})
    return tuple(rows)
