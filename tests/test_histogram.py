"""The latency histogram: its error bound, its writer, its arithmetic, HdrHistogram's payload."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from harness.histogram import BUCKETS, MAX_US, SIZE_BYTES, Histogram, HistogramWriter


def _written(seconds: list[float]) -> Histogram:
    buffer = bytearray(SIZE_BYTES)
    writer = HistogramWriter(memoryview(buffer).cast("Q"))
    for value in seconds:
        writer.record(value)
    return Histogram.from_buffer(buffer)


def test_every_value_from_a_microsecond_to_ten_minutes_reads_back_within_half_a_percent() -> None:
    values = np.logspace(-6, math.log10(600), 5000)
    read = np.array([Histogram.of_seconds([value]).percentile(50) for value in values])
    # A value is recorded in whole microseconds, which is all there is to say below a few hundred of them.
    error = np.abs(read - values) - 1e-6
    assert (error / values).max() <= 0.004


def test_percentiles_agree_with_the_sorted_samples() -> None:
    samples = np.random.default_rng(1).lognormal(-5.5, 0.8, 50_000)
    histogram = Histogram.of_seconds(samples)
    for p in (1, 50, 90, 99, 99.9, 100):
        exact = np.sort(samples)[max(0, math.ceil(p / 100 * len(samples) - 1e-6) - 1)]
        assert histogram.percentile(p) == pytest.approx(exact, rel=0.005)
    assert histogram.mean() == pytest.approx(samples.mean(), rel=0.005)
    assert histogram.share_above(0.01) == pytest.approx((samples > 0.01).mean(), abs=0.002)


def test_the_writer_and_the_array_form_count_alike() -> None:
    values = [0.0, -1.0, 1e-6, 0.000255, 0.000256, 0.000257, 0.0034, 1.5, 599.0, 1e9]
    assert _written(values) == Histogram.of_seconds(values)


def test_values_outside_the_range_are_counted_at_its_ends() -> None:
    histogram = _written([-5.0, 1e9])
    assert histogram.count == 2
    assert histogram.counts[0] == 1
    assert histogram.counts[BUCKETS - 1] == 1
    assert histogram.percentile(100) == pytest.approx(MAX_US / 1e6, rel=0.005)


def test_nothing_recorded_is_no_number() -> None:
    empty = Histogram()
    assert math.isnan(empty.percentile(99))
    assert math.isnan(empty.mean())
    assert math.isnan(empty.share_above(1.0))


def test_nan_is_no_duration_and_101_no_percentile() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        Histogram.of_seconds([math.nan])
    with pytest.raises(ValueError, match="not a percentile"):
        Histogram().percentile(101)


def test_merging_equals_recording_together_and_subtracting_undoes_it() -> None:
    first, second = Histogram.of_seconds([0.001, 0.002]), Histogram.of_seconds([0.5])
    both = Histogram.merged([first, second])
    assert both == Histogram.of_seconds([0.001, 0.002, 0.5])
    assert first + second == both
    assert both - first == second
    assert Histogram.merged([]) == Histogram()


def test_percentiles_of_merged_histograms_are_not_averages() -> None:
    fast, slow = Histogram.of_seconds([0.001] * 990), Histogram.of_seconds([1.0] * 10)
    assert (fast + slow).percentile(99) == pytest.approx(0.001, rel=0.005)
    assert (fast + slow).percentile(99.5) == pytest.approx(1.0, rel=0.005)


def test_the_hdr_payload_comes_back_unchanged() -> None:
    histogram = Histogram.of_seconds(np.random.default_rng(2).lognormal(-5, 1.5, 20_000))
    assert Histogram.from_hdr(histogram.to_hdr()) == histogram
    assert Histogram.from_hdr(Histogram().to_hdr()) == Histogram()


def test_hdrhistogram_reads_ours_and_we_read_its() -> None:
    histogram = Histogram.of_seconds(np.random.default_rng(3).lognormal(-5, 1.0, 10_000))
    theirs = HdrHistogram.decode(histogram.to_hdr())
    assert theirs.get_total_count() == histogram.count
    assert theirs.get_value_at_percentile(99) / 1e6 == pytest.approx(histogram.percentile(99), rel=0.008)
    assert Histogram.from_hdr(theirs.encode().decode()) == histogram


@pytest.mark.parametrize("payload", ["", "????", "aGVsbG8=", Histogram.of_seconds([1.0]).to_hdr()[:-8]])
def test_what_is_no_payload_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Histogram.from_hdr(payload)


def test_a_writer_needs_memory_of_the_right_size() -> None:
    with pytest.raises(ValueError, match="counters of 8 bytes"):
        HistogramWriter(memoryview(bytearray(64)).cast("Q"))
