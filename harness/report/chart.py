"""Line charts over time as inline SVG: no script, no network, colours from the page's CSS.

All texts are escaped here; nothing from a record reaches the markup otherwise. Coordinates are rounded to a tenth of
a unit, so that the same record always draws the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from harness.judge.intervals import Floats

WIDTH = 1120.0
_LEFT, _RIGHT, _BOTTOM = 62.0, 14.0, 36.0
_ROW = 16.0  # height of a row of labels above the plot
_CHARACTER = 7.4  # width of a character of the labels, a little more than it really is


@dataclass(frozen=True)
class Line:
    """A series: ``x`` in s, ``y`` in the chart's unit, NaN where there is no data (the line breaks there)."""

    label: str
    css: str
    x: Floats
    y: Floats


@dataclass(frozen=True)
class Band:
    """A shaded stretch of time, named at the top."""

    start: float
    end: float
    label: str
    css: str


@dataclass(frozen=True)
class Marker:
    """An instant (``end`` None), or an interval too narrow for a label of its own, with its label beside it."""

    start: float
    end: float | None
    label: str
    css: str


@dataclass(frozen=True)
class Tolerance:
    """A horizontal line: the bound a steady-state signal must keep."""

    y: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What to draw. ``unit`` is how values are written: ``ms``, ``%`` (of a share in [0, 1]) or ``/s``."""

    title: str
    y_label: str
    unit: str
    span: tuple[float, float]
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    markers: tuple[Marker, ...] = ()
    tolerances: tuple[Tolerance, ...] = ()
    height: float = 200.0
    hover: bool = True
    x_label: str = "seconds since the baseline began"
    x_unit: str = "s"
    from_zero: bool = True  # off: the axis shows the values' own range, for trends of something large


@dataclass(frozen=True)
class Scale:
    """From values to places on the y axis, linear from 0 or logarithmic."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def fraction(self, value: float) -> float:
        """0 at the bottom, 1 at the top; clipped."""
        if self.log:
            value = math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        else:
            value = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, value))


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 x 10^k that cuts ``span`` into at most ``most`` parts."""
    raw = max(span, 1e-12) / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))


def scale_of(chart: Chart) -> Scale:
    """The y axis: linear from 0, logarithmic for durations that range over more than a factor of 40."""
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in chart.lines] or [np.zeros(0)])
    bounds = [t.y for t in chart.tolerances if math.isfinite(t.y)]
    top = max([float(values.max()) if len(values) else 0.0, *bounds, 1e-9])
    positive = values[values > 0]
    if chart.unit == "ms" and len(positive) and top / float(positive.min()) > 40:
        low = 10.0 ** math.floor(math.log10(float(positive.min())))
        high = 10.0 ** math.ceil(math.log10(top * 1.05))
        decades = range(round(math.log10(low)), round(math.log10(high)) + 1)
        return Scale(low, high, True, tuple(10.0**d for d in decades))
    if chart.unit == "%" and top > 0.5:
        return Scale(0.0, 1.05, False, (0.0, 0.25, 0.5, 0.75, 1.0))
    if not chart.from_zero and len(values):
        return _zoomed(float(values.min()), top)
    step = nice_step(top * 1.08, 5)
    high = step * math.ceil(top * 1.08 / step)
    return Scale(0.0, high, False, tuple(step * i for i in range(round(high / step) + 1)))


def _zoomed(low: float, high: float) -> Scale:
    """A linear axis around the values, at least a tenth of their size wide."""
    margin = max(0.15 * (high - low), 0.05 * high, 1e-9)
    step = nice_step(high - low + 2 * margin, 5)
    first, last = math.floor(max(0.0, low - margin) / step), math.ceil((high + margin) / step)
    return Scale(first * step, last * step, False, tuple(step * i for i in range(first, last + 1)))


def number(value: float, unit: str) -> str:
    """A value with its unit, short: ``12.5 ms``, ``0.2 %``, ``300 /s``."""
    if not math.isfinite(value):
        return "no data"
    if unit == "%":
        value *= 100.0
    digits = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}".strip()


class _Plot:
    """One chart being drawn: where things are."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.scale = scale_of(chart)
        self.band_labels = _band_labels(chart, self.x)
        self.marker_labels = _marker_labels(chart, self.x)
        self.top = 6.0 + _ROW * (1 + max((label.row for label in self.marker_labels), default=0))
        self.bottom = self.top + chart.height
        self.total = self.bottom + _BOTTOM

    def x(self, seconds: float) -> float:
        start, end = self.chart.span
        share = (min(max(seconds, start), end) - start) / max(end - start, 1e-9)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.bottom - self.scale.fraction(value) * self.chart.height


@dataclass(frozen=True)
class _Label:
    x: float
    row: int
    anchor: str
    text: str
    css: str


def _band_labels(chart: Chart, place: Callable[[float], float]) -> list[_Label]:
    """Names of the bands in the top row; a band too narrow for its name goes without."""
    found = []
    for band in chart.bands:
        left, right = place(band.start), place(band.end)
        if right - left >= len(band.label) * _CHARACTER:
            found.append(_Label((left + right) / 2, 0, "middle", band.label, band.css))
    return found


def _marker_labels(chart: Chart, place: Callable[[float], float]) -> list[_Label]:
    """One label a marker, below the bands' names, each in the first row where it overlaps no other."""
    found = []
    taken: list[list[tuple[float, float]]] = []
    for marker in chart.markers:
        at, width = place(marker.start), (len(marker.label) + 2) * _CHARACTER
        flip = at + width > WIDTH - 2
        left, right = (at - width, at + 4) if flip else (at - 4, at + width)
        row = next((i for i, row in enumerate(taken) if all(right <= a or left >= b for a, b in row)), len(taken))
        if row == len(taken):
            taken.append([])
        taken[row].append((left, right))
        found.append(_Label(at - 5 if flip else at + 5, row + 1, "end" if flip else "start", marker.label, marker.css))
    return found


def render(chart: Chart) -> Markup:
    """The chart as an ``<svg>`` element."""
    plot = _Plot(chart)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {plot.total:g}" role="img" aria-label="{escape(chart.title)}">',
        f"<title>{escape(chart.title)}</title>",
        *_bands(plot),
        *_axes(plot),
        *_markers(plot),
        *_tolerances(plot),
        *(_line(plot, line) for line in chart.lines),
        *_tolerance_labels(plot),
        *(_hover(plot) if chart.hover else []),
        "</svg>",
    ]
    return Markup("\n".join(part for part in parts if part))


def _bands(plot: _Plot) -> list[str]:
    found = []
    for band in plot.chart.bands:
        left, right = plot.x(band.start), plot.x(band.end)
        found.append(
            f'<rect class="band {band.css}" x="{left:.1f}" y="{plot.top:.1f}" width="{max(1.0, right - left):.1f}" '
            f'height="{plot.chart.height:.1f}"/>'
        )
    for label in [*plot.band_labels, *plot.marker_labels]:
        y = 13.0 + _ROW * label.row
        found.append(
            f'<text class="band-label {label.css}" x="{label.x:.1f}" y="{y:.1f}" text-anchor="{label.anchor}">'
            f"{escape(label.text)}</text>"
        )
    return found


def _axes(plot: _Plot) -> list[str]:
    chart, scale = plot.chart, plot.scale
    found = []
    for tick in scale.ticks:
        y = plot.y(tick)
        css = "grid zero" if tick == scale.ticks[0] else "grid"
        found.append(f'<line class="{css}" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = number(tick, chart.unit).rsplit(" ", 1)[0]
        found.append(f'<text class="tick" x="{_LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    start, end = chart.span
    step = nice_step(end - start, 14)
    for index in range(math.ceil(start / step - 1e-6), math.floor(end / step + 1e-6) + 1):
        x = plot.x(index * step)
        found.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{plot.bottom:.1f}" y2="{plot.bottom + 4:.1f}"/>'
        )
        text = f"{index * step:g}"
        found.append(f'<text class="tick" x="{x:.1f}" y="{plot.bottom + 17:.1f}" text-anchor="middle">{text}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    found.append(
        f'<text class="axis" x="{middle:.1f}" y="{plot.bottom + 32:.1f}" text-anchor="middle">'
        f"{escape(chart.x_label)}</text>"
    )
    y = (plot.top + plot.bottom) / 2
    label = f"{chart.y_label} (log)" if scale.log else chart.y_label
    found.append(
        f'<text class="axis" transform="translate(13 {y:.1f}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'
    )
    return found


def _markers(plot: _Plot) -> list[str]:
    found = []
    for marker, label in zip(plot.chart.markers, plot.marker_labels, strict=True):
        left = plot.x(marker.start)
        top = 4.0 + _ROW * label.row
        if marker.end is not None:
            # A recovery of 20 ms in a case of a minute would be thinner than a pixel: at least 3 are drawn.
            right = max(plot.x(marker.end), left + 3.0)
            found.append(
                f'<rect class="{marker.css}" x="{left:.1f}" y="{plot.top:.1f}" width="{right - left:.1f}" '
                f'height="{plot.chart.height:.1f}"/>'
            )
        found.append(
            f'<line class="{marker.css}-line" x1="{left:.1f}" x2="{left:.1f}" y1="{top:.1f}" y2="{plot.bottom:.1f}"/>'
        )
    return found


def _tolerances(plot: _Plot) -> list[str]:
    left, right = f"{_LEFT:g}", f"{WIDTH - _RIGHT:g}"
    places = [plot.y(t.y) for t in plot.chart.tolerances if math.isfinite(t.y)]
    return [f'<line class="tolerance" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>' for y in places]


def _tolerance_labels(plot: _Plot) -> list[str]:
    """Above the line at the right end; below it where it lies at the very top."""
    found = []
    for tolerance in plot.chart.tolerances:
        if not math.isfinite(tolerance.y):
            continue
        y = plot.y(tolerance.y)
        y = y + 14 if y - plot.top < 16 else y - 5
        found.append(
            f'<text class="tolerance-label" x="{WIDTH - _RIGHT - 4:g}" y="{y:.1f}" text-anchor="end">'
            f"{escape(tolerance.label)}</text>"
        )
    return found


def _line(plot: _Plot, line: Line) -> str:
    """The path of a series; a lone point between gaps becomes a short dash so that it is seen at all."""
    path: list[str] = []
    pen = False
    for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
        if not math.isfinite(y):
            pen = False
            continue
        path.append(f"{'L' if pen else 'M'}{plot.x(x):.1f} {plot.y(y):.1f}" + ("" if pen else "h.1"))
        pen = True
    return f'<path class="line {line.css}" d="{"".join(path)}"/>' if path else ""


def _hover(plot: _Plot) -> list[str]:
    """Invisible columns, one a bin, with the values as the browser's own tooltip."""
    lines = plot.chart.lines
    if not lines or len(lines[0].x) < 2:
        return []
    xs = lines[0].x
    half = float(xs[1] - xs[0]) / 2
    found = []
    for index, x in enumerate(xs.tolist()):
        values = ", ".join(f"{line.label} {number(float(line.y[index]), plot.chart.unit)}" for line in lines)
        left, right = plot.x(x - half), plot.x(x + half)
        when = f"{x - half:.6g}–{x + half:.6g} {plot.chart.x_unit}"
        found.append(
            f'<rect class="hover" x="{left:.1f}" y="{plot.top:.1f}" width="{max(0.1, right - left):.1f}" '
            f'height="{plot.chart.height:.1f}"><title>{when}: {escape(values)}</title></rect>'
        )
    return found
