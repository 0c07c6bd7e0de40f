"""One fault from preparation to healing, on the reference Engram, with the effect and the recovery seen."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Aborted, CapabilityMissing, FaultError, HealFailed, RecordError, TargetNotOwned, UsageError
from harness.faults import injection
from harness.faults.bad_configuration import BadConfiguration
from harness.faults.base import Fault, Observation, Observer
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.catalogue import FAULTS, fault_from_json
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.double_crash import DoubleCrash
from harness.faults.global_latency import RecallLatency
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.faults.no_fault import NoFault
from harness.faults.semantic_latency import SemanticLatency
from harness.targets.attached import AttachedTarget
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.jsonl import read_lines
from tests.engram.stub import Stub, http, routes
from tests.faults.conftest import active

CASES: list[tuple[Fault, str]] = [
    (SemanticLatency(50), "lose the semantic half (timeout)"),
    (SemanticLatency(6), "ms longer"),
    (RecallLatency(30), "ms longer"),
    (ConsolidationFailure(1.0), "counted as failed"),
    (ConsolidationFailure(0.3), "counted as failed"),
    (BindingCorruption(0.5), "bindings are invalid"),
    (NoFault(), "control"),
]
IN_ORDER = [
    "fault_prepared",
    "inject_sent",
    "inject_acked",
    "effective_observed",
    "heal_sent",
    "heal_acked",
    "healed_observed",
]


class Events:
    """A timeline in memory; fails where it is told to."""

    def __init__(self, full_at: str = "") -> None:
        self.names: list[str] = []
        self.fields: dict[str, dict[str, Any]] = {}
        self._full_at = full_at

    def __call__(self, event: str, /, **fields: Any) -> None:
        if event == self._full_at:
            raise RecordError("cannot write: no space left on device")
        self.names.append(event)
        self.fields[event] = fields


@pytest.fixture
def ledger(tmp_path: Path, target: EmbeddedTarget) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.claim(target.base_url)
        yield ledger


@pytest.mark.parametrize(
    ("fault", "evidence"), CASES, ids=lambda value: value.describe() if isinstance(value, Fault) else ""
)
def test_effect_and_recovery_are_seen(fault: Fault, evidence: str, target: EmbeddedTarget, ledger: Ledger) -> None:
    events = Events()
    with Injection(fault, target, ledger, hold_s=5, record=events) as injection:
        assert injection.effective is not None
        assert evidence in injection.effective.evidence
        assert active(target) == ([fault.slot] if fault.slot else [])
        assert injection.relieved == ()
    assert injection.healed is not None
    assert active(target) == []
    assert events.names == IN_ORDER
    instants = [events.fields[name]["at"] for name in IN_ORDER[1:]]
    assert instants == sorted(instants)
    injection.heal()
    assert len(events.names) == len(IN_ORDER), "healing again does nothing"


class Hanging(Observer):
    """One whose looks come to no end before ``released``, from a certain one on."""

    def __init__(self, hangs: str) -> None:
        self.released = threading.Event()
        self.begun = threading.Event()
        self.came_back = False
        self._hangs = hangs

    def baseline(self) -> dict[str, Any]:
        return {}

    def effective(self) -> Observation:
        return self._look("effective")

    def healed(self) -> Observation:
        return self._look("healed")

    def _look(self, which: str) -> Observation:
        if which == self._hangs:
            self.begun.set()  # not before: a case that ends while its fault is looked for has no heal to see
            self.released.wait(10.0)
            self.came_back = True
        return Observation(True, "seen")


@pytest.mark.parametrize("hangs", ["effective", "healed"])
def test_what_ends_a_case_waits_for_no_look_that_hangs(
    hangs: str, target: EmbeddedTarget, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, cancel, events = Hanging(hangs), threading.Event(), Events()
    monkeypatch.setattr(SemanticLatency, "observer", lambda *_: observer)
    monkeypatch.setattr(injection, "_HURRIED_S", 0.1)

    def abort() -> None:
        observer.begun.wait(30.0)
        cancel.set()

    threading.Thread(target=abort, daemon=True).start()
    try:
        with (
            pytest.raises(Aborted),
            Injection(SemanticLatency(50), target, ledger, hold_s=5, record=events, cancel=cancel),
        ):
            raise Aborted("the condition is met")
        assert not observer.came_back
        assert active(target) == []
        missing = "effect_not_observed" if hangs == "effective" else "heal_not_observed"
        assert events.names[-1 if hangs == "healed" else 3] == missing
    finally:
        observer.released.set()


@pytest.mark.parametrize(
    ("fault", "unseen"),
    [(DoubleCrash(), "inject_given_up"), (BadConfiguration(), "inject_acked")],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_what_ends_a_case_waits_for_no_restart_that_injects(fault: Fault, unseen: str, tmp_path: Path) -> None:
    cancel, events = threading.Event(), Events()

    def record(event: str, /, **fields: Any) -> None:
        events(event, **fields)
        if event == "inject_sent":
            cancel.set()  # the condition is met as the fault goes in

    target = EmbeddedTarget(tmp_path / "case")
    with target, Ledger(tmp_path / "ledger.jsonl") as ledger:
        starts = target.describe()["starts"]
        with Injection(fault, target, ledger, hold_s=5, record=record, cancel=cancel) as injection:
            assert injection.effective is None
        assert events.names == [*IN_ORDER[:2], unseen, "effect_not_observed", "heal_sent", "heal_acked"]
        assert target.describe()["starts"] == starts + 1, "for the heal alone"
        with target.client() as client:
            assert client.health()


def test_the_service_gets_a_ttl_and_the_guardian_a_deadline(
    target: EmbeddedTarget, ledger: Ledger, tmp_path: Path
) -> None:
    with Injection(SemanticLatency(50), target, ledger, hold_s=100, record=Events()), target.client() as client:
        one = client.chaos_listing().find("semantic_pathway.latency")
        assert one is not None
        assert one.ttl_remaining_s is not None
        assert 100 < one.ttl_remaining_s < 130
    intent = next(read_lines(tmp_path / "ledger.jsonl"))
    assert 100 < intent["expires"] - intent["t"] < 130


def test_an_effect_that_is_not_seen_is_an_event_and_no_error(tmp_path: Path) -> None:
    target = EmbeddedTarget(tmp_path / "case", defects=("chaos_ignored",))
    with target, target.client() as client, Ledger(tmp_path / "ledger.jsonl") as ledger:
        client.set_features(blended_recall=True)
        for fault in (SemanticLatency(50), RecallLatency(30)):
            events = Events()
            with Injection(fault, target, ledger, hold_s=1, record=events, effect_deadline_s=0.3) as injection:
                assert injection.effective is None
            assert events.names[3:] == ["effect_not_observed", "heal_sent", "heal_acked"]
        client.set_features(blended_recall=False)
        with Injection(SemanticLatency(50), target, ledger, hold_s=1, record=events, effect_deadline_s=0) as injection:
            assert "no user is served blended" in events.fields["effect_not_observed"]["evidence"]


def test_a_recovery_that_does_not_come_is_an_event_and_no_error(tmp_path: Path) -> None:
    target = EmbeddedTarget(tmp_path / "case", defects=("recovery_never",))
    with target, target.client() as client, Ledger(tmp_path / "ledger.jsonl") as ledger:
        client.set_features(blended_recall=True)
        events = Events()
        with Injection(SemanticLatency(50), target, ledger, hold_s=1, record=events, observe_heal_s=0.3) as injection:
            pass
        assert injection.healed is None
        assert events.names[-1] == "heal_not_observed"
        assert "timeout" in events.fields["heal_not_observed"]["evidence"]


def test_what_is_in_force_already_is_not_ours_to_heal(target: EmbeddedTarget, ledger: Ledger) -> None:
    with target.client() as client:
        client.chaos_semantic_latency(5)
        with pytest.raises(FaultError, match="in force already, and not by us"):
            Injection(SemanticLatency(50), target, ledger, hold_s=1, record=Events()).__enter__()
        assert active(target) == ["semantic_pathway.latency"]
        client.chaos_semantic_latency(0)


@pytest.mark.parametrize(
    "full_at", ["fault_prepared", "inject_sent", "inject_acked", "effective_observed", "heal_acked"]
)
def test_a_timeline_on_a_full_disk_still_heals(full_at: str, target: EmbeddedTarget, ledger: Ledger) -> None:
    injection = Injection(SemanticLatency(50), target, ledger, hold_s=1, record=Events(full_at))
    with pytest.raises(RecordError, match="no space left"), injection:
        pass
    assert active(target) == []
    assert ledger.open_entries == ()


def test_ctrl_c_while_waiting_and_while_healing(target: EmbeddedTarget, ledger: Ledger) -> None:
    for at in ("inject_sent", "inject_acked", "effective_observed", "heal_sent"):

        class Interrupting(Events):
            def __call__(self, event: str, /, _at: str = at, **fields: Any) -> None:
                super().__call__(event, **fields)
                if event == _at:
                    signal.raise_signal(signal.SIGINT)

        events = Interrupting()
        with (
            pytest.raises(KeyboardInterrupt),
            Injection(SemanticLatency(50), target, ledger, hold_s=1, record=events, observe_heal_s=1),
        ):
            pass
        assert active(target) == [], at
        assert ledger.open_entries == (), at
        assert "heal_acked" in events.names, at


def test_an_interrupt_just_after_the_intent_heals(
    target: EmbeddedTarget, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = Ledger.intent

    def interrupted(self: Ledger, *args: Any, **options: Any) -> int:
        intent(self, *args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "intent", interrupted)
    with pytest.raises(KeyboardInterrupt), Injection(SemanticLatency(50), target, ledger, hold_s=1, record=Events()):
        pass
    assert ledger.open_entries == ()


def test_waiting_for_an_effect_can_be_cancelled(target: EmbeddedTarget, ledger: Ledger) -> None:
    cancel = threading.Event()
    cancel.set()
    fault = ConsolidationFailure(0.001)
    with Injection(fault, target, ledger, hold_s=1, record=Events(), cancel=cancel, observe_heal_s=0) as injection:
        assert injection.effective is None


def test_a_target_that_is_not_ours_or_cannot_is_left_alone(target: EmbeddedTarget, ledger: Ledger) -> None:
    attached = AttachedTarget(target.base_url)
    with pytest.raises(TargetNotOwned):
        Injection(SemanticLatency(50), attached, ledger, hold_s=1, record=Events()).__enter__()
    with Stub(routes({}, http(404))) as stub, pytest.raises(CapabilityMissing, match=r"chaos\.semantic_pathway"):
        mute = AttachedTarget(stub.url, claimed=True)
        Injection(SemanticLatency(50), mute, ledger, hold_s=1, record=Events()).__enter__()
    assert active(target) == []


def test_a_target_that_dies_takes_its_fault_with_it(tmp_path: Path) -> None:
    target = EmbeddedTarget(tmp_path / "case")
    with target, Ledger(tmp_path / "ledger.jsonl") as ledger:
        with target.client() as client:
            client.set_features(blended_recall=True)
        events = Events()
        with Injection(SemanticLatency(50), target, ledger, hold_s=1, record=events, observe_heal_s=0):
            assert target.process is not None
            target.process.send(signal.SIGKILL)
        assert events.fields["heal_acked"]["how"] == "its process is gone"
        assert ledger.open_entries == ()


def test_a_heal_that_is_not_taken_is_loud_and_stays_open(tmp_path: Path, engram: EmbeddedTarget) -> None:
    target = AttachedTarget(engram.base_url, claimed=True)
    events = Events()
    ledger = Ledger(tmp_path / "ledger.jsonl")
    injection = Injection(SemanticLatency(50), target, ledger, hold_s=1, record=events, heal_deadline_s=0)
    injection.__enter__()
    recipe = injection._recipes[0]
    object.__setattr__(recipe, "url", "http://127.0.0.1:9/")
    with pytest.raises(HealFailed, match="no answer to the healing request"):
        injection.__exit__(None, None, None)
    assert events.names[-1] == "heal_failed"
    assert [entry.what for entry in ledger.open_entries] == ["semantic pathway 50 ms slower"]
    object.__setattr__(recipe, "url", f"{engram.base_url}/api/v1/admin/chaos/semantic_pathway/latency")
    injection.__exit__(None, None, None)
    ledger.close()
    assert active(engram) == []


@pytest.mark.parametrize("fault", [fault for fault, _ in CASES], ids=lambda fault: fault.describe())
def test_a_fault_survives_json(fault: Fault) -> None:
    assert fault_from_json(fault.to_json()) == fault
    assert type(fault) in FAULTS


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "magic"},
        {"kind": "semantic_latency"},
        {"kind": "semantic_latency", "latency_ms": 0},
        {"kind": "semantic_latency", "latency_ms": float("nan")},
        {"kind": "binding_corruption", "corruption_rate": 1.5},
        {"kind": "no_fault", "rate": 1},
    ],
)
def test_a_bad_dose_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from_json(value)
