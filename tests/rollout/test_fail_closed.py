"""Fail closed: a thousand ways for evidence to be broken, and not one promotion."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import numpy as np
import pytest

from harness.judge.gate import Decision
from harness.judge.phase_gate import Evidence, judge_gate
from harness.judge.phase_runs import PhaseRun, PhaseRuns
from harness.judge.service_series import Recorded, ServiceRecord
from harness.rollout.plan import load_plan
from harness.timeline.samples import empty_samples
from tests.rollout.full_size import Floats, World

PLAN = load_plan()
PHASE = PLAN.phase("shadow")
HEALTHY = World(requests=3_000, runs=3)
SETS = 1_000


def _series(change: Callable[[Recorded, random.Random], Recorded]) -> Callable[[Evidence, random.Random], Evidence]:
    """Break one query's recording, whichever."""

    def broken(evidence: Evidence, draw: random.Random) -> Evidence:
        record = evidence.services["shadow"]
        query = draw.choice(sorted(record.series))
        changed = {**record.series, query: change(record.series[query], draw)}
        return dataclasses.replace(evidence, services={**evidence.services, "shadow": ServiceRecord(changed)})

    return broken


def _with(recorded: Recorded, values: Floats) -> Recorded:
    return dataclasses.replace(recorded, series=(values,))


def _nan(recorded: Recorded, draw: random.Random) -> Recorded:
    values = recorded.series[0].copy()
    values[np.array(draw.sample(range(len(values)), k=draw.randint(len(values) // 50, len(values))))] = np.nan
    return _with(recorded, values)


def _gap(recorded: Recorded, draw: random.Random) -> Recorded:
    values = recorded.series[0].copy()
    start = draw.randrange(0, len(values) - len(values) // 20)
    values[start : start + draw.randint(len(values) // 40, len(values) // 2)] = np.nan
    return _with(recorded, values)


def _early_end(recorded: Recorded, draw: random.Random) -> Recorded:
    return _with(recorded, recorded.series[0][: draw.randint(0, len(recorded.series[0]) - 2)])


def _late(recorded: Recorded, draw: random.Random) -> Recorded:
    values = recorded.series[0].copy()
    values[-draw.randint(1, 400) :] = np.nan
    return _with(recorded, values)


def _reset(recorded: Recorded, draw: random.Random) -> Recorded:
    """What a difference of counters shows where one went back to zero."""
    values = recorded.series[0].copy()
    if recorded.query.startswith("max(deriv"):
        values[:] = np.nan
        return _with(recorded, values)
    values[draw.randrange(len(values))] = -abs(draw.gauss(5.0, 3.0)) - 0.1
    return _with(recorded, values)


def _none(recorded: Recorded, draw: random.Random) -> Recorded:
    return dataclasses.replace(recorded, series=())


def _infinite(recorded: Recorded, draw: random.Random) -> Recorded:
    return _with(recorded, np.full_like(recorded.series[0], draw.choice([np.inf, -np.inf])))


def _down(evidence: Evidence, draw: random.Random) -> Evidence:
    record = dataclasses.replace(evidence.services["shadow"], problem="Prometheus: connection refused")
    return dataclasses.replace(evidence, services={**evidence.services, "shadow": record})


def _run(change: Callable[[PhaseRun, random.Random], PhaseRun]) -> Callable[[Evidence, random.Random], Evidence]:
    """Break one of the nightly runs."""

    def broken(evidence: Evidence, draw: random.Random) -> Evidence:
        runs = list(evidence.runs["shadow"].runs)
        place = draw.randrange(len(runs))
        runs[place] = change(runs[place], draw)
        return dataclasses.replace(evidence, runs={**evidence.runs, "shadow": PhaseRuns(runs)})

    return broken


def _zero_samples(run: PhaseRun, draw: random.Random) -> PhaseRun:
    return PhaseRun(dataclasses.replace(run.record, samples=empty_samples(), streams={}), run.name)


def _killed(run: PhaseRun, draw: random.Random) -> PhaseRun:
    return PhaseRun(dataclasses.replace(run.record, events=run.record.events[:-1]), run.name)


def _nan_instants(run: PhaseRun, draw: random.Random) -> PhaseRun:
    samples = run.record.samples.copy()
    samples["done"][draw.randrange(len(samples)) :] = np.nan
    return PhaseRun(dataclasses.replace(run.record, samples=samples), run.name)


def _no_scrapes(run: PhaseRun, draw: random.Random) -> PhaseRun:
    streams = {name: rows for name, rows in run.record.streams.items() if name != draw.choice(["service", "process"])}
    streams.pop("service", None)
    return PhaseRun(dataclasses.replace(run.record, streams=streams), run.name)


def _backwards(run: PhaseRun, draw: random.Random) -> PhaseRun:
    """A counter of the service that starts anew in the middle."""
    rows = [dict(row) for row in run.record.streams["service"]]
    half = len(rows) // 2 + draw.randint(-50, 50)
    for row in rows[half:]:
        values = {k: max(0.0, v - 1e6) if k.endswith("_total") else v for k, v in row["values"].items()}
        row["values"] = {**values, "engram_concepts_formed_total": 0.0}
    return PhaseRun(dataclasses.replace(run.record, streams={**run.record.streams, "service": tuple(rows)}), run.name)


def _unsaid(evidence: Evidence, draw: random.Random) -> Evidence:
    words = dict(evidence.attestations)
    words.pop(draw.choice([key for key in words if key[0] == "shadow"]))
    return dataclasses.replace(evidence, attestations=words)


def _missing(evidence: Evidence, draw: random.Random) -> Evidence:
    part = draw.choice(["runs", "alerts", "attestations"])
    return dataclasses.replace(evidence, **{part: {}})


BREAKS = (
    *map(_series, (_nan, _gap, _early_end, _late, _reset, _none, _infinite) * 3),
    *map(_run, (_zero_samples, _killed, _nan_instants, _no_scrapes, _backwards)),
    *(_down, _unsaid, _missing),
)


@pytest.fixture(scope="module")
def healthy() -> Evidence:
    return HEALTHY.evidence(PLAN, "shadow")


def test_the_evidence_that_is_broken_below_would_pass(healthy: Evidence) -> None:
    result = judge_gate(PLAN, PHASE, healthy)
    assert result.decision is Decision.GO, [(a.criterion.id, a.reason) for a in result.of(Decision.HOLD)]


def test_a_thousand_broken_sets_and_no_promotion(healthy: Evidence) -> None:
    draw = random.Random(20251120)
    promoted = []
    for number in range(SETS):
        breaking = BREAKS[number % len(BREAKS)]
        if judge_gate(PLAN, PHASE, breaking(healthy, draw)).decision is Decision.GO:
            promoted.append((number, number % len(BREAKS)))
    assert promoted == []
