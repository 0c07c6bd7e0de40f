"""Intervals become columns, windows, gaps and restarts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.histogram import Histogram
from harness.judge.soak_criteria import increments
from harness.judge.soak_series import SoakSeries, Windows
from tests.soak.synthetic import Shape, records

HOUR = Shape(duration_s=3600.0, interval_s=60.0, rate=100.0)


def series(**options: float) -> SoakSeries:
    values: dict[str, Any] = {"time_scale": 1.0, "window_s": 900.0, "warm_up_s": 0.0, "duration_s": 3600.0, **options}
    return SoakSeries(**values)


def fed(shape: Shape = HOUR, **options: float) -> SoakSeries:
    found = series(**options)
    for record in records(shape):
        found.add(record)
    found.finish()
    return found


def test_windows_merge_and_never_average() -> None:
    draw = np.random.default_rng(3)
    parts = [draw.lognormal(-6, 0.5, 500) for _ in range(6)]
    windows = Windows(60.0)
    for n, part in enumerate(parts):
        windows.add(n * 20 + 10, n * 20 + 20, Histogram.of_seconds(part), {"recall": (500, 0)}, spoiled=False)
    windows.close()
    assert [w.count for w in windows.closed] == [1500, 1500]
    whole = Histogram.of_seconds(np.concatenate(parts[:3]))
    assert windows.closed[0].p99_ms == whole.percentile(99) * 1e3
    assert windows.closed[0].ops == {"recall": (1500, 0)}


def test_what_is_recorded_adds_up() -> None:
    found = fed()
    assert len(found) == 60
    assert found.observed_s == pytest.approx(3600)
    assert sum(h.count for h in found.latency.values()) == found.column("completed").sum()
    assert len(found.windows.closed) == 4
    assert (found.gaps, found.restarts) == ([], [])


def test_scaled_time_is_real_time_times_the_scale() -> None:
    found = fed(replace(HOUR, time_scale=60.0, rate=6000.0), time_scale=60.0)
    assert found.observed_s == pytest.approx(3600)
    assert len(found.windows.closed) == 4


def test_the_warm_up_spoils_its_windows_only() -> None:
    found = fed(warm_up_s=1000.0)
    assert [w.spoiled for w in found.windows.closed] == [True, True, False, False]
    assert found.steady.sum() == 43


@pytest.mark.parametrize(
    ("change", "ours"),
    [({"segment": 1}, True), ({"segment": 0}, False)],
    ids=["the harness began anew", "the target became another"],
)
def test_another_process_is_a_restart(change: dict[str, int], ours: bool) -> None:
    found = series()
    for record in records(HOUR):
        if record["n"] >= 30:
            record.update(change)
            record["target"]["identity"] = [5, 6, "boot"]
        found.add(record)
    assert [r.ours for r in found.restarts] == [ours]


def test_a_start_time_the_service_tells_shows_a_restart_too() -> None:
    found = series()
    for record in records(HOUR):
        del record["target"]["identity"]
        record["service"]["start_time"] = 100.0 if record["n"] < 20 else 900.0
        found.add(record)
    assert [r.ours for r in found.restarts] == [False]


def test_counters_that_begin_anew_do_not_run_backwards() -> None:
    grown = increments(np.array([1.0, 5.0, math.nan, 9.0, 2.0, 4.0]), np.array([0.0, 0, 0, 0, 1, 1]))
    assert grown.tolist() == [0, 4, 0, 4, 0, 2]


def test_an_event_that_means_nothing_changes_nothing() -> None:
    found = series()
    for event in ({"event": "target_ready"}, {"event": "fault_ends", "at_s": 3.0}, {"event": "x", "at_s": 1.0}):
        found.event(event)
    assert (found.faults, found.deaths) == ([], [])


def test_a_fault_left_open_ends_with_the_record() -> None:
    found = series()
    found.event({"event": "fault_begins", "at_s": 10.0, "text": "slow"})
    found.add(dict[str, Any](records(HOUR)[0]))
    found.finish()
    assert found.faults == [(10.0, 60.0, "slow")]
