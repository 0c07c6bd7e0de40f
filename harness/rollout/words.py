"""A gate's figures in words, the same on a terminal and in a report."""

from __future__ import annotations

import math

from harness.judge.gate import Answer, Reading
from harness.model import Estimate


def measured_text(answer: Answer) -> str:
    """``+39.6 % (13.4 against 9.6 ms)``: the figure the row is decided by."""
    reading = answer.reading
    if reading is None or not reading.estimate.known:
        return "–"
    if answer.kind == "checklist" or answer.criterion.quantity.name == "attested":
        return "yes" if reading.estimate.value else "no"
    found = figure(reading.estimate.value, unit_of(answer, reading.estimate))
    return f"{found} ({reading.shown})" if reading.shown else found


def interval_text(answer: Answer) -> str:
    """``[12.9, 13.8] ms of 6,041``: its one-sided 95 % bounds and the sample."""
    reading = answer.reading
    if reading is None or not reading.estimate.known or answer.kind == "checklist":
        return ""
    estimate, unit = reading.estimate, unit_of(answer, reading.estimate)
    decided = f", {reading.decided_by}" if reading.decided_by else ""
    if estimate.interval.low == estimate.interval.high:
        return f"exact, {reading.witness}{decided}"
    low, high = (figure(v, unit) for v in (estimate.interval.low, estimate.interval.high))
    return f"[{low}, {high}] of {estimate.samples:,}, {reading.witness}{decided}"


def unit_of(answer: Answer, estimate: Estimate) -> str:
    """The unit a figure is shown in; shares and relative changes are percentages."""
    return "%" if estimate.unit == "ratio" else estimate.unit


def figure(value: float, unit: str) -> str:
    """A figure for people."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit == "%":
        return f"{value * 100:.4g} %"
    return f"{value:.4g} {unit}".rstrip()


def reading_text(reading: Reading) -> str:
    """Why a reading says what it says, for the row under a criterion."""
    return "; ".join(filter(None, [reading.note, reading.needed]))
