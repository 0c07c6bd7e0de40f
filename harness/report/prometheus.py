"""What Prometheus had of a case: its signals before, during and after, its alerts, and its P99 beside the client's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.judge.summary import CaseSummary
from harness.model import Window, number_from_json
from harness.report.chart import Chart, Line
from harness.report.panels import bands
from harness.report.series import CaseSeries
from harness.report.words import plain_number

STREAM = "prometheus"
P99 = "engram_recall_duration_seconds{quantile=0.99}"  # the runbook's name for it, made by a recording rule
_ORDER = ("baseline", "during", "after")
_SIGNALS = ("engram:", "engram_recall_duration_seconds{", "up")
_LEFT_OUT = ("engram:slo_",)  # dozens of burn rates over windows far longer than a drill
_HELD_STEPS = 3
_QUIET = "severity=none"  # an alert that always fires, to show that alerting works

Row = dict[str, Any]


def prometheus_part(summary: CaseSummary) -> Row:
    """``why`` there is nothing, or ``signals`` and ``alerts`` as rows."""
    rows = _rows(summary)
    failed = summary.record.last("series_not_kept")
    if not rows:
        return {"why": str(failed.get("reason", "")) if failed is not None else "", "signals": [], "alerts": []}
    return {"why": "", "signals": _signals(summary, rows), "alerts": _alerts(summary, rows)}


def _rows(summary: CaseSummary) -> list[dict[str, Any]]:
    return [row for row in summary.record.stream(STREAM) if isinstance(row.get("values"), dict)]


def p99_chart(summary: CaseSummary, hover: bool) -> Chart | None:
    """Recall P99 as Prometheus has it, over the client's; None where it has none."""
    series = CaseSeries(summary)
    rows = [row for row in _rows(summary) if row["values"].get(P99) is not None]
    if series.bins is None or series.span is None or len(rows) < 2 or not len(summary.view.requests):
        return None
    x = series.bins.middles
    instants = np.array([float(row["t"]) for row in rows])
    values = np.array([number_from_json(row["values"][P99]) * 1e3 for row in rows])
    # Each bin shows the last value Prometheus had by then, if that is not of long ago.
    place = np.searchsorted(instants, x, side="right") - 1
    held_s = _HELD_STEPS * float(np.median(np.diff(instants))) + series.bins.width_s
    known = (place >= 0) & (x - instants[place] <= held_s)
    y = np.where(known, values[place], np.nan)
    if np.isfinite(y).sum() < 2:
        return None
    return Chart(
        title="Recall p99 as Prometheus has it, over the window of its rule, and as the client saw it",
        y_label="recall p99, ms",
        unit="ms",
        span=(float(series.bins.edges[0]) - series.origin, series.span[1] - series.origin),
        lines=(
            Line("client", "faint", x - series.origin, series.latency(0.99)),
            Line("Prometheus", "first", x - series.origin, y),
        ),
        bands=bands(summary, series),
        height=120.0,
        hover=hover,
    )


def _windows(summary: CaseSummary) -> list[Window | None]:
    return [summary.view.windows.get(name) for name in _ORDER]


def _signals(summary: CaseSummary, rows: list[dict[str, Any]]) -> list[Row]:
    """One row a signal: its last value in each window, which is what the runbook would have read there."""
    names = sorted({name for row in rows for name in row["values"]})
    wanted = [n for n in names if n.startswith(_SIGNALS) and not n.startswith(_LEFT_OUT) and "_bucket" not in n]
    found = []
    for name in wanted:
        if name.startswith("engram_recall_duration_seconds{") and name != P99:
            continue
        cells = [_last(rows, name, window) for window in _windows(summary)]
        if any(cells):
            found.append({"name": name, "cells": [cell or "no data" for cell in cells]})
    return found


def _last(rows: list[dict[str, Any]], name: str, window: Window | None) -> str:
    """Empty where the window holds no value."""
    if window is None:
        return ""
    inside = [row["values"][name] for row in rows if window.start <= row["t"] <= window.end and name in row["values"]]
    values = [value for value in map(number_from_json, inside) if not math.isnan(value)]
    return plain_number(values[-1], 4) if values else ""


def _alerts(summary: CaseSummary, rows: list[dict[str, Any]]) -> list[Row]:
    """Every alert that was pending or firing, with the windows in which it was."""
    seen: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        here = [name for name, w in zip(_ORDER, _windows(summary), strict=True) if w and w.start <= row["t"] <= w.end]
        for name in row["values"]:
            if name.startswith("ALERTS{") and _QUIET not in name:
                labels = dict(part.split("=", 1) for part in name[7:-1].split(",") if "=" in part)
                states = seen.setdefault(labels.get("alertname", name), {})
                states.setdefault(labels.get("alertstate", "?"), set()).update(here or ["outside the windows"])
    return [
        {"name": alert, "state": state, "when": ", ".join(sorted(when, key=_place))}
        for alert, states in sorted(seen.items())
        for state, when in sorted(states.items())
    ]


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)
