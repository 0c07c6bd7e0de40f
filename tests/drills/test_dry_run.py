"""``--dry-run`` says what would be done to what, and does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.faults import capability
from harness.faults.composition import Composition, Step
from harness.faults.cpu_quota import CpuQuota
from harness.faults.dry_run import would_be_done
from harness.faults.network_latency import NetworkLatency
from harness.faults.semantic_latency import SemanticLatency
from harness.targets.attached import AttachedTarget
from tests.drills.session import DrillRun
from tests.engram.stub import Stub, always, http

FAULT = SemanticLatency(50.0)


def test_drills_are_said_and_not_run(tmp_path: Path) -> None:
    with DrillRun(tmp_path, "drills/semantic_pathway", "--dry-run") as run:
        assert run.wait() == 0, run.output
    assert "slow_semantic_pathway_falls_back_to_episodic-50ms-75pct: semantic pathway 50 ms slower" in run.output
    assert "on a fresh embedded Engram; Drill at 400/s, 2 s before the fault, 2 s in force" in run.output
    assert "1 skipped" in run.output
    assert list(run.results.iterdir()) == []
    assert not run.state.exists(), "no lock, no journal, nothing healed"


def test_drills_that_are_only_collected_leave_nothing(tmp_path: Path) -> None:
    with DrillRun(tmp_path, "drills/semantic_pathway", "--collect-only", "-q") as run:
        assert run.wait() == 0, run.output
    assert "test_slow_semantic_pathway_falls_back_to_episodic" in run.output
    assert list(run.results.iterdir()) == []
    assert not run.state.exists(), "no lock, no journal, nothing healed"


def test_what_is_lacking_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    capability._host.cache_clear()
    monkeypatch.setitem(capability._PROBES, "host.cgroup_cpu", lambda: "no such thing here")
    try:
        said = would_be_done("x", CpuQuota(10.0), "load", CpuQuota.requires, "a fresh embedded Engram")
    finally:
        capability._host.cache_clear()
    assert said.splitlines()[-1] == "  cannot: host.cgroup_cpu: no such thing here"


def test_a_running_target_is_asked_what_it_can() -> None:
    with Stub(always(http(404))) as stub:
        said = would_be_done("x", FAULT, "load", FAULT.requires, AttachedTarget(stub.url, claimed=False))
    assert "cannot: the target is not claimed (--i-own-this-target)" in said
    assert "cannot: chaos.semantic_pathway: " in said


def test_of_a_composition_every_part_has_its_time() -> None:
    composed = Composition("two", (Step(FAULT, 0, 2000), Step(NetworkLatency(40.0), 1000, 500)))
    said = would_be_done("x", composed, "load", composed.requires, "a fresh embedded Engram")
    assert "1.000 s  until 1.500 s" in said
    assert "started for it with: proxy" in said
