"""Checks: answered by the whole interval, and never with PASS without data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from harness.judge.checks import Bound, Check, answer, check_from_json, compare, describe
from harness.judge.quantities import QUANTITIES
from harness.judge.summary import CaseSummary
from harness.model import NO_INTERVAL, Estimate, Interval, Outcome, Verdict
from tests.cases import FAULTS, build, check

P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(
    ("low", "high", "op", "bound", "verdict"),
    [
        (1, 2, "<=", 2, P), (1, 2, "<=", 1.5, I), (1, 2, "<=", 1, I), (1, 2, "<=", 0.9, F),
        (1, 2, "<", 2.1, P), (1, 2, "<", 2, I), (1, 2, "<", 1, F),
        (1, 2, ">=", 1, P), (1, 2, ">=", 1.5, I), (1, 2, ">=", 2.1, F),
        (1, 2, ">", 0.9, P), (1, 2, ">", 1, I), (1, 2, ">", 2, F),
        (0, 0, "==", 0, P), (0, 1, "==", 0, I), (1, 2, "==", 0, F),
        (5, math.inf, "<=", 300, I), (301, math.inf, "<=", 300, F), (0, math.inf, ">=", 0, P),
    ],
)  # fmt: skip
def test_the_whole_interval_answers(low: float, high: float, op: str, bound: float, verdict: Verdict) -> None:
    assert compare(Interval(low, high), op, bound) is verdict


@pytest.mark.parametrize("op", ["<=", "<", ">=", ">", "=="])
def test_nan_never_passes_and_never_fails(op: str) -> None:
    for interval in (NO_INTERVAL, Interval(math.nan, 1.0), Interval(0.0, math.nan)):
        assert compare(interval, op, 1.0) is I
    assert compare(Interval(0.0, 0.0), op, math.nan) is I


def _answer(summary: CaseSummary, value: dict[str, Any]) -> tuple[Verdict, str]:
    result = answer(summary, check_from_json(value))
    return result.verdict, result.reason


def test_no_data_is_inconclusive_whatever_is_asked() -> None:
    empty = CaseSummary(build(missing_events=("fault_in_force",), missing_streams=("service", "bindings")).record)
    for name in QUANTITIES:
        for op in ("<=", ">="):
            verdict, reason = _answer(empty, check("during", name, op, 0.5))
            assert verdict is I, name
            assert reason.startswith(f"during.{name}: no data"), reason


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_every_quantity_can_be_asked_of_every_healthy_case(kind: str) -> None:
    summary = CaseSummary(build(kind=kind).record)
    for name in QUANTITIES:
        for window in ("baseline", "during", "after", "whole", "no such window"):
            result = answer(summary, check_from_json(check(window, name, "<=", 1.0)))
            assert result.estimate.known or result.verdict is I


def test_a_straddling_check_says_what_would_decide() -> None:
    summary = CaseSummary(build(during_s=2.0).record)
    verdict, reason = _answer(summary, check("during", "error_rate", "<=", "error_rate"))
    assert verdict is I
    assert "straddles" in reason
    assert "2,995 samples would decide" in reason
    verdict, reason = _answer(summary, check("during", "latency_ms", "<=", "recall_p99_ms", p=99.9))
    assert verdict is I
    assert "samples are needed" in reason


def test_a_failed_check_names_value_interval_bound_and_source() -> None:
    summary = CaseSummary(build(slow_ms=30.0).record)
    verdict, reason = _answer(summary, check("during", "latency_ms", "<=", "recall_p99_ms", p=99.0))
    assert verdict is F
    for part in ("during.latency_ms(p=99)", "[", "samples", "<= 15", "recall_p99_ms", "scenarios/slo.toml"):
        assert part in reason


def test_a_late_generator_is_no_proof_of_a_slow_target() -> None:
    summary = CaseSummary(build(lag_ms=30.0).record)
    verdict, reason = _answer(summary, check("during", "latency_ms", "<=", 1.0))
    assert verdict is I
    assert "the generator was late" in reason
    assert _answer(summary, check("during", "latency_ms", "<=", 10_000.0))[0] is P
    assert _answer(summary, check("during", "error_rate", "<=", "error_rate"))[0] is P


def test_a_busy_machine_is_no_proof_of_a_slow_target() -> None:
    summary = CaseSummary(build(host_late_ms=200.0, slow_ms=30.0).record)
    verdict, reason = _answer(summary, check("during", "latency_ms", "<=", "recall_p99_ms"))
    assert verdict is I
    assert "the machine was busy" in reason


@pytest.mark.parametrize(
    ("outcome", "late_ms", "expected"), [("TIMEOUT", 200.0, I), ("TIMEOUT", 0.2, F), ("HTTP_5XX", 200.0, F)]
)
def test_only_timeouts_can_be_a_busy_machines_doing(outcome: str, late_ms: float, expected: Verdict) -> None:
    record = build(host_late_ms=late_ms).record
    samples = record.samples.copy()
    samples["outcome"][::20] = int(Outcome[outcome])
    summary = CaseSummary(replace(record, samples=samples))
    verdict, reason = _answer(summary, check("during", "error_rate", "<=", "error_rate"))
    assert verdict is expected
    assert ("the machine was busy" in reason) == (expected is I)


def test_a_bound_met_on_a_busy_machine_is_met() -> None:
    summary = CaseSummary(build(host_late_ms=200.0).record)
    assert _answer(summary, check("during", "latency_ms", "<=", 10_000.0))[0] is P


@pytest.mark.parametrize(("name", "op"), [("no_such_quantity", "<="), ("error_rate", "~=")])
def test_a_check_of_another_version_is_unknown_and_no_crash(name: str, op: str) -> None:
    verdict, reason = _answer(CaseSummary(build().record), check("during", name, op, 1.0))
    assert verdict is I
    assert "this version knows" in reason


def test_a_check_survives_the_record() -> None:
    made = Check("during", "latency_ms", {"p": 99.0, "cohort": "canary"}, "<=", 15.0, "recall_p99_ms", "slo.toml:5")
    assert check_from_json(made.as_json()) == made
    assert made.label == "during.latency_ms(p=99, cohort=canary)"
    lost = check_from_json(Check("case", "recovery_time_s", {}, "<=", math.nan, "", "").as_json())
    assert math.isnan(lost.bound)


def test_a_bound_is_a_number_that_knows_its_source() -> None:
    bound = Bound(15.0, "recall_p99_ms", "slo.toml")
    assert bound == 15.0
    assert (bound.name, bound.source) == ("recall_p99_ms", "slo.toml")


def test_an_unknown_estimate_says_so() -> None:
    assert describe(Estimate(math.nan, NO_INTERVAL, "ms", 0, None, "nothing there")) == "unknown (nothing there)"
