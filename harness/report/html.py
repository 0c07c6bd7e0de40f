"""``report.html``: one self-contained page a session; no script, no network, light and dark, printable."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.errors import RecordError
from harness.judge.case import CaseJudgement
from harness.model import Verdict
from harness.report.chart import render
from harness.report.panels import charts_of
from harness.report.prometheus import p99_chart, prometheus_part
from harness.report.series import CaseSeries
from harness.report.session import JudgedCase, JudgedSession, judge_session
from harness.report.tables import (
    check_row,
    degradation_rows,
    event_rows,
    facts,
    load_rows,
    memory_cells,
    overview_row,
    recovery_rows,
)
from harness.report.templating import environment, source
from harness.report.words import fault_text, session_sentence

# A tooltip for every bin costs some 60 KB a case; past this many cases the page would outgrow its 3 MB.
_MOST_CASES_WITH_HOVER = 12


def write_report(session: Path, judged: JudgedSession | None = None) -> Path:
    """Write ``report.html`` into ``session`` and return its path.

    The cases are judged from their files unless ``judged`` says they were. Raises :class:`RecordError` where the
    session cannot be read or the report cannot be written.
    """
    text = report_html(judged or judge_session(session))
    path = session / "report.html"
    scratch = path.with_name(f".report.html.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8", errors="replace")
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write the report: {error.strerror}", where=str(path)) from error
    return path


def report_html(judged: JudgedSession) -> str:
    """The page as text."""
    json = judged.json
    verdict = Verdict(json["verdict"])
    last = {case.name.partition("~")[0]: case.name for case in judged.cases}
    counting = set(last.values())
    hover = len(judged.cases) <= _MOST_CASES_WITH_HOVER
    cases = [_case(judged, case, case.name in counting, f"case-{n}", hover) for n, case in enumerate(judged.cases, 1)]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            session=json["session"],
            verdict=verdict.value,
            sentence=session_sentence(verdict, [case.json for case in judged.cases if case.name in counting]),
            tally=[(v.value, n) for v in Verdict if (n := sum(c["verdict"] == v.value and c["counts"] for c in cases))],
            cases=cases,
            command=f"harness judge {shlex.quote(_shown(judged.folder))}",
            css=Markup(source("report.css")),
        )
    )


def _shown(folder: Path) -> str:
    """The path to type: relative to where the reader most likely stands, two levels above the session."""
    whole = folder.resolve()
    return f"{whole.parent.name}/{whole.name}"


def _case(judged: JudgedSession, case: JudgedCase, counts: bool, anchor: str, hover: bool) -> dict[str, Any]:
    row = overview_row(case, counts)
    json = case.json
    found: dict[str, Any] = row | {
        "anchor": anchor,
        "title": case.name.partition("~")[0].replace("_", " "),
        "attempt": case.name.partition("~")[2] or ("1" if not counts else ""),
        "fault": fault_text(json["fault"]) if json["fault"] else "unknown",
        "reasons": json["reasons"],
        "conditions": json["conditions"],
        "evidence": _evidence(json),
        "degradation": degradation_rows(json),
        "memories": memory_cells(json),
        "examples": json["acknowledged_memories"].get("examples", {}),
        "command": f"harness judge {shlex.quote(f'{_shown(judged.folder)}/{case.name}')}",
        "path": f"{_shown(judged.folder)}/{case.name}",
        "facts": facts(case),
        "charts": [],
        "checks": [],
        "recovery": [],
        "load": [],
        "events": [],
        "events_left_out": 0,
        "prometheus": {"why": "", "signals": [], "alerts": []},
    }
    if case.judgement is not None:
        found |= _judged_parts(case.judgement, hover)
    return found


def _evidence(json: dict[str, Any]) -> list[dict[str, Any]]:
    """The pieces of evidence that the condition on the fault does not already quote."""
    said = " ".join(c["detail"] for c in json["conditions"] if c["name"] == "fault")
    return [piece for piece in json["evidence"] if piece["detail"] not in said]


def _judged_parts(judgement: CaseJudgement, hover: bool) -> dict[str, Any]:
    series = CaseSeries(judgement.summary)
    events, left_out = event_rows(judgement, series.origin)
    witness = p99_chart(judgement.summary, hover)
    charts = [
        {
            "title": chart.title,
            "legend": [(line.css, line.label) for line in chart.lines],
            "svg": render(chart),
        }
        for chart in [*charts_of(judgement, hover), *([witness] if witness is not None else [])]
    ]
    return {
        "charts": charts,
        "prometheus": prometheus_part(judgement.summary),
        "checks": [check_row(result) for result in judgement.checks],
        "recovery": recovery_rows(judgement.summary),
        "load": load_rows(judgement.summary),
        "events": events,
        "events_left_out": left_out,
    }
