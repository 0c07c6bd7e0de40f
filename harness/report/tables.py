"""The rows of the report's tables, as plain texts; the template only lays them out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.judge.case import CaseJudgement
from harness.judge.checks import CheckResult
from harness.judge.effects import lost_share
from harness.judge.summary import CaseSummary
from harness.judge.view import lag_ms
from harness.model import Outcome, Window, number_from_json
from harness.report.session import JudgedCase
from harness.report.words import (
    estimate_text,
    fault_text,
    interval_text,
    json_estimate_text,
    json_interval_text,
    plain_number,
    recovery_text,
    signal_name,
    with_unit,
)

Row = dict[str, Any]
_MOST_EVENTS = 200
_FACTS = ("started", "seed", "attempt", "cohort_rate", "profile", "workload", "target", "versions", "commit")
_NO_FACTS = {"schema", "case", "name", "fault", "slo", "capabilities"}  # shown elsewhere, or in every other row
_SHOWN = ("t", "at", "wall", "event")
_ORDER = ("baseline", "during", "after", "whole")


def worst_reason(case: dict[str, Any]) -> str:
    """The first reason among those as bad as the case itself."""
    parts = [(c["verdict"], f"{c['name']}: {c['detail']}") for c in case["conditions"]]
    parts += [(c["verdict"], c["reason"]) for c in case["checks"]]
    found = [text for verdict, text in parts if verdict == case["verdict"]]
    return found[0] if found and case["verdict"] != "PASS" else next(iter(case["reasons"]), "")


def overview_row(case: JudgedCase, counts: bool) -> Row:
    """One case on the first screen; ``counts`` is false for an attempt that a later one replaced."""
    json = case.json
    latency = json["degradation"].get("latency_ms(p=99)", {})
    errors = json["degradation"].get("error_rate", {}).get("during", {})
    judgement = case.judgement
    row: Row = {
        "name": case.name,
        "verdict": json["verdict"],
        "counts": counts,
        "reason": worst_reason(json),
        "fault": fault_text(json["fault"]) if json["fault"] else "unknown",
        "p99_baseline": json_estimate_text(latency.get("baseline", {})),
        "p99_during": json_estimate_text(latency.get("during", {})),
        "errors": _percent(errors),
        "effect": "–",
        "recoveries": [],
    }
    if judgement is not None:
        row |= _effect_cells(judgement.summary)
    return row


def _percent(share: dict[str, Any]) -> str:
    value = number_from_json(share.get("value"))
    if not share.get("samples") or math.isnan(value):
        return "no data"
    return f"{plain_number(100 * value, 3)} %"


def _effect_cells(summary: CaseSummary) -> Row:
    during = summary.view.windows.get("during")
    share = lost_share(summary.view, during) if during is not None else math.nan
    moved = [r for r in summary.recoveries if r.state != "never_left"] or summary.recoveries[:1]
    return {
        "effect": "–" if math.isnan(share) else f"{plain_number(100 * share, 3)} %",
        "recoveries": [{"text": recovery_text(r), "signal": signal_name(r.name)} for r in moved],
    }


def check_row(result: CheckResult) -> Row:
    """A check as the table shows it."""
    check, estimate = result.check, result.estimate
    unit = estimate.unit
    return {
        "label": check.label,
        "verdict": result.verdict.value,
        "measured": estimate_text(estimate),
        "must": f"{check.op} {with_unit(check.bound, unit)}",
        "bound_name": check.bound_name,
        "source": check.source,
        "samples": f"{estimate.samples:,}",
        "reason": result.reason,
    }


def degradation_rows(json: dict[str, Any]) -> list[Row]:
    """Baseline, fault and after per signal; signals nothing was recorded of are left out."""
    rows = []
    for label, windows in sorted(json["degradation"].items()):
        cells = [
            {"value": json_estimate_text(windows.get(name, {})), "interval": json_interval_text(windows.get(name, {}))}
            for name in ("baseline", "during", "after")
        ]
        if any(cell["value"] != "no data" for cell in cells):
            rows.append({"label": label, "cells": cells})
    return rows


def recovery_rows(summary: CaseSummary) -> list[Row]:
    """Recovery per signal."""
    return [
        {
            "signal": signal_name(r.name),
            "state": r.state.replace("_", " "),
            "text": recovery_text(r),
            "interval": f"{interval_text(r.seconds.low, r.seconds.high)} s"
            if r.state in ("recovered", "censored")
            else "",
            "events": f"{r.events:,}",
        }
        for r in summary.recoveries
    ]


def memory_cells(json: dict[str, Any]) -> list[Row]:
    """The acknowledged memories by class, the bad ones marked."""
    found = json.get("acknowledged_memories", {})
    bad = {"lost", "stale", "corrupted", "misplaced", "unrecallable", "unreachable"}
    return [
        {"name": name, "count": f"{found[name]:,}", "bad": name in bad and found[name] > 0}
        for name in ("acknowledged", "checked", *sorted(bad))
        if name in found
    ]


def load_rows(summary: CaseSummary) -> list[Row]:
    """How good the load of each window was."""
    windows = summary.view.windows
    return [_load_row(summary, windows[name]) for name in _ORDER if name in windows]


def _load_row(summary: CaseSummary, window: Window) -> Row:
    inside = summary.view.within(window)
    rates = summary.rates(window)
    row: Row = {"window": window.name, "duration": f"{window.duration_s:.1f} s", "requests": f"{len(inside):,}"}
    if not len(inside):
        return row | {
            "offered": "–",
            "completed": "–",
            "sent": "–",
            "lag": "–",
            "starved": "–",
            "host": "–",
            "errors": "–",
        }
    due = int(inside["sequence"].max()) - int(inside["sequence"].min()) + 1
    lag = lag_ms(inside)
    late = [
        float(r["late_ms"])
        for r in summary.record.stream("host")
        if window.start <= float(r["t"]) <= window.end and "late_ms" in r
    ]
    codes, counts = np.unique(inside["outcome"], return_counts=True)
    failures = [
        f"{Outcome(code).name.lower()} {count:,}"
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
        if code != int(Outcome.OK)
    ]
    return row | {
        "offered": f"{rates['offered_per_s']:.1f}/s",
        "completed": f"{rates['completed_per_s']:.1f}/s",
        "sent": f"{len(np.unique(inside['sequence'])) / due:.2%}",
        "lag": f"{float(np.quantile(lag, 0.99)):.2f} ms" if len(lag) else "–",
        "starved": f"{rates['without_slot']:,.0f}",
        "host": f"{float(np.quantile(np.array(late), 0.99)):.2f} ms" if late else "–",
        "errors": ", ".join(failures) or "none",
    }


def facts(case: JudgedCase) -> list[tuple[str, str]]:
    """What the manifest says of the run, as name and text."""
    judgement = case.judgement
    if judgement is None:
        return []
    manifest = judgement.summary.record.manifest
    rows = [("fault", fault_text(judgement.summary.view.fault))]
    rest = sorted(set(manifest) - set(_FACTS) - _NO_FACTS)
    rows += [(name.replace("_", " "), _flat(manifest[name])) for name in (*_FACTS, *rest) if name in manifest]
    capabilities = manifest.get("capabilities")
    if isinstance(capabilities, dict):
        missing = capabilities.get("missing", capabilities.get("reasons", {}))
        rows.append(("capabilities missing", _flat(missing) or "none"))
    return rows


def _flat(value: Any) -> str:
    """A manifest value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in sorted(value.items(), key=lambda item: str(item[0])))
    if isinstance(value, list):
        return ", ".join(_flat(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain_number(float(value), 8) if isinstance(value, float) else str(value)


def event_rows(judgement: CaseJudgement, origin: float) -> tuple[list[Row], int]:
    """The timeline, in seconds since the baseline began; at most 200 events, and how many were left out."""
    events = judgement.summary.record.events
    rows = [
        {
            "at": f"{_at(event) - origin:+.3f} s",
            "wall": str(event.get("wall", "")),
            "event": str(event["event"]),
            "detail": _flat({key: value for key, value in event.items() if key not in _SHOWN}),
        }
        for event in events[:_MOST_EVENTS]
    ]
    return rows, max(0, len(events) - _MOST_EVENTS)


def _at(event: dict[str, Any]) -> float:
    """When it happened; an event written down later than it happened says so."""
    return float(event["at"] if "at" in event else event["t"])
