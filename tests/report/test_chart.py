"""Charts: scales that fit, labels that do not overlap, lines that break where there is no data."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from harness.report.chart import WIDTH, Band, Chart, Line, Marker, Tolerance, nice_step, number, render, scale_of
from harness.report.series import Bins, quantile_per_bin, share_per_bin

X = np.arange(0.25, 40.0, 0.5)
BASE = Chart("title", "latency, ms", "ms", (0.0, 40.0), (Line("p99", "first", X, np.full(len(X), 4.0)),))


def svg(chart: Chart) -> ET.Element:
    return ET.fromstring(str(render(chart)))


def test_a_chart_is_well_formed_and_inside_its_frame() -> None:
    chart = dataclasses.replace(
        BASE,
        bands=(Band(12.0, 24.0, "fault in force", "fault"),),
        markers=(Marker(12.4, None, "effect observed", "observed"), Marker(24.0, 24.02, "effect gone", "recovery")),
        tolerances=(Tolerance(15.0, "SLO 15 ms"),),
    )
    root = svg(chart)
    height = float(root.attrib["viewBox"].split()[3])
    for element in root.iter():
        for name, most in (("x", WIDTH), ("x1", WIDTH), ("x2", WIDTH), ("y", height), ("y1", height), ("y2", height)):
            if name in element.attrib:
                assert 0.0 <= float(element.attrib[name]) <= most


def test_a_recovery_of_a_few_milliseconds_is_wide_enough_to_be_seen() -> None:
    root = svg(dataclasses.replace(BASE, markers=(Marker(24.0, 24.001, "gone", "recovery"),)))
    drawn = [e for e in root.iter() if e.attrib.get("class") == "recovery"]
    assert float(drawn[0].attrib["width"]) >= 3.0


@pytest.mark.parametrize("gap", [0.0, 0.4, 3.0, 12.0])
def test_labels_of_markers_do_not_overlap_and_stay_inside(gap: float) -> None:
    markers = tuple(Marker(24.0 + gap * i, None, f"a label of some length, number {i}", "observed") for i in range(3))
    labels = [e for e in svg(dataclasses.replace(BASE, markers=markers)).iter() if "observed" in e.get("class", "")]
    boxes = []
    for label in labels:
        if label.text and label.tag.endswith("text"):
            width, x = 7.0 * len(label.text), float(label.attrib["x"])
            left = x - width if label.attrib["text-anchor"] == "end" else x
            assert left >= 0.0
            assert left + width <= WIDTH + 1
            boxes.append((label.attrib["y"], left, left + width))
    assert len(boxes) == 3
    for i, (row, left, right) in enumerate(boxes):
        assert all(row != r or right <= a or left >= b for r, a, b in boxes[i + 1 :])


def test_a_line_breaks_where_there_is_no_data() -> None:
    values = np.full(len(X), 4.0)
    values[10:20] = math.nan
    root = svg(dataclasses.replace(BASE, lines=(Line("p99", "first", X, values),)))
    path = next(e.attrib["d"] for e in root.iter() if "line first" in e.get("class", ""))
    assert path.count("M") == 2
    assert "nan" not in path


def test_a_chart_without_any_data_is_still_a_chart() -> None:
    root = svg(dataclasses.replace(BASE, lines=(Line("p99", "first", X, np.full(len(X), math.nan)),)))
    assert not [e for e in root.iter() if e.get("class", "").startswith("line")]


def test_the_tolerance_is_always_in_the_picture() -> None:
    scale = scale_of(dataclasses.replace(BASE, tolerances=(Tolerance(15.0, "SLO"),)))
    assert scale.high >= 15.0
    assert not scale.log


def test_a_stall_turns_durations_logarithmic_so_that_the_baseline_stays_visible() -> None:
    values = np.full(len(X), 4.0)
    values[30:40] = 1800.0
    scale = scale_of(dataclasses.replace(BASE, lines=(Line("p99", "first", X, values),)))
    assert scale.log
    assert scale.fraction(4.0) > 0.05
    assert scale.fraction(1800.0) < 1.0


def test_hostile_texts_are_escaped() -> None:
    text = str(render(dataclasses.replace(BASE, title="<b>&", y_label="</text><script>")))
    assert "<script>" not in text
    assert "&lt;b&gt;" in text


@pytest.mark.parametrize(
    ("span", "most", "step"), [(40, 14, 5), (10, 14, 1), (1, 5, 0.2), (300, 14, 50), (0.15, 5, 0.05)]
)
def test_steps_are_round(span: float, most: int, step: float) -> None:
    assert nice_step(span, most) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(12.5, "ms", "12.5 ms"), (0.001, "%", "0.1 %"), (300.0, "/s", "300 /s"), (1812.0, "ms", "1,812 ms")],
)
def test_numbers_are_short(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text
    assert number(math.nan, unit) == "no data"


def test_bins_count_quantiles_and_shares() -> None:
    bins = Bins(np.array([0.0, 1.0, 2.0, 3.0]))
    instants = np.array([0.1, 0.2, 0.3, 2.5, 9.0])
    values = np.array([3.0, 1.0, 2.0, 7.0, 100.0])
    assert quantile_per_bin(bins, instants, values, 0.5).tolist()[:1] == [2.0]
    p99 = quantile_per_bin(bins, instants, values, 0.99)
    assert p99[0] == 3.0
    assert math.isnan(p99[1])
    assert p99[2] == 7.0
    share = share_per_bin(bins, instants, np.array([True, False, False, True, True]))
    assert share[0] == pytest.approx(1 / 3)
    assert share[2] == 1.0


def test_coordinates_are_rounded() -> None:
    found = re.findall(r"[ML ]\d+\.(\d+)", str(render(BASE)))
    assert found
    assert all(len(digits) == 1 for digits in found)
