"""Evidence of a whole rollout at full size, generated: weeks of metrics, nightly runs, a 24-hour soak, people's words.

``World()`` left alone is a healthy rollout that every gate lets pass; its fields break it. Evidence is made in memory
(:meth:`World.evidence`), or written as directories (:meth:`World.write`), which the same gate reads.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.judge.gate_records import AlertRecord, Attestation, DrillEvidence, SoakEvidence, Suite
from harness.judge.phase_gate import Evidence
from harness.judge.phase_runs import PhaseRun, PhaseRuns
from harness.judge.service_series import Recorded, ServiceRecord
from harness.model import Cohort, Cue, Estimate, Flag, Found, Interval, Op, Outcome, Pathway, SemanticMissing, Verdict
from harness.rollout.attestations import attestable
from harness.rollout.metrics_record import queries_of
from harness.rollout.plan import Phase, Plan, load_plan
from harness.scenario.incidents import IncidentList
from harness.timeline.record import CaseRecord
from harness.timeline.samples import DTYPE, Samples

Floats = npt.NDArray[np.float64]
USERS = 2000
ITEMS = 150
HOUR_S = 3600.0
STEP_S = 300.0
START = 1000.0
_BASE_MS, _SIGMA = 3.2, 0.45  # P99 of an episodic recall: 9.1 ms
_BLEND_MS = 4.55  # of a blended one: 13.0 ms; it costs more, and less than the 5 ms the runbook allows (2.4)


@dataclass(frozen=True)
class World:
    """What the rollout is like. ``at`` names the phase the deviations belong to; the others stay healthy."""

    at: str = ""
    runs: int = 5
    requests: int = 45_000  # a night, where the canary is small; a third of it where it is large
    canary_slower: float = 1.0  # factor on a canary recall
    errors: float = 0.00002
    canary_errors: float = 0.0
    overlap: float = 0.93
    gain: float = 1.4  # results for poor cues, blended against episodic
    timeouts: float = 0.01
    coherence_good: float = 0.985
    leak_mb_per_h: float = 0.0
    failing_consolidation: float = 0.0
    crash: bool = False
    blended: bool = True  # False: the flag was accepted and does nothing
    metrics: bool = True  # False: the service's dual-memory metrics are gone
    convergent: float = 0.5
    completion: float = 0.04
    memory_mb: float = 0.0
    binding_violations: int = 0
    drill: Verdict = Verdict.PASS
    cohort_rate: float | None = None
    confidence: float = 1.04  # of the canary's answers, as a share of control's; pathways that agree are surer
    sure: float = 1.0  # share of the canary's answers that bear a confidence at all
    confidences: bool = True  # False: no answer of either cohort bears one
    attested: bool = True
    series: tuple[tuple[str, Callable[[Floats], Floats]], ...] = ()  # by quantity: what became of it

    def of(self, phase: str) -> World:
        """This world as a phase sees it: healthy but for the phase that is named."""
        if not self.at or phase == self.at:
            return self
        return World(runs=self.runs, requests=self.requests)

    def evidence(self, plan: Plan, *phases: str) -> Evidence:
        """Evidence of the phases named (or of all) and of those they are held against."""
        wanted = [p for p in plan.phases if not phases or p.name in phases]
        names = {p.name for p in wanted}
        names |= {c.against for p in wanted for c in (*p.criteria, *(t.safe for t in plan.triggers_of(p))) if c.against}
        chosen = [p for p in plan.phases if p.name in names]
        return Evidence(
            runs={p.name: PhaseRuns(runs_of(self.of(p.name), p.name, p.cohort_rate)) for p in chosen},
            services={p.name: service_of(self.of(p.name), plan, p) for p in chosen},
            soaks={plan.phases[0].name: [soak()]},
            drills={p.name: [_drill(self.of(p.name), step) for step in p.drills] for p in chosen},
            alerts={p.name: AlertRecord({}) for p in chosen},
            suites=SUITES,
            monitoring=MONITORING,
            incidents=IncidentList((), {p.name: p.minimum_duration_s for p in plan.phases}),
            attestations=attestations_of(plan) if self.attested else {},
        )


SUITES = {f"dual_memory_{n}": Suite(24, 0) for n in ("migration", "feature_flags", "differential", "load", "chaos")}
CHECKS = (
    *("prometheus healthy", "target up", "scrape fresh", "rules loaded", "rules without error", "test alert fires"),
    *("metrics exported", "dashboard queries answer"),
    *(f"dashboard {uid}" for uid in ("dual-memory-overview", "cognitive-metrics", "canary-comparison")),
)
MONITORING = dict.fromkeys(CHECKS, Verdict.PASS)


def attestations_of(plan: Plan) -> dict[tuple[str, str], Attestation]:
    """Everything attested, in every phase; nobody wants to turn back."""
    found = {}
    for phase in plan.phases:
        for item in attestable(plan, phase):
            holds = ".abort." not in item or "cost" in item
            found[phase.name, item] = Attestation(phase.name, item, "R. Ops", "ticket 4711", holds, 0.01, "2025-12-01")
    return {key: word for key, word in found.items() if word.holds}


def _drill(world: World, step: Any) -> DrillEvidence:
    recovery = Estimate(40.0, Interval(20.0, 60.0), "s", 500)
    return DrillEvidence(step.id, step.fault, step.arguments, world.drill, recovery, "")


@lru_cache(maxsize=1)
def soak() -> SoakEvidence:
    """The synthetic day of the soak's own tests, judged."""
    import tempfile
    from pathlib import Path

    from harness.report.soak import read_soak
    from tests.soak.synthetic import Shape, write

    with tempfile.TemporaryDirectory() as folder:
        record = read_soak(write(Path(folder), Shape(rate=300.0, interval_s=60.0)))
        requests = sum(h.count for h in record.series.latency.values())
        return SoakEvidence(record.judge(), record.series.observed_s / 3600.0, requests)


@lru_cache(maxsize=64)
def runs_of(world: World, phase: str, rate: float) -> tuple[PhaseRun, ...]:
    """The phase's nightly runs."""
    return tuple(PhaseRun(record_of(world, phase, rate, number), f"night-{number}") for number in range(world.runs))


def record_of(world: World, phase: str, rate: float, number: int) -> CaseRecord:
    """One nightly hour as a case record."""
    from tests.rollout.full_size_streams import answers_of, streams_of

    rng = np.random.default_rng(zlib.crc32(f"{phase}:{number}:{rate}".encode()))
    samples = _samples(world, rate if world.cohort_rate is None else world.cohort_rate, rng)
    events = (
        (START, {"event": "load_started"}),
        (START + 1, {"event": "baseline_started"}),
        (START + 1 + HOUR_S / 2, {"event": "baseline_ended"}),
        (START + 1 + HOUR_S, {"event": "load_stopped"}),
        (START + 2 + HOUR_S, {"event": "run_ended"}),
    )
    if world.crash and number == 0:
        events = (*events[:3], (START + HOUR_S, {"event": "aborted", "reason": "the target died during fault"}))
    return CaseRecord(
        name=f"night-{number}",
        manifest={
            "schema": 1,
            "started": f"2025-12-{number + 1:02d}T02:00:00Z",
            "fault": {"kind": "no_fault"},
            "slo": {"recall_p99_ms": {"value": 15.0, "source": "runbook 3.4"}},
            "profile": {"time_scale": 1.0},
            "cohort_rate": rate,
        },
        events=tuple({"t": t, "wall": "", **event} for t, event in events),
        samples=samples,
        streams=streams_of(world, samples, rng, blended=rate > 0),
        answers=answers_of(world, samples, zlib.crc32(f"answers:{phase}:{number}:{rate}".encode())),
    )


def _samples(world: World, rate: float, rng: np.random.Generator) -> Samples:
    n = world.requests if 0 < rate < 0.2 else world.requests // 3
    rows: Samples = np.zeros(n, dtype=DTYPE)
    rows["sequence"] = np.arange(n)
    rows["intended"] = START + 1 + np.arange(n) * (HOUR_S / n)
    rows["user"] = rng.integers(0, USERS, n)
    rows["item"] = rng.integers(0, ITEMS, n)
    rows["op"] = int(Op.EMBEDDING_SEARCH)
    rows["status"] = 200
    rows["cue"] = rng.choice([Cue.EXACT, Cue.PARTIAL, Cue.NOISY], n, p=[0.6, 0.2, 0.2])
    places = (np.random.default_rng(42).permutation(USERS) + 0.5) / USERS
    canary = places[rows["user"]] < rate
    blended = canary & world.blended
    habits = np.exp(np.random.default_rng(7).normal(0, 0.04, USERS))
    service = np.where(blended, _BLEND_MS, _BASE_MS) * habits[rows["user"]] * np.exp(rng.normal(0, _SIGMA, n))
    service[canary] *= world.canary_slower
    rows["cohort"] = np.where(canary, int(Cohort.CANARY), int(Cohort.CONTROL)) if rate > 0 else int(Cohort.CONTROL)
    if not world.blended:
        rows["cohort"] = int(Cohort.CONTROL)
    rows["pathway"] = np.where(blended, int(Pathway.BLENDED), int(Pathway.EPISODIC))
    rows["semantic_missing"] = np.where(blended, int(SemanticMissing.PRESENT), int(SemanticMissing.OFF))
    late = blended & (rng.random(n) < world.timeouts)
    rows["semantic_missing"][late] = int(SemanticMissing.TIMEOUT)
    rows["pathway"][late] = int(Pathway.EPISODIC)
    rows["convergent"] = blended & (rng.random(n) < world.convergent)
    poor = rows["cue"] != int(Cue.EXACT)
    found = np.where(poor, rng.poisson(4.0, n) + 1, 10).astype(np.float64)
    found[poor & blended] = np.minimum(10, rng.poisson(5.0 * world.gain - 1, int((poor & blended).sum())) + 1)
    rows["results"] = found
    rows["found"] = np.where(poor, int(Found.NOT_ASKED), int(Found.YES))
    rows["flags"] = np.where(blended & (rng.random(n) < world.completion), int(Flag.PATTERN_COMPLETED), 0)
    rows["sent"] = rows["intended"] + rng.exponential(0.0001, n)
    rows["done"] = rows["sent"] + service / 1e3
    bad = (rng.random(n) < world.errors) | (canary & (rng.random(n) < world.canary_errors))
    rows["outcome"][bad] = int(Outcome.HTTP_5XX)
    rows["cohort"][bad] = int(Cohort.UNKNOWN)
    rows["pathway"][bad] = int(Pathway.UNKNOWN)
    return rows


@lru_cache(maxsize=256)
def _noise(seed: int, points: int) -> Floats:
    return np.random.default_rng(seed).normal(0.0, 1.0, points)


def service_of(world: World, plan: Plan, phase: Phase) -> ServiceRecord:
    """Weeks of the service's metrics, a point every 5 minutes."""
    from tests.rollout.full_size_streams import level_of

    points = int(phase.minimum_duration_s / STEP_S) + 1
    end = (points - 1) * STEP_S
    found = {}
    for query in queries_of(plan, phase):
        name, cohort = _quantity_of(plan, query)
        level, spread = level_of(world, name, cohort, phase)
        values = level + spread * _noise(zlib.crc32(query.encode()), points)
        if spread and name != "rss_growth_mb_per_h":
            values = np.maximum(values, 0.0)
        for broken, change in world.series:
            if broken == name:
                values = change(values.copy())
        gone = not world.metrics and name not in ("memory_increase", "memory_share", "cpu_increase", "crashes")
        found[query] = Recorded(query, 0.0, end, STEP_S, () if gone else (values,))
    return ServiceRecord(found)


@lru_cache(maxsize=512)
def _quantity_by_query(plan_name: str) -> dict[str, tuple[str, str]]:
    plan = load_plan(plan_name)
    found = {}
    for phase in plan.phases:
        for criterion in (*phase.criteria, *(t.safe for t in plan.triggers_of(phase)), *plan.validation):
            for cohort in ("control", "canary"):
                found.setdefault(criterion.quantity.query_for(cohort), (criterion.quantity.name, cohort))
    return found


def _quantity_of(plan: Plan, query: str) -> tuple[str, str]:
    return _quantity_by_query(plan.name)[query]
