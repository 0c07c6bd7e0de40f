"""Every criterion, on synthetic days: what is healthy passes, what is broken fails by the criterion meant for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.judge.soak_verdict import SoakJudgement
from harness.model import Verdict
from harness.report.soak import SoakRecord, read_soak
from tests.soak.synthetic import Shape, write

# Five-minute intervals: the same day in a twentieth of the time.
DAY = Shape(interval_s=300.0)


def judged(tmp_path: Path, shape: Shape) -> tuple[SoakRecord, SoakJudgement]:
    record = read_soak(write(tmp_path, shape))
    return record, record.judge()


def failing(judgement: SoakJudgement) -> set[str]:
    return {r.name for r in judgement.results if r.verdict is Verdict.FAIL}


def test_a_clean_day_is_a_go(tmp_path: Path) -> None:
    _, judgement = judged(tmp_path, DAY)
    assert judgement.verdict is Verdict.PASS, judgement.reasons
    assert judgement.reasons == ()
    assert not judgement.aborts.met


@pytest.mark.parametrize(
    ("broken", "criterion", "latest_h"),
    [
        ({"leak_mb_per_h": 4.0}, "leak", 9.0),
        ({"drift_per_h": 0.12}, "p99_drift", 8.0),
        ({"error_rate": 0.003}, "error_rate", 1.1),
        ({"creeping_errors": 0.002}, "error_rate", 20.0),
        ({"consolidation_stops_at_h": 3.0}, "consolidation_freshness", 3.3),
        ({"breaker_at_h": (5.0, 9.0)}, "breaker_trips", 5.2),
        ({"fds_per_h": 20.0}, "open_files", 24.0),
        ({"lost": 1}, "acknowledged_memories", 24.0),
        ({"cpu_share": 1.5}, "cpu", 24.0),
        ({"crash_at_h": 7.0}, "no_crash", 7.1),
        ({"leak_mb_per_h": 4.0}, "memory_growth", 24.0),
        ({"leak_mb_per_h": 4.0}, "rss_settled", 24.0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_defect_is_caught_by_its_criterion(
    tmp_path: Path, broken: dict[str, float], criterion: str, latest_h: float
) -> None:
    _, judgement = judged(tmp_path, replace(DAY, **broken))  # type: ignore[arg-type]
    assert criterion in failing(judgement), judgement.reasons
    assert judgement.verdict is Verdict.FAIL
    result = judgement.result(criterion)
    assert result is not None
    assert result.decided_at_s / 3600 <= latest_h
    assert result.source


def test_what_nobody_tells_of_a_target_started_here_is_undecided_with_the_reason(tmp_path: Path) -> None:
    """Unlike what one that is only attached keeps to itself, which is unsupported."""
    lacking = dict.fromkeys(("rss_bytes", "cpu_s", "fds"), "the engine does not say")
    verdicts = {}
    for name, about in (("container", {"lacking": lacking}), ("attached", {})):
        folder = write(tmp_path / name, DAY)
        lines = [json.loads(line) | {"target": about} for line in (folder / "intervals.jsonl").read_text().splitlines()]
        (folder / "intervals.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        verdicts[name] = read_soak(folder).judge()
    for criterion in ("memory_growth", "leak", "rss_settled", "cpu", "open_files"):
        result, other = (verdicts[name].result(criterion) for name in ("container", "attached"))
        assert result is not None and other is not None
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "the engine does not say" in result.reason
        assert other.verdict is (Verdict.UNSUPPORTED if criterion == "open_files" else Verdict.INCONCLUSIVE)
    assert verdicts["container"].verdict is Verdict.INCONCLUSIVE


def test_a_gap_is_unobserved_and_nothing_else(tmp_path: Path) -> None:
    shape = replace(DAY, gaps_h=((9.0, 9.5),))
    record, judgement = judged(tmp_path, shape)
    assert [(g.start_s, g.end_s) for g in record.series.gaps] == [(9.0 * 3600, 9.5 * 3600)]
    assert record.series.observed_s == pytest.approx(24 * 3600)
    assert [r.ours for r in record.series.restarts] == [True]
    assert judgement.verdict is Verdict.PASS, judgement.reasons


def test_too_much_unobserved_decides_nothing(tmp_path: Path) -> None:
    _, judgement = judged(tmp_path, replace(DAY, gaps_h=((9.0, 12.0),)))
    result = judgement.result("observed")
    assert result is not None
    assert (result.verdict, judgement.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert "1 gap, 3 h unobserved" in result.reason


def test_a_target_that_lives_through_our_gap_is_no_restart(tmp_path: Path) -> None:
    record, _ = judged(tmp_path, replace(DAY, gaps_h=((9.0, 9.5),), restart_in_gap=False))
    assert record.series.restarts == []


def test_errors_under_a_fault_are_the_faults(tmp_path: Path) -> None:
    record, judgement = judged(tmp_path, replace(DAY, faults_h=((7.0, 7.25), (12.0, 12.25))))
    assert [text for _, _, text in record.series.faults] == ["20% of bindings corrupted"] * 2
    assert judgement.verdict is Verdict.PASS, judgement.reasons


def test_an_hour_with_errors_fails_though_the_day_is_good(tmp_path: Path) -> None:
    """0.1 % throughout: one bad hour of a day is 0.02 % of it."""
    folder = write(tmp_path, DAY)
    lines = (folder / "intervals.jsonl").read_text().splitlines(keepends=True)
    for n in range(120, 132):
        lines[n] = _spoiled(lines[n])
    (folder / "intervals.jsonl").write_text("".join(lines))
    judgement = read_soak(folder).judge()
    result = judgement.result("error_rate")
    assert result is not None
    assert result.verdict is Verdict.FAIL
    assert result.estimate.value < 0.001
    assert "of recall failed from 10 h to 11 h" in result.reason


def _spoiled(line: str) -> str:
    record = json.loads(line)
    good, bad = record["ops"]["recall"]
    record["ops"]["recall"] = [good - 400, bad + 400]
    return json.dumps(record) + "\n"


def test_an_unfinished_soak_is_no_pass(tmp_path: Path) -> None:
    folder = write(tmp_path, DAY)
    lines = (folder / "timeline.jsonl").read_text().splitlines(keepends=True)
    (folder / "timeline.jsonl").write_text("".join(lines[:-1]))
    kept = (folder / "intervals.jsonl").read_text().splitlines(keepends=True)[:100]
    (folder / "intervals.jsonl").write_text("".join(kept))
    judgement = read_soak(folder).judge()
    assert judgement.verdict is Verdict.ABORTED
    assert any("--resume" in reason for reason in judgement.reasons)


def test_an_empty_soak_decides_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path, DAY)
    for name in ("intervals.jsonl", "read_back.jsonl", "timeline.jsonl"):
        (folder / name).write_text("")
    judgement = read_soak(folder).judge()
    assert judgement.verdict is Verdict.ABORTED
    assert not [r for r in judgement.results if r.verdict is Verdict.PASS]


def test_a_running_soak_holds_but_has_not_passed(tmp_path: Path) -> None:
    record, _ = judged(tmp_path, DAY)
    running = record.judge(running=True)
    assert running.standing == "within every bound so far"
    open_ones = {r.name for r in running.results if r.verdict is Verdict.INCONCLUSIVE}
    assert {"completed", "error_rate", "no_crash", "acknowledged_memories", "p99_drift"} <= open_ones
    leak = running.result("leak")
    assert leak is not None
    assert leak.verdict is Verdict.PASS  # an interval that has tightened enough is decided early


def test_the_runbooks_pairwise_form_is_kept(tmp_path: Path) -> None:
    record, _ = judged(tmp_path, DAY)
    criteria = tuple(
        replace(c, options={**c.options, "method": "runbook"}) if c.name == "p99_drift" else c
        for c in record.scenario.criteria
    )
    record.scenario = replace(record.scenario, criteria=criteria)
    result = record.judge().result("p99_drift")
    assert result is not None
    assert "from one hour to the next" in result.reason


def test_scaled_figures_say_so(tmp_path: Path) -> None:
    _, judgement = judged(tmp_path, replace(DAY, time_scale=480.0, rate=60000.0, leak_mb_per_h=4.0))
    leak, freshness = judgement.result("leak"), judgement.result("consolidation_freshness")
    assert leak is not None
    assert freshness is not None
    assert leak.unit == "MB/scaled h"
    assert freshness.unit == "scaled s"
    assert leak.estimate.value == pytest.approx(4.0, abs=0.5)
