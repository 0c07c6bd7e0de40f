"""Synthetic case directories: what a run would have recorded, with knobs to break it and the truth beside it.

``write_case(folder, shape)`` writes one; ``build(shape)`` keeps it in memory for simulations. A shape left alone is
healthy: judged PASS. The truth (when the effect really ended) is in ``Built.recovered_at``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.model import Cohort, Cue, Flag, Found, Op, Outcome, Pathway, SemanticMissing
from harness.timeline.jsonl import dump_line, write_json_atomically
from harness.timeline.record import CaseRecord
from harness.timeline.samples import DTYPE, MAGIC, Samples
from tests.case_streams import streams_of

START = 1000.0
USERS = 200
BUDGET_MS = 8.0
FAULTS: dict[str, dict[str, Any]] = {
    "no_fault": {"kind": "no_fault"},
    "semantic_latency": {"kind": "semantic_latency", "latency_ms": 50.0},
    "consolidation_failure": {"kind": "consolidation_failure", "fail_rate": 0.5},
    "binding_corruption": {"kind": "binding_corruption", "corruption_rate": 0.05},
}
SLO: dict[str, float] = {
    "error_rate": 0.001,
    "recall_p99_ms": 15.0,
    "semantic_timeout_ms": BUDGET_MS,
    "semantic_timeout_ratio": 0.1,
    "drill_recovery_s": 300.0,
}
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """What the synthetic run was like. Shares are of requests; the defaults are a healthy service."""

    kind: str = "semantic_latency"
    seed: int = 1
    rate: float = 300.0
    baseline_s: float = 12.0
    during_s: float = 12.0
    after_s: float = 12.0
    cohort_rate: float = 0.25
    median_ms: float = 2.0  # service time of recalls, log-normal
    sigma: float = 0.3
    recovery_delay_s: float = 0.0  # how long the effect outlives the heal
    never_recovers: bool = False
    effect_share: float = 1.0  # share of the events that the fault affects while it is in force
    residue_share: float = 0.0  # share still affected after the recovery, to the end
    takes_effect: bool = True  # False: the injector is a no-op
    error_share: float = 0.0  # while the fault is in force
    baseline_error_share: float = 0.0
    slow_ms: float = 0.0  # added to every recall while the fault is in force
    semantic_wait_ms: float = BUDGET_MS  # what a recall waits for a late semantic pathway
    lag_ms: float = 0.1  # schedule lag of the generator, exponential
    host_late_ms: float = 0.2
    sent_share: float = 1.0  # of the arrivals due
    consolidation_interval_s: float = 0.2
    poll_s: float = 0.1
    lost: int = 0
    stale: int = 0
    corrupted: int = 0
    misplaced: int = 0
    unreachable: int = 0
    unrecallable: int = 0
    counter_factor: float = 1.0  # what the service's counters count of the truth
    items: int = 600
    missing_events: tuple[str, ...] = ()
    extra_events: tuple[tuple[float, dict[str, Any]], ...] = ()  # (seconds after the start, event)
    missing_streams: tuple[str, ...] = ()
    checks: tuple[dict[str, Any], ...] | None = None
    ended: str = "completed"
    manifest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """A synthetic case in memory, and the truth about it."""

    record: CaseRecord
    recovered_at: float
    healed_at: float


@dataclass(frozen=True)
class Times:
    """The instants of a run, in s on its monotonic clock."""

    baseline: tuple[float, float]
    inject: tuple[float, float]
    observed: float
    heal: tuple[float, float]
    healed_at: float
    recovered_at: float
    after: tuple[float, float]
    ended: float


def times_of(shape: Shape, rng: np.random.Generator) -> Times:
    """The instants a run of this shape would have had."""
    begin = START + 2.0
    quiet = begin + shape.baseline_s
    inject = (quiet + 0.02, quiet + 0.03)
    observed = inject[1] + 0.4
    heal_sent = observed + shape.during_s
    heal = (heal_sent, heal_sent + 0.012)
    healed_at = float(rng.uniform(*heal))
    recovered = healed_at + shape.recovery_delay_s
    after = recovered + 0.3
    stopped = after + shape.after_s
    truth = np.inf if shape.never_recovers else recovered
    return Times((begin, quiet), inject, observed, heal, healed_at, truth, (after, stopped), stopped + 1.0)


def check(window: str, name: str, op: str, bound: str | float, **arguments: Any) -> dict[str, Any]:
    """A recorded check; ``bound`` is a name in the SLO file or a number."""
    value = SLO[bound] if isinstance(bound, str) else float(bound)
    named = {"name": bound, "source": f"scenarios/slo.toml: {bound}"} if isinstance(bound, str) else {}
    return {
        "quantity": {"window": window, "name": name, "arguments": arguments},
        "op": op,
        "bound": {"value": value, "name": "", "source": "the drill", **named},
    }


def checks_of(kind: str) -> list[dict[str, Any]]:
    """What a drill on this fault would have asserted."""
    common = [
        check("during", "error_rate", "<=", "error_rate"),
        check("during", "latency_ms", "<=", "recall_p99_ms", p=99.0),
        check("case", "acknowledged_memories.lost", "==", 0),
    ]
    own = {
        "no_fault": [check("during", "semantic_timeout_ratio", "<=", "semantic_timeout_ratio")],
        "semantic_latency": [
            check("baseline", "semantic_timeout_ratio", "<=", "semantic_timeout_ratio"),
            check("during", "semantic_timeout_ratio", ">=", 0.9),
            check("during", "semantic_timeouts_counted_ratio", ">=", 0.9),
        ],
        "consolidation_failure": [
            check("during", "consolidation_failure_ratio", ">=", 0.2),
            check("after", "consolidation_success_ratio", ">=", 0.9),
        ],
        "binding_corruption": [
            check("during", "invalid_strengths_served", "==", 0),
            check("during", "binding_filter_ratio", ">=", 0.1),
        ],
    }[kind]
    timed = [] if kind == "no_fault" else [check("case", "recovery_time_s", "<=", "drill_recovery_s")]
    return [*own, *common, *timed]


def _events(shape: Shape, at: Times) -> list[dict[str, Any]]:
    found: list[tuple[float, dict[str, Any]]] = [
        (START, {"event": "load_started"}),
        (at.baseline[0], {"event": "baseline_started"}),
        (at.baseline[1], {"event": "baseline_ended"}),
    ]
    if shape.kind != "no_fault":
        detail = "7 of 8 witness recalls lost the semantic pathway"
        found += [
            (at.inject[0], {"event": "inject_sent"}),
            (at.inject[1], {"event": "inject_acked"}),
            (at.observed, {"event": "effective_observed", "detail": detail}),
            (at.heal[1], {"event": "heal_acked"}),
            (at.after[0] - 0.01, {"event": "healed_observed", "detail": "8 of 8 witness recalls are whole"}),
        ]
    found += [
        (at.observed, {"event": "fault_in_force"}),
        (at.heal[0], {"event": "heal_sent"}),
        (at.after[0], {"event": "after_started"}),
        (at.after[1], {"event": "load_stopped"}),
        (at.ended, {"event": "run_ended"}),
    ]
    found += [(START + offset, event) for offset, event in shape.extra_events]
    kept = [(t, e) for t, e in found if e["event"] not in shape.missing_events]
    return [{"t": t, "wall": f"2025-11-20T02:00:{t - START:06.3f}Z", **e} for t, e in sorted(kept, key=lambda p: p[0])]


def in_force(shape: Shape, at: Times, instants: Floats) -> Bools:
    """Where the fault's effect was in force."""
    on: Bools = (instants >= at.inject[1]) & (instants < at.recovered_at)
    return on & (shape.takes_effect and shape.kind != "no_fault")


def _arrivals(shape: Shape, at: Times, rng: np.random.Generator) -> Samples:
    count = int((at.after[1] - START) * shape.rate)
    rows: Samples = np.zeros(count, dtype=DTYPE)
    rows["sequence"] = np.arange(count)
    rows["intended"] = START + np.arange(count) / shape.rate
    rows["sent"] = rows["intended"] + rng.exponential(shape.lag_ms / 1e3, count)
    rows["user"] = rng.integers(0, USERS, count)
    rows["item"] = rng.integers(0, shape.items, count)
    rows["op"] = rng.choice([Op.STORE, Op.RECALL, Op.EMBEDDING_SEARCH], count, p=[0.15, 0.55, 0.30])
    rows["status"] = 200
    rows["semantic_missing"] = int(SemanticMissing.UNKNOWN)
    service = shape.median_ms * np.exp(rng.normal(0.0, shape.sigma, count))
    on = in_force(shape, at, rows["sent"])
    asked = rows["op"] != int(Op.STORE)
    canary = asked & (rows["user"] < shape.cohort_rate * USERS)
    rows["cohort"][asked] = int(Cohort.CONTROL)
    rows["cohort"][canary] = int(Cohort.CANARY)
    rows["pathway"][asked] = int(Pathway.EPISODIC)
    rows["semantic_missing"][asked] = int(SemanticMissing.OFF)
    rows["semantic_missing"][canary] = int(SemanticMissing.PRESENT)
    rows["pathway"][canary] = int(Pathway.BLENDED)
    affected = on & canary & (rng.random(count) < shape.effect_share)
    affected |= canary & (rows["sent"] >= at.recovered_at) & (rng.random(count) < shape.residue_share)
    if shape.kind == "semantic_latency":
        rows["semantic_missing"][affected] = int(SemanticMissing.TIMEOUT)
        rows["pathway"][affected] = int(Pathway.EPISODIC)
        service[affected] += shape.semantic_wait_ms
    elif shape.kind == "binding_corruption":
        rows["bindings_filtered"][affected & (rng.random(count) < 0.4)] = 1
    service[on & asked] += shape.slow_ms
    rows["done"] = rows["sent"] + service / 1e3
    rows["results"][asked] = 10
    rows["cue"][asked] = int(Cue.EXACT)
    rows["found"][asked] = int(Found.YES)
    rows["rank"][asked] = 1
    stores = ~asked
    rows["status"][stores] = 201
    rows["version"][stores] = rows["sequence"][stores] + 2
    failing = (rng.random(count) < shape.error_share) & on
    quiet = (rows["sent"] >= at.baseline[0]) & (rows["sent"] < at.baseline[1])
    failing |= (rng.random(count) < shape.baseline_error_share) & quiet
    _fail(rows, failing)
    return rows[rng.random(count) < shape.sent_share] if shape.sent_share < 1.0 else rows


def _fail(rows: Samples, failing: Bools) -> None:
    rows["outcome"][failing] = int(Outcome.HTTP_5XX)
    rows["status"][failing] = 500
    rows["cohort"][failing] = int(Cohort.UNKNOWN)
    rows["pathway"][failing] = int(Pathway.UNKNOWN)
    rows["semantic_missing"][failing] = int(SemanticMissing.UNKNOWN)
    rows["bindings_filtered"][failing] = 0
    rows["results"][failing] = 0
    rows["found"][failing] = int(Found.NOT_ASKED)


def _preload(shape: Shape) -> Samples:
    rows: Samples = np.zeros(shape.items, dtype=DTYPE)
    rows["item"] = np.arange(shape.items)
    rows["intended"] = rows["sent"] = START - 5.0 + np.arange(shape.items) / 300.0
    rows["done"] = rows["sent"] + 0.002
    rows["version"] = 1
    rows["status"] = 201
    rows["flags"] = int(Flag.PRELOAD)
    rows["semantic_missing"] = int(SemanticMissing.UNKNOWN)
    return rows


def read_back_of(shape: Shape, stores: Samples, t: float) -> list[dict[str, Any]]:
    """What a verification would have read: the last acknowledged version of each item, but for the broken ones."""
    newest: dict[int, int] = {}
    for store in np.sort(stores[stores["outcome"] == int(Outcome.OK)], order="sent"):
        newest[int(store["item"])] = int(store["version"])
    rows = []
    broken = ["lost"] * shape.lost + ["stale"] * shape.stale + ["corrupted"] * shape.corrupted
    broken += ["misplaced"] * shape.misplaced + ["unreachable"] * shape.unreachable
    replaced = [item for item, version in sorted(newest.items()) if version > 1]
    wrong = dict(zip(replaced, broken, strict=False))
    for item, version in sorted(newest.items()):
        row: dict[str, Any] = {"t": t, "space": 0, "item": item, "by": "id", "rank": None}
        answer: dict[str | None, dict[str, Any]] = {
            None: {"status": 200, "seen_item": item, "seen_version": version},
            "lost": {"status": 404, "seen_item": None, "seen_version": None},
            "stale": {"status": 200, "seen_item": item, "seen_version": 1},
            "corrupted": {"status": 200, "seen_item": None, "seen_version": None},
            "misplaced": {"status": 200, "seen_item": item + 1, "seen_version": version},
            "unreachable": {"status": 0, "seen_item": None, "seen_version": None},
        }
        rows.append(row | answer[wrong.get(item)])
    for number, item in enumerate(sorted(newest)[:50]):
        rank = None if number < shape.unrecallable else 1
        rows.append({"t": t, "space": 0, "item": item, "by": "embedding", "status": 200, "rank": rank})
    return rows


def _manifest(shape: Shape) -> dict[str, Any]:
    return {
        "schema": 1,
        "started": "2025-11-20T02:00:00.000Z",
        "name": shape.kind,
        "fault": FAULTS[shape.kind],
        "slo": {name: {"value": value, "source": f"scenarios/slo.toml: {name}"} for name, value in SLO.items()},
        "profile": {
            "name": "quick",
            "rate_ops_s": shape.rate,
            "min_achieved_share": 0.99,
            "max_schedule_lag_p99_ms": 10.0,
            "max_host_lag_p99_ms": 20.0,
        },
        "cohort_rate": shape.cohort_rate,
        "seed": shape.seed,
        "attempt": 1,
        "target": {"kind": "embedded", "base_url": "http://127.0.0.1:7432", "owned": True},
        "capabilities": {"names": ["memory", "blended_recall"], "missing": {"chaos.ttl": "404 on the listing"}},
        "versions": {"harness": "0.1.0", "python": "3.11.9"},
        **shape.manifest,
    }


def build(shape: Shape | None = None, **knobs: Any) -> Built:
    """A case of this shape in memory; ``knobs`` replace fields of the shape."""
    shape = dataclasses.replace(shape or Shape(), **knobs)
    rng = np.random.default_rng(shape.seed)
    at = times_of(shape, rng)
    samples = np.concatenate([_preload(shape), _arrivals(shape, at, rng)])
    samples = samples[np.argsort(samples["intended"], kind="stable")]
    stores = samples[samples["op"] == int(Op.STORE)]
    checks = list(shape.checks) if shape.checks is not None else checks_of(shape.kind)
    streams = streams_of(shape, at, samples, rng)
    record = CaseRecord(
        name=shape.kind,
        manifest=_manifest(shape),
        events=tuple(_events(shape, at)),
        samples=samples,
        streams={name: rows for name, rows in streams.items() if name not in shape.missing_streams},
        read_back=tuple(read_back_of(shape, stores, at.ended)),
        checks={"schema": 1, "checks": checks, "ended": shape.ended},
        load={"due": len(samples), "sent": len(samples), "processes": 1},
    )
    return Built(record, at.recovered_at, at.healed_at)


def write_case(folder: Path, shape: Shape | None = None, **knobs: Any) -> Built:
    """Write a case directory of this shape, as the runner would have, and return it with the truth."""
    built = build(shape, **knobs)
    record = built.record
    for part in ("samples", "metrics"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_json_atomically(folder / "manifest.json", record.manifest)
    write_json_atomically(folder / "checks.json", record.checks)
    write_json_atomically(folder / "samples" / "load.json", record.load)
    (folder / "timeline.jsonl").write_bytes(b"".join(dump_line(e) for e in record.events))
    (folder / "samples" / "verify.jsonl").write_bytes(b"".join(dump_line(r) for r in record.read_back))
    (folder / "samples" / "requests-0.bin").write_bytes(MAGIC + record.samples.tobytes())
    for name, rows in record.streams.items():
        (folder / "metrics" / f"{name}.jsonl").write_bytes(b"".join(dump_line(r) for r in rows))
    return built
