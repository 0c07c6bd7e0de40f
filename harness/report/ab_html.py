"""The page of an A/B analysis: self-contained, no script."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from harness.errors import RecordError
from harness.judge.arms import Arm
from harness.judge.comparison import Comparison
from harness.model import Estimate, Interval
from harness.report.ab_charts import distribution_chart, interval_chart, tail_chart
from harness.report.templating import environment, source

_WORDS = {"PASS": "Nothing is worse than allowed", "FAIL": "Worse than allowed"}


def write_ab_report(
    path: Path, facts: dict[str, Any], rows: tuple[Comparison, ...], control: Arm | None, canary: Arm | None
) -> None:
    """Write the page. Raises :class:`RecordError` where it cannot be written."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(ab_html(facts, rows, control, canary), encoding="utf-8", errors="replace")
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write the report: {error.strerror}", where=str(path)) from error


def ab_html(facts: dict[str, Any], rows: tuple[Comparison, ...], control: Arm | None, canary: Arm | None) -> str:
    """The page as text. ``facts`` is the analysis as JSON."""
    charts = []
    if control is not None and canary is not None and control.count and canary.count:
        p99 = next((row for row in rows if row.metric.startswith("P99") and row.control.unit == "ms"), None)
        charts = [distribution_chart(control, canary, p99), tail_chart(control, canary)]
    return (
        environment()
        .get_template("ab.html.j2")
        .render(
            css=source("report.css"),
            facts=facts,
            word=_WORDS.get(facts["verdict"], "The sample cannot tell"),
            rows=[_row(row) for row in rows],
            intervals=interval_chart(rows),
            charts=[chart for chart in charts if chart],
        )
    )


def _row(row: Comparison) -> dict[str, str]:
    unit = row.change.unit
    return {
        "verdict": row.verdict.value,
        "metric": row.metric,
        "control": _estimate(row.control),
        "canary": _estimate(row.canary),
        "change": f"{_amount(row.change.value, unit)} {_ends(row.interval95, unit)}" if row.change.known else "unknown",
        "bound": _ends(row.change.interval, unit) if row.change.known else "",
        "limit": f"{row.op} {_amount(row.limit, unit)}",
        "decided_by": row.decided_by,
        "note": "; ".join(filter(None, [row.note, row.false_alarms and f"false alarms: {row.false_alarms}"])),
    }


def _estimate(estimate: Estimate) -> str:
    if not estimate.known:
        return "–"
    return f"{_amount(estimate.value, estimate.unit)} {_ends(estimate.interval, estimate.unit)}"


def _ends(interval: Interval, unit: str) -> str:
    return f"[{_amount(interval.low, unit)}, {_amount(interval.high, unit)}]" if interval.known else ""


def _amount(value: float, unit: str) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.2%}" if unit == "ratio" else f"{value:.2f} {unit}"
