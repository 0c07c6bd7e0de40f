"""Abort triggers: each ends the soak when it must, and not for less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.judge.soak_abort import AbortWatch
from harness.judge.soak_series import SoakSeries
from harness.model import Verdict
from harness.report.soak import read_soak
from harness.scenario.soak import load_soak
from tests.soak.synthetic import ROOT, Shape, records, write

SHAPE = Shape(duration_s=8 * 3600.0, interval_s=60.0, rss_noise_mb=2.0, rate=200.0)


def met(
    shape: Shape, *, errors: tuple[float, float, float] = (0, 0, 0), slow: tuple[float, float, float] = (0, 0, 0)
) -> dict[str, float]:
    """The triggers met, with the hour. ``errors`` and ``slow``: from hour, to hour, share or factor."""
    scenario = load_soak(ROOT / "scenarios" / "soak" / "phase0.toml")
    series = SoakSeries(time_scale=1.0, window_s=scenario.record.window_s, warm_up_s=900.0, duration_s=shape.duration_s)
    watch = AbortWatch(scenario.aborts)
    slower = {r["n"]: r for r in records(replace(shape, drift_per_h=0.0))} if slow[2] else {}
    for record in records(shape):
        hour = record["to_s"] / 3600
        if errors[0] < hour <= errors[1]:
            record["ops"] = {
                k: [round(sum(v) * (1 - errors[2])), round(sum(v) * errors[2])] for k, v in record["ops"].items()
            }
        if slow[0] < hour <= slow[1]:
            record["latency"] = _slowed(slower[record["n"]]["latency"], slow[2])
        watch.look(series, window_closed=series.add(record))
    return {name: m.at_s / 3600 for name, m in watch.met.items()}


def _slowed(latency: dict[str, str], factor: float) -> dict[str, str]:
    from harness.histogram import Histogram

    return {
        k: Histogram.of_seconds([0.003 * factor] * Histogram.from_hdr(v).count).to_hdr() for k, v in latency.items()
    }


def test_a_healthy_soak_meets_none() -> None:
    assert met(SHAPE) == {}


@pytest.mark.parametrize(
    ("leak", "trigger", "hour"),
    [(1300.0, "rss_1gb", 0.8), (650.0, "rss_500mb", 3.4), (260.0, "rss_200mb", 6.4)],
)
def test_growing_memory(leak: float, trigger: str, hour: float) -> None:
    found = met(replace(SHAPE, leak_mb_per_h=leak))
    assert found[trigger] == pytest.approx(hour, abs=0.4)
    assert min(found, key=lambda name: found[name]) == trigger


def test_a_growth_below_every_trigger() -> None:
    assert met(replace(SHAPE, leak_mb_per_h=150.0)) == {}


def test_warm_up_is_no_leak() -> None:
    assert met(replace(SHAPE, rss_mb=2500.0, warm_up_mb=400.0)) == {}


def test_errors_for_an_hour() -> None:
    assert met(SHAPE, errors=(2.0, 4.0, 0.02))["error_rate"] == pytest.approx(3.0, abs=0.3)


def test_errors_for_three_quarters_of_an_hour_are_not_sustained() -> None:
    assert met(SHAPE, errors=(2.0, 2.75, 0.3)) == {}


def test_a_slow_p99_for_two_hours() -> None:
    assert met(SHAPE, slow=(1.0, 4.0, 20.0)) == {"p99": pytest.approx(3.0, abs=0.3)}
    assert met(SHAPE, slow=(1.0, 2.7, 20.0)) == {}


def test_a_crash_ends_it_at_once(tmp_path: Path) -> None:
    record = read_soak(write(tmp_path, replace(SHAPE, crash_at_h=2.0)))
    judgement = record.judge()
    assert list(judgement.aborts.met) == ["crash"]
    assert judgement.verdict is Verdict.FAIL
    assert judgement.reasons[0].startswith("abort trigger crash at 2 h")
