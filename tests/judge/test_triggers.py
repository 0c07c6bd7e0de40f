"""Triggers: met when a breach has provably lasted, never by one that was shorter; what is not seen is neither."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from harness.judge.triggers import Met, Reading, TriggerJudge
from harness.scenario.watch import Trigger

P99 = Trigger("p99", "automated", "recall_p99_ms", 20.0, 900.0, "here")
ERRORS = Trigger("errors", "automated", "error_rate", 0.01, 600.0, "here")
MEMORY = Trigger("memory", "automated", "memory_share", 0.9, 0.0, "here")
SLOW = "slower_than_20ms"
STEP = 30.0


def readings(
    spans: list[tuple[float, float]],
    until: float,
    *,
    spans_known: bool = True,
    per_s: float = 4.0,
    unseen: range = range(0),
) -> Iterator[Reading]:
    """One reading every 30 s; within ``spans`` every recall is slow and fails. ``unseen``: readings without data."""
    count = int(until / STEP)
    for number in range(count):
        start = number * STEP
        at = start + np.arange(int(STEP * per_s)) / per_s
        bad = np.zeros(len(at), dtype=bool)
        for low, high in spans:
            bad |= (at >= low) & (at < high)
        hits = int(bad.sum())
        seen = number not in unseen
        known = {SLOW: (float(at[bad][0]), float(at[bad][-1]))} if hits and spans_known else {}
        shares = {SLOW: (hits, len(at)), "error_rate": (hits, len(at))} if seen else {}
        yield Reading(
            "witness", start, start + STEP, shares, {**known, **({"error_rate": known[SLOW]} if known else {})}
        )


def first_met(judge: TriggerJudge, seen: Iterator[Reading]) -> Met | None:
    return next((met for reading in seen for met in judge.look(reading)), None)


@pytest.mark.parametrize("start", [100.0, 111.0, 119.9])
@pytest.mark.parametrize("trigger", [P99, ERRORS])
def test_met_within_one_look_after_the_window_has_passed(trigger: Trigger, start: float) -> None:
    met = first_met(TriggerJudge([trigger]), readings([(start, 9e9)], 3000.0))
    assert met is not None
    assert start + trigger.for_s <= met.at <= start + trigger.for_s + STEP + 0.5
    assert met.lasted_s >= trigger.for_s
    assert trigger.source == "here"
    assert "witness" in met.evidence


@pytest.mark.parametrize("start", np.linspace(100.0, 130.0, 13))
@pytest.mark.parametrize("known", [True, False])
def test_never_met_by_a_breach_shorter_than_its_window(start: float, known: bool) -> None:
    for trigger in (P99, ERRORS):
        shorter = readings([(start, start + trigger.for_s - 1.0)], 3000.0, spans_known=known)
        assert first_met(TriggerJudge([trigger]), shorter) is None


def test_a_witness_without_instants_is_late_by_two_looks_at_most() -> None:
    met = first_met(TriggerJudge([P99]), readings([(100.0, 9e9)], 3000.0, spans_known=False))
    assert met is not None
    assert 1000.0 <= met.at <= 1000.0 + 3 * STEP


def test_one_clear_look_begins_the_count_again() -> None:
    broken = [(100.0, 600.0), (660.0, 9e9)]
    met = first_met(TriggerJudge([P99]), readings(broken, 3000.0))
    assert met is not None
    assert met.at >= 660.0 + 900.0


def test_what_was_not_seen_is_no_health_and_no_breach() -> None:
    judge = TriggerJudge([P99])
    # A tenth of the breach unseen: still met in time. More than a fifth: only once enough was seen.
    met = first_met(TriggerJudge([P99]), readings([(100.0, 9e9)], 3000.0, unseen=range(10, 13)))
    assert met is not None and met.at <= 1031.0
    met = first_met(judge, readings([(100.0, 9e9)], 4000.0, unseen=range(10, 20)))
    assert met is not None and met.at > 1100.0
    assert first_met(TriggerJudge([P99]), readings([(100.0, 9e9)], 3000.0, unseen=range(4, 100))) is None


def test_few_slow_recalls_prove_nothing_and_a_sure_share_does() -> None:
    judge = TriggerJudge([P99])
    for number in range(200):
        assert judge.look(Reading("w", number * STEP, (number + 1) * STEP, {SLOW: (2, 120)})) == []
    met = [
        m for n in range(40) for m in judge.look(Reading("w", 1e4 + n * STEP, 1e4 + (n + 1) * STEP, {SLOW: (5, 120)}))
    ]
    assert met


def test_levels_are_met_at_once_and_unknown_ones_never() -> None:
    judge = TriggerJudge([MEMORY])
    assert judge.look(Reading("w", 0.0, 30.0, levels={"memory_share": math.nan})) == []
    assert judge.look(Reading("w", 0.0, 30.0, levels={"memory_share": 0.9})) == []
    assert judge.look(Reading("w", 0.0, 30.0, levels={})) == []
    met = judge.look(Reading("w", 30.0, 60.0, levels={"memory_share": 0.91}))
    assert len(met) == 1 and "0.91" in met[0].evidence


def test_two_witnesses_are_counted_apart() -> None:
    judge = TriggerJudge([P99])
    for number in range(60):
        bad = Reading("a", number * STEP, (number + 1) * STEP, {SLOW: (60, 120)})
        good = Reading("b", number * STEP, (number + 1) * STEP, {SLOW: (0, 120)})
        met = judge.look(bad) + judge.look(good)
        if met:
            assert {m.witness for m in met} == {"a"}
            return
    raise AssertionError("the healthy witness ended the other's breach")


def test_a_watch_that_is_started_again_goes_on_counting() -> None:
    whole = list(readings([(100.0, 9e9)], 3000.0))
    first, second = TriggerJudge([P99]), TriggerJudge([P99])
    for reading in whole[:20]:
        assert first.look(reading) == []
    second.resume(first.as_json())
    met = first_met(second, iter(whole[20:]))
    assert met is not None and met.at <= 1031.0
    second.forget()
    assert second.as_json() == []
