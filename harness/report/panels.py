"""The charts of a case: latency, errors, rates and the fault's own effect, over one time axis."""

from __future__ import annotations

import math

from harness.judge.case import CaseJudgement
from harness.judge.intervals import Floats
from harness.judge.recovery import Recovery
from harness.judge.summary import CaseSummary
from harness.report.chart import Band, Chart, Line, Marker, Tolerance
from harness.report.series import CaseSeries
from harness.report.words import recovery_text, seconds_text, signal_name

_USER_SIGNALS = ("errors", "recall_latency_over_slo")


def charts_of(judgement: CaseJudgement, hover: bool = True) -> list[Chart]:
    """The charts of a case, top to bottom; none where no request was recorded."""
    summary = judgement.summary
    series = CaseSeries(summary)
    if series.bins is None or not len(summary.view.requests):
        return []
    return [make for make in (_latency(summary, series, hover), _effect(summary, series, hover)) if make] + [
        _errors(summary, series, hover),
        _rates(summary, series, hover),
    ]


def _x(series: CaseSeries) -> Floats:
    assert series.bins is not None
    found: Floats = series.bins.middles - series.origin
    return found


def _span(series: CaseSeries) -> tuple[float, float]:
    assert series.bins is not None and series.span is not None
    return float(series.bins.edges[0]) - series.origin, series.span[1] - series.origin


def _per_bin(series: CaseSeries) -> str:
    assert series.bins is not None
    return f"per {series.bins.width_s:g} s"


def _tolerance(summary: CaseSummary, name: str, text: str) -> tuple[Tolerance, ...]:
    limit = summary.view.limit(name)
    return () if math.isnan(limit) else (Tolerance(limit, f"{text} ({name})"),)


def _latency(summary: CaseSummary, series: CaseSeries, hover: bool) -> Chart:
    p50, p99 = series.latency(0.5), series.latency(0.99)
    x = _x(series)
    limit = summary.view.limit("recall_p99_ms")
    return Chart(
        title=f"Recall latency from the intended start, {_per_bin(series)}",
        y_label="recall latency, ms",
        unit="ms",
        span=_span(series),
        lines=(
            Line("service time p50", "faint", x, series.service(0.5)),
            Line("p50", "second", x, p50),
            Line("p99", "first", x, p99),
        ),
        bands=bands(summary, series),
        markers=markers(summary, series, "recall_latency_over_slo"),
        tolerances=_tolerance(summary, "recall_p99_ms", f"SLO {limit:g} ms"),
        height=210.0,
        hover=hover,
    )


def _errors(summary: CaseSummary, series: CaseSeries, hover: bool) -> Chart:
    limit = summary.view.limit("error_rate")
    return Chart(
        title=f"Requests that failed, {_per_bin(series)}",
        y_label="errors, % of requests",
        unit="%",
        span=_span(series),
        lines=(Line("error share", "bad", _x(series), series.errors()),),
        bands=bands(summary, series),
        markers=markers(summary, series, "errors"),
        tolerances=_tolerance(summary, "error_rate", f"SLO {limit:.2%}"),
        height=120.0,
        hover=hover,
    )


def _rates(summary: CaseSummary, series: CaseSeries, hover: bool) -> Chart:
    return Chart(
        title=f"Requests due and completed, {_per_bin(series)}",
        y_label="requests/s",
        unit="/s",
        span=_span(series),
        lines=(
            Line("completed well", "second", _x(series), series.completed()),
            Line("due by the schedule", "offered", _x(series), series.offered()),
        ),
        bands=bands(summary, series),
        height=110.0,
        hover=hover,
    )


def _effect(summary: CaseSummary, series: CaseSeries, hover: bool) -> Chart | None:
    found = series.effect()
    if found is None:
        return None
    name, tolerance, values = found
    return Chart(
        title=f"Effect of the fault: share of events with {signal_name(name)}, {_per_bin(series)}",
        y_label="affected, %",
        unit="%",
        span=_span(series),
        lines=(Line(signal_name(name), "effect", _x(series), values),),
        bands=bands(summary, series),
        markers=markers(summary, series, name),
        tolerances=(Tolerance(tolerance, f"recovered at {tolerance:.1%} or less"),),
        height=150.0,
        hover=hover,
    )


def bands(summary: CaseSummary, series: CaseSeries) -> tuple[Band, ...]:
    """Baseline, fault and after, in seconds since the baseline began."""
    view, origin = summary.view, series.origin
    found = []
    baseline, after = view.windows.get("baseline"), view.windows.get("after")
    if baseline is not None:
        found.append(Band(baseline.start - origin, baseline.end - origin, "baseline", "quiet"))
    injected = view.instant("inject_sent")
    if not math.isnan(injected):
        acked = view.instant("heal_acked")  # also where it was rolled back first: it was in force until then
        healed = not math.isnan(acked)
        end = acked if healed else view.end
        text = "fault in force" if healed else "fault in force, heal not recorded"
        found.append(Band(injected - origin, end - origin, text, "fault"))
    elif (during := view.windows.get("during")) is not None:
        found.append(Band(during.start - origin, during.end - origin, "control: nothing injected", "control"))
    if after is not None:
        found.append(Band(after.start - origin, after.end - origin, "after", "quiet"))
    return tuple(band for band in found if band.end > band.start)


def markers(summary: CaseSummary, series: CaseSeries, signal: str) -> tuple[Marker, ...]:
    """When the effect was first seen, and when ``signal`` came back (else the fault's own effect)."""
    view, origin = summary.view, series.origin
    found = []
    seen, injected = view.instant("effective_observed"), view.instant("inject_sent")
    if not math.isnan(seen):
        after = f" {seconds_text(seen - injected)} after injecting" if not math.isnan(injected) else ""
        found.append(Marker(seen - origin, None, f"effect observed{after}", "observed"))
    moved = [r for r in summary.recoveries if r.state in ("recovered", "censored")]
    own = [r for r in moved if r.name == signal] or moved[:1]
    if own and view.heal is not None:
        found.append(_recovery(own[0], summary, series))
    return tuple(found)


def _recovery(recovery: Recovery, summary: CaseSummary, series: CaseSeries) -> Marker:
    view = summary.view
    assert view.heal is not None
    low = view.heal.high + recovery.seconds.low
    high = view.heal.low + recovery.seconds.high if math.isfinite(recovery.seconds.high) else view.end
    effect = summary.recoveries[0].name == recovery.name and recovery.name not in _USER_SIGNALS
    if recovery.state == "censored":
        low = view.heal.low
        text = "effect not gone" if effect else f"{signal_name(recovery.name)} not back"
        text += " when the record ends"
    else:
        text = "effect gone" if effect else f"{signal_name(recovery.name)} back in tolerance"
        text += f" {recovery_text(recovery)} after the {'rollback' if view.rolled_back else 'heal'}"
    return Marker(low - series.origin, max(high, low) - series.origin, text, "recovery")
