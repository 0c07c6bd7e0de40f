"""Faults side by side and in sequence: the overlap rule, each healed on its own, all healed at once on demand."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.catalogue import fault_from_json
from harness.faults.composition import Composition, CompositionInjection, Step, injection_for, parallel, sequence
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.faults.nemesis import Plan, load_plan
from harness.faults.process_crash import ProcessCrash
from harness.faults.semantic_latency import SemanticLatency
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.jsonl import read_lines
from tests.faults.conftest import ROOT, active, wait_for

SLOW, FAILING, CORRUPT = SemanticLatency(50.0), ConsolidationFailure(1.0), BindingCorruption(0.5)


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.seen.append((event, fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    def at(self, event: str) -> float:
        return float(next(fields["at"] for name, fields in self.seen if name == event))


def test_equal_faults_that_overlap_are_one() -> None:
    found = Composition("x", (Step(SLOW, 0, 1000), Step(SemanticLatency(50.0), 500, 2000), Step(FAILING)))
    assert [(s.fault, s.at_ms, s.hold_ms) for s in found.steps] == [(SLOW, 0, 2500), (FAILING, 0, 0)]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((Step(SLOW), Step(SemanticLatency(20.0))), "override"),
        ((Step(SLOW, 0, 1000), Step(SemanticLatency(20.0), 1000, 1000)), "override"),
        ((Step(SLOW, 0, 1000), Step(ProcessCrash(), 500, 500)), "ends the process"),
        ((Step(SLOW, -1, 1000),), "less than 0"),
        ((), "no faults"),
    ],
)
def test_what_the_rule_refuses(steps: tuple[Step, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Composition("x", steps)


def test_one_after_the_other_may_differ_in_dose() -> None:
    found = sequence(SLOW, SemanticLatency(20.0), hold_s=1.0, gap_s=0.5)
    assert [(step.at_ms, step.hold_ms) for step in found.steps] == [(0, 1000), (1500, 1000)]


def test_a_composition_needs_what_its_parts_need_and_comes_back_from_its_record() -> None:
    found = parallel(SLOW, FAILING)
    assert set(found.requires) == set(SLOW.requires) | set(FAILING.requires)
    assert not found.takes_target_down
    assert sequence(SLOW, ProcessCrash(), hold_s=1.0).takes_target_down
    assert fault_from_json(found.to_json()) == found


def test_faults_side_by_side_are_each_seen_and_each_healed(target: EmbeddedTarget, tmp_path: Path) -> None:
    events = Events()
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        with injection_for(parallel(SLOW, FAILING, CORRUPT), target, ledger, hold_s=20.0, record=events) as injection:
            assert isinstance(injection, CompositionInjection)
            assert injection.effective is not None
            assert sorted(active(target)) == [
                "binding_index.corrupt",
                "consolidation.fail_rate",
                "semantic_pathway.latency",
            ]
            assert len(ledger.open_entries) == 3
        assert active(target) == []
    for part in ("part_effective_observed", "part_heal_acked", "part_healed_observed"):
        assert events.names().count(part) == 3, events.names()
    for whole in ("inject_sent", "effective_observed", "heal_sent", "heal_acked", "healed_observed"):
        assert events.names().count(whole) == 1, events.names()
    assert events.at("heal_sent") <= events.at("heal_acked")
    lines = [line["entry"] for line in read_lines(tmp_path / "ledger.jsonl")]
    assert lines.count("intent") == lines.count("healed") == 3


def test_steps_begin_and_end_at_their_time(target: EmbeddedTarget, tmp_path: Path) -> None:
    plan = Composition("x", (Step(SLOW, 0, 400), Step(CORRUPT, 900, 0)))
    events = Events()
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        begun = time.monotonic()
        with injection_for(plan, target, ledger, hold_s=20.0, record=events):
            wait_for("the second alone", lambda: active(target) == ["binding_index.corrupt"], 15.0)
        assert active(target) == []
    sent = [fields["at"] for name, fields in events.seen if name == "part_inject_sent"]
    assert sent[1] - begun >= 0.9
    assert events.at("part_heal_sent") < events.at("heal_sent"), "the first was healed on its own, earlier"


def test_all_are_healed_at_once_when_cancelled(target: EmbeddedTarget, tmp_path: Path) -> None:
    cancel, events = threading.Event(), Events()
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        with injection_for(parallel(SLOW, CORRUPT), target, ledger, hold_s=60.0, record=events, cancel=cancel):
            cancel.set()
            wait_for("all healed", lambda: not active(target), 10.0)


def test_a_part_that_does_nothing_spoils_the_whole(
    target: EmbeddedTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BindingCorruption, "inject", lambda self, client, ttl_s: None)
    events, plan = Events(), parallel(FAILING, CORRUPT)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        with injection_for(plan, target, ledger, hold_s=20.0, record=events, effect_deadline_s=2.0) as injection:
            assert injection.effective is None
    assert "effect_not_observed" in events.names()
    assert "effective_observed" not in events.names()
    assert active(target) == []


def test_a_part_that_cannot_go_in_heals_the_others(
    target: EmbeddedTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: BindingCorruption, client: Any, ttl_s: float | None) -> None:
        raise UsageError("no")

    monkeypatch.setattr(BindingCorruption, "inject", refuse)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        composed = injection_for(parallel(SLOW, CORRUPT), target, ledger, hold_s=20.0, record=Events())
        with pytest.raises(UsageError, match="no"), composed:
            pytest.fail("must not get here")
        assert active(target) == []


def test_a_single_fault_goes_in_as_it_always_did(target: EmbeddedTarget, tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        one = injection_for(SLOW, target, ledger, hold_s=1.0, record=Events())
        assert isinstance(one, Injection)


def test_a_nemesis_runs_to_its_end(target: EmbeddedTarget, tmp_path: Path) -> None:
    plan: Plan = load_plan(ROOT / "scenarios" / "faults" / "dual_memory.toml")
    composed = plan.composition(0xDEADBEEF, 6000)
    events = Events()
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        with injection_for(composed, target, ledger, hold_s=30.0, record=events):
            threading.Event().wait(max(step.end_ms for step in composed.steps) / 1000 + 0.2)
        assert active(target) == []
    healed = events.names().count("part_healed_observed")
    assert healed == len(composed.steps) >= 1, events.names()
