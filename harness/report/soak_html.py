"""A soak's page: what somebody reads at 8 in the morning. The first screen says go or no-go, and why."""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from harness.errors import RecordError
from harness.judge.soak_criteria import increments
from harness.judge.soak_series import SoakSeries
from harness.judge.soak_verdict import SoakJudgement, clock_text
from harness.model import Verdict
from harness.report.chart import render
from harness.report.soak import SoakRecord, read_soak
from harness.report.soak_charts import charts_of, go_word
from harness.report.soak_terminal import bound_text, value_text
from harness.report.templating import environment, source
from harness.report.words import plain_number

_HOUR = 3600.0
_SHOWN_EVENTS = 60
_QUIET = frozenset({"fault_prepared", "inject_sent", "inject_acked", "heal_sent", "heal_acked"})
_ORDER = (Verdict.FAIL, Verdict.ABORTED, Verdict.NOT_EXERCISED, Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED, Verdict.PASS)


def write_soak_report(folder: Path, record: SoakRecord | None = None, judged: SoakJudgement | None = None) -> Path:
    """Write ``report.html`` beside the soak's directory and return its path. Raises :class:`RecordError`.

    The record is read and judged unless it was already.
    """
    record = record or read_soak(folder)
    text = soak_html(record, judged or record.judge())
    path = folder.parent / "report.html"
    scratch = path.with_name(f".report.html.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8", errors="replace")
        scratch.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write the report: {error.strerror}", where=str(path)) from error
    return path


def soak_html(record: SoakRecord, judgement: SoakJudgement) -> str:
    """The page as text."""
    series = record.series
    folder = record.folder.resolve()
    shown = f"{folder.parent.parent.name}/{folder.parent.name}"
    results = sorted(judgement.results, key=lambda r: _ORDER.index(r.verdict))
    return (
        environment()
        .get_template("soak.html.j2")
        .render(
            session=folder.parent.name,
            verdict=judgement.verdict.value,
            word=go_word(judgement.verdict),
            sentence=_sentence(record, judgement),
            reasons=judgement.reasons,
            numbers=_numbers(record),
            scaled=series.time_scale != 1,
            time_scale=plain_number(series.time_scale),
            rows=[
                {
                    "verdict": r.verdict.value,
                    "label": r.label,
                    "value": value_text(r),
                    "bound": bound_text(r),
                    "reason": r.reason,
                    "window": r.window,
                    "decided": clock_text(r.decided_at_s) if math.isfinite(r.decided_at_s) else "not decided",
                    "source": r.source,
                }
                for r in results
            ],
            charts=[
                {
                    "title": chart.title,
                    "legend": [(line.css, line.label) for line in chart.lines if line.label],
                    "svg": render(chart),
                }
                for chart in charts_of(record, judgement)
            ],
            operations=_operations(record),
            cost=_cost(series),
            gaps=[
                {"start": clock_text(g.start_s), "end": clock_text(g.end_s), "length": clock_text(g.end_s - g.start_s)}
                for g in series.gaps
            ],
            restarts=[{"at": clock_text(r.at_s), "what": r.detail, "ours": r.ours} for r in series.restarts],
            events=_events(record),
            facts=_facts(record),
            torn=record.torn_lines,
            command=f"harness judge {shlex.quote(shown)}",
            css=Markup(source("report.css") + source("soak.css")),  # ours, no record's
        )
    )


def _sentence(record: SoakRecord, judgement: SoakJudgement) -> str:
    series = record.series
    ran = f"{clock_text(series.observed_s)} of {clock_text(series.duration_s)} observed"
    bad = [r for r in judgement.results if r.verdict is Verdict.FAIL]
    undecided = [r for r in judgement.results if r.verdict not in (Verdict.PASS, Verdict.FAIL, Verdict.UNSUPPORTED)]
    if judgement.verdict is Verdict.PASS:
        return f"{ran}; every criterion is met."
    if judgement.aborts.met:
        names = ", ".join(m.trigger.name for m in judgement.aborts.met.values())
        return f"Ended at once by an abort trigger ({names}); {ran}."
    if bad:
        return f"{len(bad)} of {len(judgement.results)} criteria failed: {', '.join(r.label for r in bad)}; {ran}."
    if undecided:
        return f"Nothing failed, but {', '.join(r.label for r in undecided)} cannot be decided; {ran}."
    return f"{ran}; what could be judged is met, and something the target does not tell."


def _numbers(record: SoakRecord) -> list[tuple[str, str]]:
    """The first screen's figures."""
    series = record.series
    if not len(series):
        return []
    real_s = series.observed_s / series.time_scale
    total = float(np.nansum(series.column("completed")))
    bad, good = float(series.column("bad").sum()), float(series.column("good").sum())
    everything = [w.p99_ms for w in series.windows.closed if not w.spoiled and math.isfinite(w.p99_ms)]
    rss = series.column("rss_mb")
    rss = rss[np.isfinite(rss)]
    return [
        ("requests", f"{total:,.0f}"),
        ("per second", f"{total / real_s:,.1f}" if real_s else "–"),
        ("P99, median window", f"{np.median(everything):.1f} ms" if everything else "–"),
        ("P99, worst window", f"{max(everything):.1f} ms" if everything else "–"),
        ("failed", f"{bad / (good + bad):.4%}" if good + bad else "–"),
        ("RSS at the end", f"{rss[-1]:,.0f} MB" if len(rss) else "–"),
    ]


def _operations(record: SoakRecord) -> list[dict[str, str]]:
    found = []
    for name, histogram in sorted(record.series.latency.items()):
        row = {"name": name.replace("_", " "), "count": f"{histogram.count:,}"}
        row |= {f"p{p:g}".replace(".", ""): f"{histogram.percentile(p) * 1e3:.2f}" for p in (50, 95, 99, 99.9, 100)}
        found.append(row)
    return found


def _cost(series: SoakSeries) -> list[tuple[str, str]]:
    """What the harness itself used: it must not be what is measured."""
    if len(series) < 2:
        return []
    whole_s = float((series.column("to_s") - series.column("from_s")).sum()) / series.time_scale
    segment = series.column("segment")
    found = []
    for name, text in (("harness", "recording"), ("load", "load processes")):
        rss = series.column(f"{name}_rss_mb")
        cpu = float(increments(series.column(f"{name}_cpu_s"), segment).sum())
        settled = rss[len(rss) // 10 :]
        settled = settled[np.isfinite(settled)]
        growth = f", growth after warm-up {settled[-1] - settled[0]:+.1f} MB" if len(settled) > 1 else ""
        most = f"RSS at most {np.nanmax(rss):.0f} MB" if np.isfinite(rss).any() else "RSS unknown"
        found.append((text, f"{most}{growth}; CPU {cpu / whole_s:.2%} of a core" if whole_s else most))
    return found


def _events(record: SoakRecord) -> list[dict[str, str]]:
    scale = record.series.time_scale
    kept = [e for e in record.events if e.get("event") not in _QUIET][-_SHOWN_EVENTS:]
    return [
        {
            "at": clock_text(float(e["at_s"]) * scale) if isinstance(e.get("at_s"), int | float) else "",
            "wall": str(e.get("wall", "")),
            "event": str(e.get("event", "")).replace("_", " "),
            "detail": _detail(e),
        }
        for e in kept
    ]


def _detail(event: dict[str, Any]) -> str:
    keys = ("reason", "trigger", "text", "target_meanwhile", "gap_by", "evidence", "log")
    return "; ".join(str(event[key]) for key in keys if event.get(key))


def _facts(record: SoakRecord) -> list[tuple[str, str]]:
    manifest, plan = record.manifest, record.manifest["plan"]
    arrival = plan.get("workload", {}).get("arrival", {})
    versions = manifest.get("versions", {})
    return [
        ("scenario", f"{record.scenario.name}: {record.scenario.description}"),
        ("load", ", ".join([str(plan.get("workload", {}).get("name", "")), *(f"{k} {v}" for k, v in arrival.items())])),
        ("duration", f"{clock_text(float(plan['duration_s']))}, time scale {plan['time_scale']:g}"),
        ("seed", f"{plan['seed']:#x}"),
        ("target", str(plan.get("target", ""))),
        ("defects", ", ".join(plan.get("defects", [])) or "none"),
        ("started", str(manifest.get("started", ""))),
        ("command", str(manifest.get("command", ""))),
        ("commit", str(manifest.get("commit", ""))),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))),
        ("machine", ", ".join(f"{k} {v}" for k, v in sorted(manifest.get("machine", {}).items()))),
    ]
