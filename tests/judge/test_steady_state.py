"""The steady state before a fault: established, out of the question, or worth a longer look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness import runner
from harness.clock import FakeClock
from harness.judge.steady_state import SteadyState, steady_state, steady_state_so_far
from harness.judge.summary import CaseSummary
from harness.judge.view import CaseView
from harness.timeline.jsonl import read_lines
from harness.timeline.record import CaseRecord, CaseWriter
from tests.cases import build


def running(record: CaseRecord) -> CaseRecord:
    """The record as it is while its baseline goes on."""
    return replace(record, events=tuple(e for e in record.events if e["event"] != "baseline_ended"))


def test_a_quiet_baseline_is_established_and_an_erring_one_is_not() -> None:
    assert steady_state(CaseSummary(build().record)) == SteadyState()
    erring = steady_state(CaseSummary(build(baseline_error_share=0.05).record))
    assert not erring.undecided
    assert "error_rate" in erring.broken[0]
    assert erring.reasons == [*erring.broken]


def test_a_short_one_is_undecided_and_a_longer_one_is_not() -> None:
    record = running(build().record)
    begun = CaseView(build().record).windows["baseline"].start
    assert steady_state(CaseSummary(record)).undecided
    short = steady_state_so_far(record, begun + 0.2)
    assert short.undecided
    assert any("latency_ms" in reason for reason in short.reasons)
    assert steady_state_so_far(record, begun + 10.0) == SteadyState()


@pytest.mark.parametrize(
    ("looks", "windows"),
    [
        (["open", "open", ""], 3),
        (["open", ""], 2),
        ([""], 1),
        (["broken"], 1),
        (["open", "broken"], 2),
        (["open", "open", "open", ""], 3),
    ],
)
def test_an_undecided_baseline_goes_on_all_of_it_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[str], windows: int
) -> None:
    clock = FakeClock()
    said = [SteadyState(**{look: ("why",)}) if look else SteadyState() for look in looks]
    answers = iter(said)
    asked = []

    def look(_record: CaseRecord, now: float) -> SteadyState:
        asked.append(now)
        clock.advance(0.3)  # what it takes to look is part of no baseline
        return next(answers)

    monkeypatch.setattr(runner, "steady_state_so_far", look)
    monkeypatch.setattr(runner, "read_case", lambda _folder: None)
    writer = CaseWriter(tmp_path, clock)
    run = SimpleNamespace(
        experiment=SimpleNamespace(profile=SimpleNamespace(baseline_s=12.0)),
        _writer=writer,
        _event=writer.event,
        _clock=clock,
        _watch=SimpleNamespace(wait=lambda seconds, _phase: clock.advance(seconds)),
    )
    assert runner.ExperimentRun._baseline(cast(runner.ExperimentRun, run)) == said[windows - 1]
    writer.close()
    begun, ended = read_lines(tmp_path / "timeline.jsonl")
    assert len(asked) == windows
    assert ended["at"] == asked[-1]
    assert ended["at"] - begun["t"] == pytest.approx(windows * 12.0 + (windows - 1) * 0.3)
