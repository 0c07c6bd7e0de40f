"""Broken evidence is never a PASS, whatever function it is given to: 1,500 generated cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from harness.judge import runbook
from harness.judge.arms import Arm
from harness.judge.compare import (
    compare_error_rate,
    compare_mean,
    compare_quantile,
    compare_share,
    compare_throughput,
)
from harness.judge.comparison import Comparison
from harness.judge.error_evidence import ErrorEProcess
from harness.judge.quality import compare_confidence, compare_overlap, compare_robustness
from harness.judge.sample_ratio import sample_ratio_check
from harness.judge.sequential import SequentialMean, SequentialQuantile
from harness.model import Verdict

CASES = 30
Break = Callable[[Arm, np.random.Generator], Arm]


def _arm(name: str, rng: np.random.Generator, *, share: float | None = None) -> Arm:
    n = int(rng.integers(400, 1500))
    users = rng.integers(0, int(rng.integers(40, 300)), n)
    values = 10 * np.exp(0.05 * rng.standard_normal(n)) if share is None else (rng.random(n) < share).astype(float)
    return Arm(name, users, values, np.sort(rng.uniform(0, 600, n)))


def _with(one: Arm, **parts: object) -> Arm:
    return Arm(**{**one.__dict__, **parts})  # type: ignore[arg-type]


def nan(one: Arm, rng: np.random.Generator) -> Arm:
    values = one.values.copy()
    values[rng.random(len(values)) < rng.uniform(0.0005, 1)] = math.nan
    values[0] = math.nan
    return _with(one, values=values)


def infinite(one: Arm, rng: np.random.Generator) -> Arm:
    values = one.values.copy()
    values[int(rng.integers(len(values)))] = rng.choice([math.inf, -math.inf])
    return _with(one, values=values)


def gap(one: Arm, rng: np.random.Generator) -> Arm:
    assert one.at is not None
    start = rng.uniform(0.05, 0.5) * 600
    return one.where((one.at < start) | (one.at > start + rng.uniform(0.25, 0.45) * 600))


def ended_early(one: Arm, rng: np.random.Generator) -> Arm:
    assert one.at is not None
    return one.where(one.at < rng.uniform(0.1, 0.7) * 600)


def began_late(one: Arm, rng: np.random.Generator) -> Arm:
    assert one.at is not None
    return one.where(one.at > rng.uniform(0.3, 0.9) * 600)


def nothing(one: Arm, rng: np.random.Generator) -> Arm:
    return one.where(np.zeros(one.count, dtype=bool))


def one_request(one: Arm, rng: np.random.Generator) -> Arm:
    keep = np.zeros(one.count, dtype=bool)
    keep[int(rng.integers(one.count))] = True
    return one.where(keep)


def one_user(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, users=np.full(one.count, 7))


def two_users(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, users=(np.arange(one.count) > one.count // 2).astype(np.int64))


def reversed_time(one: Arm, rng: np.random.Generator) -> Arm:
    assert one.at is not None
    return _with(one, at=one.at[::-1].copy())


def one_instant(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, at=np.full(one.count, 3.0))


def no_instants(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, at=np.full(one.count, math.nan))


def untimed(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, at=None)


def negative(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, values=-one.values - 0.1)


def torn(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, users=one.users[: one.count // 2])


BREAKS: tuple[Break, ...] = (
    nan, infinite, gap, ended_early, began_late, nothing, one_request, one_user, two_users, reversed_time, one_instant,
    no_instants, untimed, negative, torn,
)  # fmt: skip


def constant(one: Arm, rng: np.random.Generator) -> Arm:
    return _with(one, values=np.full(one.count, 10.0))


def _judgements(control: Arm, canary: Arm) -> list[Comparison]:
    return [
        compare_quantile(control, canary, 0.9),
        compare_quantile(control, canary, 0.9, 0.05, 50.0),
        compare_mean(control, canary),
        SequentialQuantile(q=0.9).look(control, canary),
        SequentialMean().look(control, canary),
    ]


def test_the_same_evidence_unbroken_passes() -> None:
    """Else nothing below would show anything."""
    rng = np.random.default_rng(1)
    control, canary = _arm("control", rng), _arm("canary", rng)
    found = _judgements(control, canary)
    assert [c.verdict for c in found] == [Verdict.PASS] * len(found)
    errors = _arm("control", rng, share=0.01), _arm("canary", rng, share=0.01)
    assert compare_error_rate(*errors, 0.05).verdict is Verdict.PASS
    assert compare_share("late", errors[0], "<", 0.2).verdict is Verdict.PASS


@pytest.mark.parametrize("broken", [*BREAKS, constant], ids=lambda b: b.__name__)
def test_broken_latencies_never_pass(broken: Break) -> None:
    rng = np.random.default_rng(2)
    for case in range(CASES):
        control, canary = _arm("control", rng), _arm("canary", rng)
        one_only = broken in (ended_early, began_late)  # both alike is a shorter test, which its plan's length forbids
        if case % 3 != 1:
            canary = broken(canary, rng)
        if case % 3 == 1 or (case % 3 == 2 and not one_only):
            control = broken(control, rng)
        if broken is untimed and case % 3 == 2:
            continue  # neither says when: two runs that were not concurrent, which is no fault
        for found in _judgements(control, canary):
            assert found.verdict is not Verdict.PASS, (broken.__name__, case, found.as_json())
            assert found.note


@pytest.mark.parametrize("broken", BREAKS, ids=lambda b: b.__name__)
def test_broken_errors_never_pass(broken: Break) -> None:
    rng = np.random.default_rng(3)
    for case in range(CASES):
        control, canary = (_arm(name, rng, share=0.01) for name in ("control", "canary"))
        canary = broken(canary, rng)
        if broken not in (untimed, ended_early, began_late):  # one arm alone cannot know when the other began
            assert compare_share("late", canary, "<", 0.2).verdict is not Verdict.PASS, broken.__name__
        assert compare_error_rate(control, canary, 0.05).verdict is not Verdict.PASS, (broken.__name__, case)


def test_broken_series_never_pass() -> None:
    rng = np.random.default_rng(4)
    bad = (math.nan, math.inf, -1.0, 0.0)
    for case in range(120):
        rates = rng.uniform(99, 101, 8)
        rates[case % 8] = bad[case % 4]
        assert compare_throughput(rates, rng.uniform(99, 101, 8)).verdict is not Verdict.PASS
        assert compare_throughput(rng.uniform(99, 101, 8), rates).verdict is not Verdict.PASS
        shares = rng.uniform(0.9, 1.0, 50)
        shares[case % 50] = (math.nan, math.inf, -0.2, 1.2)[case % 4]
        assert compare_overlap(shares).verdict is not Verdict.PASS
        assert compare_confidence(rng.uniform(0.9, 1.0, 50), shares).verdict is not Verdict.PASS
        assert compare_confidence(shares, rng.uniform(0.9, 1.0, 50)).verdict is not Verdict.PASS
        counts = rng.poisson(9, 50).astype(float)
        counts[case % 50] = (math.nan, math.inf, -3.0)[case % 3]
        assert compare_robustness(rng.poisson(4, 50), counts).verdict is not Verdict.PASS
    for few in ([], [100.0], [100.0, 100.0]):
        assert compare_throughput(few, few).verdict is not Verdict.PASS
        assert compare_overlap(few and [1.0] * len(few)).verdict is not Verdict.PASS
        assert compare_robustness(few, few).verdict is not Verdict.PASS
        assert compare_confidence([v / 100 for v in few], [v / 100 for v in few]).verdict is not Verdict.PASS
    assert compare_throughput([100.0] * 9, [100.0] * 9).verdict is not Verdict.PASS
    assert compare_throughput([99.0, 101.0], [99.0]).verdict is not Verdict.PASS
    assert compare_robustness(np.zeros(50), np.full(50, 5.0)).verdict is not Verdict.PASS
    assert compare_confidence(np.zeros(50), np.full(50, 0.5)).verdict is not Verdict.PASS
    assert compare_confidence(np.full(50, 0.5), np.full(49, 0.5)).verdict is not Verdict.PASS


def test_broken_counts_never_pass() -> None:
    rng = np.random.default_rng(5)
    for case in range(40):
        process = ErrorEProcess()
        spoiled = int(rng.integers(30))
        for look in range(30):  # so many fair looks would pass
            share = (math.nan, 0.0, 1.0, -0.5, math.inf)[case % 5] if look == spoiled and case % 2 else 0.05
            canary = (-1 if case % 4 == 0 else -7) if look == spoiled and not case % 2 else 10
            found = process.update(canary, 190, share)
        assert found.verdict is not Verdict.PASS
        assert process.p_value == 1.0
    assert ErrorEProcess().answer().verdict is not Verdict.PASS
    for canary, control, rate in ((-1, 10, 0.1), (0, 0, 0.5), (5, 5, math.nan), (5, 5, 2.0), (1, 0, 0.5)):
        assert sample_ratio_check(canary, control, rate).verdict is not Verdict.PASS


def test_a_record_that_runs_backwards_between_looks_holds() -> None:
    rng = np.random.default_rng(6)
    control, canary = _arm("control", rng), _arm("canary", rng)
    watched = SequentialQuantile(q=0.9)
    assert watched.look(control, canary).verdict is Verdict.PASS
    assert control.at is not None
    assert canary.at is not None
    earlier = watched.look(control.where(control.at < 500), canary.where(canary.at < 500))
    assert earlier.verdict is Verdict.INCONCLUSIVE
    assert "backwards" in earlier.note


def test_the_runbooks_methods_do_not_pass_what_cannot_be_tested() -> None:
    rng = np.random.default_rng(7)
    for broken in (nan, infinite, nothing, one_request, constant):
        control, canary = _arm("control", rng), broken(_arm("canary", rng), rng)
        if broken is constant:
            control = constant(control, rng)
        assert runbook.compare_means(control, canary).verdict is not Verdict.PASS, broken.__name__
    assert runbook.compare_figures("x", math.nan, 1.0, 0.05, "<", "ratio").verdict is not Verdict.PASS
    assert runbook.compare_figures("x", 0.0, 1.0, 0.05, "<", "ratio").verdict is not Verdict.PASS
