"""Scarce resources: processor, memory, descriptors, threads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import FaultError, HostCapabilityMissing, UsageError
from harness.faults import capability, cgroup, file_descriptors, memory_limit
from harness.faults.base import Fault
from harness.faults.catalogue import fault_from_json
from harness.faults.cpu_contention import CpuContention
from harness.faults.cpu_quota import CpuQuota
from harness.faults.file_descriptors import FileDescriptors
from harness.faults.injection import Injection
from harness.faults.memory_limit import MemoryLimit
from harness.faults.path import Round, Trip, crowd
from harness.faults.recipe_local import GroupRecipe
from harness.faults.thread_limit import ThreadLimit
from harness.targets.base import identify
from tests.faults.family import Case

FAULTS: list[tuple[Fault, str]] = [
    (CpuQuota(10.0), "throttled in"),
    (MemoryLimit(), "could not be held"),
    (FileDescriptors(), "not served"),
    (ThreadLimit(), "threads"),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with Case(tmp_path_factory.mktemp("resources")) as case:
        yield case


@pytest.mark.parametrize(("fault", "evidence"), FAULTS, ids=lambda v: v.describe() if isinstance(v, Fault) else "")
def test_effect_and_recovery_are_seen(fault: Fault, evidence: str, case: Case) -> None:
    if why := case.lacks(fault):
        pytest.skip(why)
    case.proves(fault, evidence)
    assert fault_from_json(fault.to_json()) == fault


def test_contention_ties_the_target_to_one_processor_and_lets_it_go(case: Case) -> None:
    pid = case.target.pid or 0
    before = os.sched_getaffinity(pid)
    with Injection(
        CpuContention(1), case.target, case.ledger, hold_s=2, record=lambda *_, **__: None, effect_deadline_s=0.1
    ):
        assert os.sched_getaffinity(pid) == {max(before)}
    assert os.sched_getaffinity(pid) == before
    case.is_whole()


def test_a_group_is_ours_or_left_alone(tmp_path: Path) -> None:
    somebody = tmp_path / "somebody"
    somebody.mkdir()
    assert GroupRecipe(str(somebody), str(tmp_path)).apply() == "left alone: not a control group of ours"
    assert somebody.is_dir()
    assert GroupRecipe(str(tmp_path / "engram-harness-never"), str(tmp_path)).apply() == "the control group is gone"


def test_a_group_whose_process_died_goes_too(case: Case) -> None:
    fault = CpuQuota(50.0)
    if why := case.lacks(fault):
        pytest.skip(why)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = identify(child.pid)
        assert process is not None
        recipe = cgroup.group_of(fault, "cpu", process)
        cgroup.confine(recipe, process, {})
        assert cgroup.members(recipe) == {child.pid}
        assert recipe.there()
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert recipe.apply() == "the control group is gone"
        assert recipe.apply() == "the control group is gone"
        assert not recipe.there()


def test_a_quota_that_is_not_there_does_nothing_however_much_is_asked(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = CpuQuota(10.0)
    if why := case.lacks(fault):
        pytest.skip(why)
    monkeypatch.setattr(CpuQuota, "inject_into", lambda *_: None)
    injection = case.run(fault, effect_deadline_s=0.1)
    assert injection.effective is None
    assert "throttled in 0 periods; at work it ran for" in case.seen["effect_not_observed"]


def test_a_crowd_travels_at_once_until_one_has_seen_it(case: Case) -> None:
    found = crowd(case.target.base_url, "/health/alive", travellers=4, trips=3, timeout_s=5.0)
    assert len(found.trips) == 12
    assert found.share("answered") == 1.0
    once = crowd(case.target.base_url, "/health/alive", travellers=4, trips=3, timeout_s=5.0, until=lambda _: True)
    assert len(once.trips) == 4


def test_large_requests_that_nobody_takes_are_not_refused_and_those_cut_off_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_limit, "_TOGETHER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert memory_limit._refused_together(url) == 0, "too slow is no want of memory"
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as cutting:

        def cut_off() -> None:
            for _ in range(memory_limit._TRIES):
                connection, _address = cutting.accept()
                connection.close()

        thread = threading.Thread(target=cut_off, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{cutting.getsockname()[1]}"
        assert memory_limit._refused_together(url) == memory_limit._TRIES
        thread.join(5.0)


def test_connections_a_busy_machine_leaves_unanswered_are_no_want_of_descriptors(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FileDescriptors(0)
    if why := case.lacks(fault):
        pytest.skip(why)
    monkeypatch.setattr(FileDescriptors, "inject_into", lambda *_: None)
    monkeypatch.setattr(file_descriptors, "travel", lambda *_, **__: Round((Trip("timeout", 1.0, 0.0),)))
    injection = case.run(fault, effect_deadline_s=0.1)
    assert injection.effective is None
    assert "100% of new connections are not served; " in case.seen["effect_not_observed"]


def test_a_machine_that_cannot_says_so_before_anything_happens(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    capability._host.cache_clear()
    monkeypatch.setitem(capability._PROBES, "host.cgroup_cpu", lambda: "no such thing here")
    try:
        with pytest.raises(HostCapabilityMissing, match="no such thing here"):
            Injection(CpuQuota(50.0), case.target, case.ledger, hold_s=1, record=lambda *_, **__: None).__enter__()
    finally:
        capability._host.cache_clear()
    assert case.ledger.open_entries[-1].lifetime == "process", "only the target's own entry is open"


def test_a_fault_that_cannot_go_in_leaves_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = ThreadLimit()
    if why := case.lacks(fault):
        pytest.skip(why)
    monkeypatch.setattr(cgroup, "members", lambda _: set())
    recipe = fault.recipes(case.target)[0]
    assert isinstance(recipe, GroupRecipe)
    Path(recipe.group).mkdir()
    with pytest.raises(FaultError, match="control group"):
        case.run(fault)
    assert not Path(recipe.group).exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "cpu_quota", "quota_percent": 0},
        {"kind": "cpu_contention", "burners": 0},
        {"kind": "memory_limit", "headroom_mb": -1},
        {"kind": "file_descriptors", "spare": -1},
        {"kind": "thread_limit", "spare": -1},
    ],
)
def test_a_dose_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from_json(bad)
