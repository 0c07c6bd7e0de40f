"""Abort conditions: met only when sustained, looked at all the time, and everything healed at once when one is."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.clock import FakeClock
from harness.errors import ConfigError, TargetUnreachable
from harness.faults.abort_watch import AbortWatch
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.composition import injection_for, parallel
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.ledger import Ledger
from harness.judge.abort import AbortJudge
from harness.scenario.abort import AbortCondition, applicable, load_abort_conditions
from harness.targets.embedded import EmbeddedTarget
from tests.faults.conftest import ROOT, active, wait_for

FILE = ROOT / "scenarios" / "abort.toml"


def condition(for_s: float = 0.0, signal: str = "error_rate") -> AbortCondition:
    return AbortCondition("errors", signal, 0.01, for_s, True, "the runbook")


def test_a_condition_has_to_hold_without_a_break() -> None:
    judge = AbortJudge([condition(for_s=2.0)])
    readings = [(0.0, 0.5), (1.0, 0.5), (1.5, 0.0), (2.0, 0.5), (3.9, 0.5)]
    assert [judge.look(t, {"error_rate": value}) for t, value in readings] == [None] * 5
    met = judge.look(4.0, {"error_rate": 0.5})
    assert met is not None
    assert met[1] == ("abort condition 'errors' met: 50.00% of requests failed, above 0.01 for 2.0 s (the runbook)")


def test_what_was_not_read_neither_meets_nor_ends_a_condition() -> None:
    judge = AbortJudge([condition(for_s=2.0)])
    assert judge.look(0.0, {"error_rate": 0.5}) is None
    assert judge.look(1.0, {"error_rate": math.nan}) is None
    assert judge.look(2.0, {}) is None
    assert judge.look(2.5, {"error_rate": 0.5}) is not None


def test_the_file_has_the_runbooks_automated_rollback() -> None:
    found = {one.name: (one.signal, one.above, one.for_s) for one in load_abort_conditions(FILE)}
    assert found == {
        "error_rate": ("error_rate", 0.01, 600.0),
        "recall_p99": ("recall_p99_ms", 20.0, 900.0),
        "process_death": ("process_dead", 0.5, 0.0),
        "memory": ("memory_share", 0.9, 0.0),
    }


@pytest.mark.parametrize(
    ("embedded", "by_design", "expected"),
    [
        (False, False, ["error_rate", "recall_p99", "process_death", "memory"]),
        (False, True, ["process_death", "memory"]),
        (True, False, ["process_death", "memory"]),
    ],
)
def test_which_conditions_hold_for_a_case(embedded: bool, by_design: bool, expected: list[str]) -> None:
    conditions = load_abort_conditions(FILE)
    found = applicable(conditions, time_scale=50.0, embedded=embedded, errors_by_design=by_design)
    assert [one.name for one in found] == expected
    assert all(one.for_s in (0.0, 12.0, 18.0) for one in found)


def test_a_bad_file_is_refused_by_place(tmp_path: Path) -> None:
    bad = tmp_path / "abort.toml"
    bad.write_text(FILE.read_text().replace('signal = "error_rate"', 'signal = "mood"'))
    with pytest.raises(ConfigError, match=r"abort.toml:\d+: error_rate.signal"):
        load_abort_conditions(bad)


def test_the_watch_looks_every_quarter_of_a_second_and_trips_once() -> None:
    clock, said = FakeClock(), []
    readings = iter([{"error_rate": 0.0}, {"error_rate": 0.5}, {"error_rate": 0.5}])
    watch = AbortWatch(
        [condition(for_s=0.25)], lambda: next(readings), on_trip=lambda c, why: said.append(why), clock=clock
    )
    begun = clock.now()
    watch.start()
    assert watch.tripped.wait(10)
    watch.stop()
    assert clock.now() - begun == pytest.approx(0.5)
    assert said == [watch.reason]


def test_what_cannot_be_read_is_no_abort() -> None:
    def unreachable() -> dict[str, float]:
        raise TargetUnreachable("gone")

    assert not AbortWatch([condition()], unreachable).look()


def test_all_faults_are_healed_when_a_condition_is_met(target: EmbeddedTarget, tmp_path: Path) -> None:
    bad, met = threading.Event(), []
    events: list[tuple[str, float]] = []

    def record(event: str, /, **fields: Any) -> None:
        events.append((event, time.monotonic()))

    watch = AbortWatch(
        [condition()], lambda: {"error_rate": float(bad.is_set())}, on_trip=lambda c, why: met.append(time.monotonic())
    )
    faults = parallel(ConsolidationFailure(1.0), BindingCorruption(0.5))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        watch.start()
        with injection_for(faults, target, ledger, hold_s=60.0, record=record, cancel=watch.tripped):
            assert len(active(target)) == 2
            bad.set()
            wait_for("all healed", lambda: not active(target), 15.0)
    watch.stop()
    healed = [t for name, t in events if name == "part_heal_acked"]
    assert len(healed) == 2
    assert len(met) == 1
    assert max(healed) > met[0]
