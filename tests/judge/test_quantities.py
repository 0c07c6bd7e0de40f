"""Quantities: what they measure is what was put into the case."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.judge.effects import evidence
from harness.judge.quantities import measure
from harness.judge.summary import CaseSummary
from harness.judge.view import CaseView
from harness.model import Cohort, Cue, Estimate, Op, Outcome
from harness.timeline.answers import ANSWER, NONE, TRUTH
from tests.cases import build


def of(view: CaseView, name: str, window: str = "during", **arguments: object) -> Estimate:
    return measure(view, window, name, arguments)


def test_errors_and_latency_are_those_of_the_window() -> None:
    view = CaseView(build(error_share=0.05, slow_ms=20.0).record)
    assert of(view, "error_rate").interval.contains(0.05)
    assert of(view, "error_rate", "baseline").value == 0.0
    assert of(view, "latency_ms", p=50.0).value == pytest.approx(22.5, abs=1.5)
    assert of(view, "latency_ms", "baseline", p=50.0).value == pytest.approx(2.1, abs=0.2)


def test_an_outage_of_a_second_is_counted_and_scattered_errors_are_none() -> None:
    record = build(error_share=0.2).record
    scattered = CaseView(record)
    assert of(scattered, "failed_moments").value == 0
    assert of(scattered, "failed_moments").samples > 10
    start = math.floor(scattered.windows["during"].start) + 2.0
    samples = record.samples.copy()
    samples["outcome"][(samples["intended"] >= start) & (samples["intended"] < start + 1.0)] = int(Outcome.HTTP_5XX)
    view = CaseView(replace(record, samples=samples))
    assert of(view, "failed_moments").value == 4
    assert of(view, "failed_moments").interval.width == 0
    assert of(view, "failed_moments", "baseline").value == 0


def test_errors_of_a_cohort_are_told_by_their_user() -> None:
    view = CaseView(build(error_share=0.05, cohort_rate=0.25).record)
    canary, control = of(view, "error_rate", cohort="canary"), of(view, "error_rate", cohort="control")
    assert canary.samples + control.samples == of(view, "error_rate").samples
    assert canary.interval.contains(0.05)
    assert control.interval.contains(0.05)


def test_the_services_counters_are_held_against_the_client() -> None:
    for factor in (1.0, 0.5, 0.0):
        view = CaseView(build(counter_factor=factor).record)
        for name in ("semantic_timeouts_counted_ratio", "recalls_counted_ratio"):
            found = of(view, name)
            assert found.interval.low - 1e-9 <= factor <= found.interval.high + 1e-9, (name, found)
            assert found.interval.width < 0.05


def test_violations_counted_follow_the_answers() -> None:
    view = CaseView(build(kind="binding_corruption", counter_factor=0.5).record)
    assert of(view, "binding_violations_counted_ratio").interval.contains(0.5)


def test_consolidation_is_read_twice_and_agrees() -> None:
    view = CaseView(build(kind="consolidation_failure", during_s=40.0).record)
    failed, missed = of(view, "consolidation_failure_ratio"), of(view, "missed_success_ratio")
    assert failed.interval.contains(0.5)
    assert missed.value == pytest.approx(failed.value, abs=0.03)
    assert of(view, "consolidation_failures_counted_ratio").interval.contains(1.0)
    hidden = CaseView(build(kind="consolidation_failure", counter_factor=0.0, during_s=40.0).record)
    assert of(hidden, "consolidation_failures_counted_ratio").value == 0.0


def test_a_healthy_service_misses_no_success() -> None:
    for seed in range(5):
        view = CaseView(build(kind="no_fault", seed=seed).record)
        assert of(view, "missed_success_ratio").value == 0.0
        assert of(view, "consolidation_success_ratio").value == 1.0


def test_the_binding_state_is_the_admin_apis() -> None:
    view = CaseView(build(kind="binding_corruption").record)
    assert of(view, "invalid_bindings_ratio").value == pytest.approx(0.05)
    assert of(view, "invalid_bindings_ratio", "after").value == 0.0
    assert of(view, "invalid_strengths_served").value == 0.0


def test_an_index_emptied_by_a_restore_holds_nothing_invalid_and_one_never_filled_says_nothing() -> None:
    record = build(kind="binding_corruption").record
    after = CaseView(record).windows["after"].start

    def emptied(since: float) -> CaseView:
        readings = tuple(
            {**r, "total": 0, "invalid": 0} if float(r["t"]) > since else r for r in record.stream("bindings")
        )
        return CaseView(replace(record, streams={**record.streams, "bindings": readings}))

    assert of(emptied(after), "invalid_bindings_ratio", "after").value == 0.0
    assert of(emptied(0.0), "invalid_bindings_ratio", "after").samples == 0


def test_cohorts_deviate_by_nothing_when_they_are_what_was_asked_for() -> None:
    assert of(CaseView(build(cohort_rate=0.25).record), "cohort_deviation").value == pytest.approx(0.0, abs=0.005)
    off = CaseView(build(cohort_rate=0.25, manifest={"cohort_rate": 0.75}).record)
    assert of(off, "cohort_deviation").value == pytest.approx(0.5, abs=0.005)


def test_evidence_does_not_come_from_the_metric_under_assertion() -> None:
    """A timeout counter and answers that stay silent do not hide the fault: recalls take longer all the same."""
    summary = CaseSummary(build(counter_factor=0.0).record)
    assert summary.evidence[0].seen
    assert "median service time" in summary.evidence[0].detail


def test_memory_and_descriptors_that_do_not_grow() -> None:
    view = CaseView(build(kind="no_fault").record)
    assert of(view, "open_files_growth", "whole").value == 0
    assert of(view, "rss_growth_mb_per_h", "whole").interval.contains(0.0)
    assert of(view, "availability", "whole").value == 1.0


@pytest.mark.parametrize(
    ("asked", "answered", "ok", "seen"),
    [
        (-0.1, 5.0, False, True),  # hung throughout
        (1.0, 1.1, False, True),
        (-0.1, 5.0, True, False),
        (-2.0, -1.0, False, False),  # over before the window began
    ],
)
def test_a_dead_process_is_seen_by_a_probe_that_hung_over_the_whole_window(
    asked: float, answered: float, ok: bool, seen: bool
) -> None:
    record = build().record
    start = CaseView(record).windows["during"].start
    health = ({"asked": start + asked, "t": start + answered, "ok": ok},)
    dead = replace(
        record,
        manifest={**record.manifest, "fault": {"kind": "process_crash"}},
        streams={**record.streams, "health": health},
    )
    assert any(piece.seen for piece in evidence(CaseView(dead))) is seen


def test_a_canary_that_answers_nothing_found_nothing() -> None:
    """An empty answer is an answer: left out, the canary's few good ones would speak for all of them."""
    record = build(cohort_rate=0.5).record
    samples = record.samples.copy()
    asked = np.isin(samples["op"], (int(Op.RECALL), int(Op.EMBEDDING_SEARCH)))
    samples["cue"] = int(Cue.EXACT)
    samples["space"], samples["item"] = 0, np.arange(len(samples)) % 40
    samples["sequence"] = np.arange(len(samples))
    answers = np.zeros(int(asked.sum()), dtype=ANSWER)
    answers["sequence"], answers["count"], answers["items"] = samples["sequence"][asked], 10, np.arange(10)
    truth = np.zeros(40, dtype=TRUTH)
    truth["item"], truth["cue"], truth["count"] = np.arange(40), int(Cue.EXACT), 20
    truth["items"], truth["nearness"] = np.arange(20), np.where(np.arange(20) < 10, 0.9, 0.1)
    canary = np.isin(samples["user"][asked], samples["user"][samples["cohort"] == int(Cohort.CANARY)])

    def seen(empty: float) -> tuple[float, float]:
        drawn = canary & (np.random.default_rng(5).random(len(canary)) < empty)
        kept = answers.copy()
        kept["count"][drawn], kept["items"][drawn] = 0, NONE
        view = CaseView(replace(record, samples=samples, answers=kept, truth=truth))
        return of(view, "recall_at_k", cohort="canary").value, of(view, "topk_overlap").value

    assert seen(0.0) == (1.0, 1.0)
    assert seen(0.3) == (pytest.approx(0.7, abs=0.06), pytest.approx(0.7, abs=0.1))
    assert seen(1.0) == (0.0, 0.0)
