"""The live file and the statistics read from it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.errors import LoadError
from harness.load.live import LIVE_BYTES, W_IN_FLIGHT, W_SENT, LiveSnapshot, LiveWriter
from harness.load.statistics import LiveStats, LoadSummary, live_stats
from harness.model import Op, Outcome


def _read(path: Path, t: float, elapsed_s: float, offered: int) -> LiveStats:
    snapshot = LiveSnapshot.read(path)
    assert snapshot is not None
    return live_stats([snapshot], t, elapsed_s, offered)


def test_what_is_written_is_read_and_the_file_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "live.map"
    writer = LiveWriter(path)
    writer.words[W_SENT] = 3
    for _ in range(1000):
        writer.count(Op.RECALL, Outcome.OK)
        writer.latency[Op.RECALL].record(0.004)
    writer.count(Op.STORE, Outcome.TIMEOUT)
    writer.latency[Op.STORE].record(2.0)
    writer.count(Op.STORE, Outcome.CANCELLED)
    writer.lag.record(0.0001)
    writer.beat(12.5, 1.25, 100, 200)
    stats = _read(path, 20.0, 10.0, 1002)
    assert path.stat().st_size == LIVE_BYTES
    assert (stats.sent, stats.completed, stats.ok) == (3, 1002, 1000)
    assert stats.errors == {Outcome.TIMEOUT: 1}
    assert stats.error_rate == pytest.approx(1 / 1001)
    assert stats.rate == pytest.approx(100.2)
    assert stats.p_ms(50) == pytest.approx(4.0, rel=0.005)
    assert stats.latency.percentile(100) == pytest.approx(2.0, rel=0.005)
    assert stats.recall_latency.count == 1000
    assert (stats.cpu_s, stats.rss_bytes, stats.peak_rss_bytes) == (1.25, 100, 200)


def test_the_difference_of_two_readings_is_what_happened_between(tmp_path: Path) -> None:
    writer = LiveWriter(tmp_path / "live.map")
    writer.count(Op.RECALL, Outcome.OK)
    writer.latency[Op.RECALL].record(1.0)
    before = _read(tmp_path / "live.map", 10.0, 5.0, 1)
    writer.count(Op.RECALL, Outcome.RESET)
    writer.latency[Op.RECALL].record(0.001)
    writer.words[W_IN_FLIGHT] = 4
    between = _read(tmp_path / "live.map", 12.0, 7.0, 3).since(before)
    assert (between.elapsed_s, between.offered, between.completed, between.in_flight) == (2.0, 2, 1, 4)
    assert between.by_outcome == {Outcome.RESET: 1}
    assert between.p_ms(99) == pytest.approx(1.0, rel=0.005)


def test_nothing_yet_is_no_number(tmp_path: Path) -> None:
    LiveWriter(tmp_path / "live.map")
    stats = _read(tmp_path / "live.map", 1.0, 0.0, 0)
    assert all(math.isnan(value) for value in (stats.p_ms(99), stats.rate, stats.error_rate, stats.offered_rate))
    summary = LoadSummary(0.0, 0.0, 0, 0, 0, 0, 1, 1, 0.0, "", stats)
    assert math.isnan(summary.as_json()["cpu_us_per_request"])


def test_what_is_no_live_file_is_not_read(tmp_path: Path) -> None:
    assert LiveSnapshot.read(tmp_path / "absent") is None
    (tmp_path / "short").write_bytes(b"x")
    assert LiveSnapshot.read(tmp_path / "short") is None
    with pytest.raises(LoadError, match="cannot create the live file"):
        LiveWriter(tmp_path / "no" / "where")
