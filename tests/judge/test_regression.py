"""Before and after: what fails, what passes, and what the runs cannot tell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.commands.compare import table_lines
from harness.errors import EXIT_COMPETITIVE, EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from harness.histogram import Histogram
from harness.judge.regression import Limits, Row, RunFigures, compare_runs
from harness.model import Verdict

LIMITS = Limits()
RUN = RunFigures("a run", 4.2, 8.1, 12.3, 1000.0, 0, 0.0, operations=60_000, duration_s=60.0, open_loop=True)


def row(found: list[Row], metric: str) -> Row:
    return next(r for r in found if r.metric.startswith(metric))


def pairs(ratio: float, count: int, spread: float, seed: int = 5) -> tuple[list[RunFigures], list[RunFigures]]:
    rng = np.random.default_rng(seed)
    noise = np.exp(rng.normal(0, spread, (count, 2)))
    before = [replace(RUN, p99_ms=12.3 * noise[i, 0]) for i in range(count)]
    return before, [replace(RUN, p99_ms=12.3 * ratio * noise[i, 1]) for i in range(count)]


def test_one_run_of_each_cannot_tell_that_nothing_changed() -> None:
    found = compare_runs([RUN], [RUN], LIMITS)
    assert row(found.rows, "P99").verdict is Verdict.INCONCLUSIVE
    assert "--pairs" in row(found.rows, "P99").note
    assert row(found.rows, "Throughput").verdict is Verdict.PASS
    assert found.exit_code == EXIT_UNDECIDED


def test_a_large_regression_shows_in_one_run() -> None:
    found = compare_runs([RUN], [replace(RUN, p99_ms=14.2)], LIMITS)
    p99 = row(found.rows, "P99")
    assert p99.verdict is Verdict.FAIL
    assert p99.change.value == pytest.approx(0.154, abs=0.001)
    assert found.exit_code == EXIT_FAILED


def test_pairs_tell_what_one_run_cannot() -> None:
    assert compare_runs(*pairs(1.0, 12, 0.02), LIMITS).exit_code == EXIT_OK
    assert compare_runs(*pairs(1.12, 12, 0.02), LIMITS).exit_code == EXIT_FAILED


def test_few_noisy_pairs_are_undecided_and_say_how_many_would_do() -> None:
    found = compare_runs(*pairs(1.0, 3, 0.06), LIMITS)
    assert row(found.rows, "P99").verdict is Verdict.INCONCLUSIVE
    assert "interleaved pairs" in row(found.rows, "P99").note
    assert found.exit_code == EXIT_UNDECIDED


def test_false_alarms_and_misses_of_pairs_are_as_promised() -> None:
    """A true +5 % lies on the limit: 5 % of the time it fails, 5 % of the time it passes."""
    verdicts = [row(compare_runs(*pairs(1.05, 8, 0.03, seed), LIMITS).rows, "P99").verdict for seed in range(300)]
    for verdict in (Verdict.FAIL, Verdict.PASS):
        assert 0.01 <= np.mean([v is verdict for v in verdicts]) <= 0.10


def test_the_interval_of_pairs_is_students() -> None:
    before, after = pairs(1.02, 6, 0.02)
    ratios = np.log([b.p99_ms / a.p99_ms for a, b in zip(before, after, strict=True)])
    half = stats.t.ppf(0.95, 5) * stats.sem(ratios)
    change = row(compare_runs(before, after, LIMITS).rows, "P99").change
    assert change.interval.low == pytest.approx(math.expm1(ratios.mean() - half))
    assert change.interval.high == pytest.approx(math.expm1(ratios.mean() + half))


def test_small_latencies_have_an_absolute_floor() -> None:
    before, after = pairs(1.0, 10, 0.01)
    small = [[replace(r, p99_ms=r.p99_ms / 10 * extra) for r in runs] for runs, extra in ((before, 1), (after, 1.2))]
    p99 = row(compare_runs(small[0], small[1], LIMITS).rows, "P99")
    assert p99.verdict is Verdict.PASS
    assert "floor" in p99.limit


def test_throughput_down_fails() -> None:
    found = compare_runs([RUN], [replace(RUN, ops_per_s=900.0)], LIMITS)
    assert row(found.rows, "Throughput").verdict is Verdict.FAIL


def test_error_rate_by_counts() -> None:
    worse = compare_runs([RUN], [replace(RUN, errors=600, error_rate=0.01)], LIMITS)
    assert row(worse.rows, "Error rate").verdict is Verdict.FAIL
    few = compare_runs([replace(RUN, operations=100)], [replace(RUN, operations=100)], LIMITS)
    assert row(few.rows, "Error rate").verdict is Verdict.INCONCLUSIVE
    unknown = compare_runs([replace(RUN, operations=math.nan)], [RUN], LIMITS)
    assert row(unknown.rows, "Error rate").verdict is Verdict.INCONCLUSIVE


def test_competitive() -> None:
    close = compare_runs([RUN], [RUN], LIMITS, competitive=True)
    assert close.competitive is not None and close.competitive.verdict is Verdict.PASS
    slow = replace(RUN, p99_ms=40.0)
    limits = replace(LIMITS, run_variation=0.001)
    found = compare_runs([slow], [slow], limits, competitive=True)
    assert found.exit_code == EXIT_COMPETITIVE
    assert found.competitive is not None and found.competitive.before == 27.96
    undecided = compare_runs([slow], [replace(slow, p99_ms=27.96 * 1.1)], limits, competitive=True)
    assert undecided.competitive is not None and undecided.competitive.verdict is Verdict.INCONCLUSIVE


def test_a_doubtful_run_is_not_fast() -> None:
    found = compare_runs([RUN], [replace(RUN, p99_ms=6.0, doubt="the generator was late")], LIMITS, competitive=True)
    assert found.exit_code == EXIT_UNDECIDED
    assert "generator was late" in row(found.rows, "P99").note


def test_what_a_late_generator_cannot_explain_fails_all_the_same() -> None:
    late = replace(RUN, p99_ms=40.0, doubt="the generator was late", lag_ms=5.0)
    assert compare_runs([RUN], [late], LIMITS).exit_code == EXIT_FAILED
    assert compare_runs([RUN], [replace(late, lag_ms=30.0)], LIMITS).exit_code == EXIT_UNDECIDED


def test_missing_figures_never_pass() -> None:
    found = compare_runs([replace(RUN, ops_per_s=math.nan)], [RUN], LIMITS)
    assert row(found.rows, "Throughput").verdict is Verdict.INCONCLUSIVE


def test_the_runbooks_method_compares_as_it_stands() -> None:
    assert compare_runs([RUN], [replace(RUN, p99_ms=12.9)], LIMITS, method="runbook").exit_code == EXIT_OK
    assert compare_runs([RUN], [replace(RUN, p99_ms=13.0)], LIMITS, method="runbook").exit_code == EXIT_FAILED


def test_sampling_error_widens_the_interval() -> None:
    rng = np.random.default_rng(3)
    seconds = rng.lognormal(-5, 0.5, 2000)
    known = replace(RUN, latency=Histogram.of_seconds(seconds))
    narrow, wide = (compare_runs([r], [r], LIMITS).rows[2].change.interval.width for r in (RUN, known))
    assert wide > narrow * 1.2


def test_input_is_checked() -> None:
    with pytest.raises(ValueError, match="pairs"):
        compare_runs([RUN], [], LIMITS)
    with pytest.raises(ValueError, match="method"):
        compare_runs([RUN], [RUN], LIMITS, method="welch")


def memory(source: str, mb: float = 100.0) -> RunFigures:
    return replace(RUN, memory_mb=mb, memory_source=source)


@pytest.mark.parametrize("sources", [("process", "process"), ("", ""), ("", "engine"), ("process", "")])
def test_memory_of_the_same_witness_is_shown_and_not_judged(sources: tuple[str, str]) -> None:
    found = compare_runs([memory(sources[0])], [memory(sources[1], 130.0)], LIMITS, method="runbook")
    shown = row(found.rows, "Memory")
    assert (shown.verdict, shown.note) == (None, "")
    assert shown.change.value == pytest.approx(0.3)
    assert found.exit_code == EXIT_OK


@pytest.mark.parametrize(
    ("before", "after"),
    [(["process"], ["engine"]), (["engine"], ["service"]), (["process", "engine"], ["process", "process"])],
)
def test_memory_by_two_witnesses_is_undecided(before: list[str], after: list[str]) -> None:
    sides = [[memory(source) for source in side] for side in (before, after)]
    found = compare_runs(*sides, LIMITS, method="runbook")
    shown = row(found.rows, "Memory")
    assert shown.verdict is Verdict.INCONCLUSIVE
    assert math.isnan(shown.change.value)
    assert "not the same figure: before by " in shown.note
    assert "engine (the anonymous memory of all its container's processes)" in shown.note
    assert found.exit_code == EXIT_UNDECIDED
    text = "\n".join(table_lines(found))
    assert "(limit )" not in text
    assert f"Memory (MB): {shown.note}" in text
