"""Prometheus's answers about a phase, recorded before anything is judged: ``prometheus.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import RecordError, RecordTooNew
from harness.judge.gate_records import AlertRecord
from harness.judge.service_series import Recorded, ServiceRecord
from harness.prometheus import PrometheusClient, Result
from harness.rollout.plan import Phase, Plan
from harness.scenario.rollout import CONTROL, Criterion
from harness.timeline.jsonl import read_json, write_json_atomically

FILE = "prometheus.json"
SCHEMA = 1
LONGEST_STEP_S = 300.0  # the crash query looks back 5 minutes; a longer step would not see all
_POINTS = 2000
_FIRING = 'ALERTS{alertstate="firing"}'


def queries_of(plan: Plan, phase: Phase, checks: Sequence[Criterion] = ()) -> list[str]:
    """Every query a phase's criteria and triggers (and ``checks``) need, and those of criteria held against it."""
    wanted: set[str] = set()
    for other in plan.phases:
        for criterion in (*other.criteria, *(t.safe for t in plan.triggers_of(other)), *plan.validation, *checks):
            if "prometheus" not in criterion.quantity.evidence:
                continue
            if other is phase or criterion.against == phase.name:
                wanted.add(criterion.quantity.query_for("canary"))
            if other is phase and criterion.against == CONTROL:
                wanted.add(criterion.quantity.query_for("control"))
    return sorted(wanted)


def record_metrics(
    client: PrometheusClient, plan: Plan, phase: Phase, path: Path, span_s: float, checks: Sequence[Criterion] = ()
) -> None:
    """Ask Prometheus for the last ``span_s`` seconds of a phase and write them.

    Raises :class:`~harness.errors.TargetError` where it cannot be asked; nothing is written then.
    """
    step = min(LONGEST_STEP_S, max(15.0, span_s / _POINTS))
    end = math.floor(client.now() / step) * step
    start = end - math.floor(span_s / step) * step
    answers = {query: client.query_range(query, start, end, step) for query in queries_of(plan, phase, checks)}
    firing = client.query_range(_FIRING, start, end, step)
    rules = sorted({rule.name for group in client.rules() for rule in group.rules if rule.kind == "alerting"})
    value = {
        "schema": SCHEMA,
        "kind": "prometheus",
        "plan": plan.name,
        "phase": phase.name,
        "url": client.base_url,
        "start": start,
        "end": end,
        "step_s": step,
        "queries": {query: _rows(found, start, end, step) for query, found in answers.items()},
        "alerts": _fired(firing),
        "rules": rules,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make the directory: {error.strerror}", where=str(path.parent)) from error
    write_json_atomically(path, value)


def _rows(found: Result, start: float, end: float, step_s: float) -> list[list[float | None]]:
    """Each series on the grid of the range; null where it has no number."""
    points = round((end - start) / step_s) + 1
    rows = []
    for series in found.series:
        row: list[float | None] = [None] * points
        for sample in series.finite():
            place = round((sample.t - start) / step_s)
            if 0 <= place < points:
                row[place] = sample.value
        rows.append(row)
    return rows


def _fired(found: Result) -> dict[str, int]:
    counts: dict[str, int] = {}
    for series in found.series:
        name = series.labels.get("alertname", "")
        counts[name] = counts.get(name, 0) + len(series.samples)
    return counts


def read_metrics(path: Path, plan: Plan) -> tuple[str, ServiceRecord, AlertRecord]:
    """Phase, metrics and alerts of a recording. Raises :class:`RecordError` where it is none."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != "prometheus":
        raise RecordError("is no recording of Prometheus", where=str(path))
    if not isinstance(value.get("schema"), int) or value["schema"] > SCHEMA:
        raise RecordTooNew(f"is of schema {value.get('schema')!r}, this harness reads {SCHEMA}", where=str(path))
    if value.get("plan") != plan.name:
        raise RecordError(f"was recorded for plan {value.get('plan')!r}, not {plan.name!r}", where=str(path))
    phase = plan.phase(str(value.get("phase"))).name
    try:
        return phase, _service(value), _alerts(value, plan, phase)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"cannot be read ({type(error).__name__}: {error})", where=str(path)) from error


def _service(value: dict[str, Any]) -> ServiceRecord:
    start, end, step = (float(value[key]) for key in ("start", "end", "step_s"))
    if not (math.isfinite(start) and math.isfinite(end) and end >= start and step > 0):
        raise ValueError(f"no range: {start} to {end} in steps of {step}")
    found = {}
    for query, rows in value["queries"].items():
        series = tuple(np.asarray([math.nan if v is None else float(v) for v in row]) for row in rows)
        found[query] = Recorded(query, start, end, step, series)
    return ServiceRecord(found, str(value.get("problem", "")))


def _alerts(value: dict[str, Any], plan: Plan, phase: str) -> AlertRecord:
    rules = {str(name) for name in value["rules"]}
    wanted = {
        str(name)
        for criterion in plan.phase(phase).criteria
        if criterion.quantity.evidence == ("alerts",)
        for name in criterion.arguments.get("alerts", ())
    }
    missing = sorted(wanted - rules)
    problem = f"Prometheus has no rule {', '.join(missing)}: that it never fired says nothing" if missing else ""
    return AlertRecord({str(k): int(v) for k, v in value["alerts"].items()}, problem)
