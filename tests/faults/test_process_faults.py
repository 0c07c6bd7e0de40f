"""Faults of process, clock and service: pauses, deaths, wrong clocks and configurations, flags that will not stay."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.errors import UsageError
from harness.faults.bad_configuration import MISTAKES, BadConfiguration
from harness.faults.base import Fault
from harness.faults.catalogue import fault_from_json
from harness.faults.clock_skew import ClockSkew
from harness.faults.double_crash import DoubleCrash
from harness.faults.flag_flapping import FlagFlapping
from harness.faults.graceful_restart import GracefulRestart
from harness.faults.injection import Injection
from harness.faults.out_of_memory import OutOfMemory
from harness.faults.process_pause import ProcessPause
from tests.faults.family import Case

FAULTS: list[tuple[Fault, str]] = [
    (ProcessPause(), "process state T"),
    (GracefulRestart(), "nothing answers"),
    (DoubleCrash(), "nothing answers"),
    (OutOfMemory(), "1 kills for want of memory"),
    (ClockSkew(86_400.0), "moved by +86"),
    (FlagFlapping(0.1), "changed"),
    (BadConfiguration("out_of_range"), MISTAKES["out_of_range"][1]),
    (BadConfiguration("not_toml"), MISTAKES["not_toml"][1]),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with Case(tmp_path_factory.mktemp("process")) as case:
        yield case


@pytest.mark.parametrize(("fault", "evidence"), FAULTS, ids=lambda v: v.describe() if isinstance(v, Fault) else "")
def test_effect_and_recovery_are_seen(fault: Fault, evidence: str, case: Case) -> None:
    if why := case.lacks(fault):
        pytest.skip(why)
    case.proves(fault, evidence)
    assert fault_from_json(fault.to_json()) == fault


@pytest.mark.parametrize("kind", [ProcessPause, GracefulRestart, FlagFlapping])
def test_an_injector_that_does_nothing_is_not_seen_to_act(
    kind: type[Fault], case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "inject_into", lambda *_: None)
    monkeypatch.setattr(kind, "act", lambda *_: lambda: None)
    assert case.run(kind(), effect_deadline_s=0.3).effective is None


def test_a_double_crash_is_two(case: Case) -> None:
    starts = case.inner.describe()["starts"]
    case.run(DoubleCrash())
    assert case.inner.describe()["starts"] == starts + 2


def test_a_double_crash_that_is_cut_short_spares_the_second(case: Case) -> None:
    starts, cancel = case.inner.describe()["starts"], threading.Event()

    def record(event: str, /, **_: Any) -> None:
        if event == "inject_acked":
            cancel.set()

    with Injection(DoubleCrash(between_s=5.0), case.target, case.ledger, hold_s=2, record=record, cancel=cancel):
        pass
    assert case.inner.describe()["starts"] == starts + 1
    case.is_whole()


def test_a_flapping_flag_ends_as_it_was_and_stays(case: Case) -> None:
    with case.target.client() as client:
        before = client.features()
        with Injection(FlagFlapping(0.05), case.target, case.ledger, hold_s=2, record=lambda *_, **__: None):
            pass
        assert client.features() == before


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "clock_skew", "offset_s": 1},
        {"kind": "clock_skew", "offset_s": float("nan")},
        {"kind": "flag_flapping", "period_s": 0},
        {"kind": "out_of_memory", "headroom_mb": 0},
        {"kind": "bad_configuration", "mistake": "none"},
        {"kind": "double_crash", "times": 3},
        {"kind": "double_crash", "between_s": 6},
    ],
)
def test_a_dose_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from_json(bad)
