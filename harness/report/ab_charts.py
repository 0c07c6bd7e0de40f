"""The pictures of a comparison: both distributions, and every interval of the difference against its limit."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup, escape

from harness.judge.arms import Arm
from harness.judge.comparison import Comparison
from harness.report.chart import Chart, Line, Marker, number, render

_POINTS = 400
_WIDTH, _ROW, _LEFT, _RIGHT = 1120.0, 40.0, 250.0, 190.0
_SHOWN = 3.0  # limits' distances from zero that an interval picture reaches to


def distribution_chart(control: Arm, canary: Arm, p99: Comparison | None) -> Markup:
    """Share of requests at or below each latency, of both arms; the P99s with their intervals as markers."""
    both = np.concatenate([control.values, canary.values])
    both = both[np.isfinite(both)]
    if not len(both):
        return Markup("")
    top = float(np.quantile(both, 0.998))
    grid = np.linspace(0.0, top if top > 0 else 1.0, _POINTS)
    lines = tuple(
        Line(one.name, css, grid, np.searchsorted(np.sort(one.values), grid, side="right") / max(1, one.count))
        for one, css in ((control, "first"), (canary, "second"))
    )
    markers = []
    if p99 is not None:
        for name, side in (("control", p99.control), ("canary", p99.canary)):
            if side.known and math.isfinite(side.interval.high):
                label = f"P99 {name} {number(side.value, 'ms')}"
                markers.append(Marker(side.interval.low, side.interval.high, label, "recovery"))
    return render(
        Chart(
            "Share of requests answered within a time",
            "share of requests",
            "%",
            (0.0, float(grid[-1])),
            lines,
            markers=tuple(markers),
            height=260.0,
            x_label="latency from the intended start, ms (to the 99.8th percentile of both arms)",
            x_unit="ms",
        )
    )


def tail_chart(control: Arm, canary: Arm) -> Markup:
    """Latency at each percentile of both arms, where it matters: from P50 to P99.8."""
    fit = all(one.count >= 2 and bool(np.isfinite(one.values).all()) for one in (control, canary))
    if not fit:
        return Markup("")
    levels = np.linspace(50.0, 99.8, _POINTS)
    lines = tuple(
        Line(one.name, css, levels, np.quantile(one.values, levels / 100))
        for one, css in ((control, "first"), (canary, "second"))
    )
    chart = Chart(
        "Latency at each percentile", "latency, ms", "ms", (50.0, 100.0), lines, x_label="percentile", x_unit=""
    )
    return render(chart)


def interval_chart(rows: tuple[Comparison, ...]) -> Markup:
    """One line a metric: the change with its 95 % interval, zero, and the limit; scaled so that limits line up."""
    drawn = [row for row in rows if row.change.known and math.isfinite(row.limit) and row.limit != 0]
    if not drawn:
        return Markup("")
    height = _ROW * len(drawn) + 34
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="Intervals of the difference">',
        "<title>Intervals of the difference, in units of each limit</title>",
    ]
    zero, bound = _place(0.0), _place(1.0)
    bottom = _ROW * len(drawn) + 6
    parts.append(f'<line class="grid zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="4" y2="{bottom:.1f}"/>')
    parts.append(f'<line class="tolerance" x1="{bound:.1f}" x2="{bound:.1f}" y1="4" y2="{bottom:.1f}"/>')
    for index, row in enumerate(drawn):
        parts += _interval(row, 8 + _ROW * index + _ROW / 2)
    parts.append(f'<text class="tick" x="{zero:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">0</text>')
    under = f'x="{bound:.1f}" y="{bottom + 16:.1f}" text-anchor="middle"'
    parts.append(f'<text class="tolerance-label" {under}>limit</text>')
    return Markup("\n".join([*parts, "</svg>"]))


def _place(in_limits: float) -> float:
    share = (min(max(in_limits, -_SHOWN), _SHOWN) + _SHOWN) / (2 * _SHOWN)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _interval(row: Comparison, y: float) -> list[str]:
    css = {"PASS": "first", "FAIL": "bad"}.get(row.verdict.value, "faint")
    ends = row.interval95 if row.interval95.known else row.change.interval
    low, high = (_place(end / row.limit) for end in (ends.low, ends.high))
    left, right = min(low, high), max(low, high)
    at = _place(row.change.value / row.limit)
    return [
        f'<text class="axis" x="{_LEFT - 14:g}" y="{y + 4:.1f}" text-anchor="end">{escape(row.metric)}</text>',
        f'<path class="line {css}" d="M{left:.1f} {y:.1f}H{right:.1f}M{left:.1f} {y - 5:.1f}V{y + 5:.1f}'
        f'M{right:.1f} {y - 5:.1f}V{y + 5:.1f}"/>',
        f'<path class="line {css}" style="stroke-width:6" d="M{at:.1f} {y:.1f}h.1"/>',
        f'<text class="axis" x="{_WIDTH - _RIGHT + 14:g}" y="{y + 4:.1f}">{row.verdict.value}</text>',
    ]
