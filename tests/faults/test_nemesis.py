"""Schedules: the same to the byte for a seed, never beyond the blast radius, and shown before anything is done."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.faults.nemesis import Draws, Plan, dry_run, load_plan, schedule_bytes
from tests.faults.conftest import ROOT

PLANS = sorted((ROOT / "scenarios" / "faults").glob("*.toml"))
# Of seed 0xDEADBEEF over 60 s. A change here changes what every recorded seed replays to.
GOLDEN = {
    "crashes": "6e687f33923d5f30a8165ef3fa54082b537a591817248f23ddb3d5249cf78db0",
    "dual_memory": "46458dd02e05899de5b996fddc897b8873b96120cb7620b685755e982d109db1",
}


def plan(name: str) -> Plan:
    return load_plan(ROOT / "scenarios" / "faults" / f"{name}.toml")


def digest(name: str, seed: int = 0xDEADBEEF) -> str:
    return hashlib.sha256(schedule_bytes(plan(name).schedule(seed, 60_000))).hexdigest()


def test_every_plan_is_pinned() -> None:
    assert {path.stem for path in PLANS} == set(GOLDEN)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_seed_gives_the_same_bytes(name: str) -> None:
    assert digest(name) == GOLDEN[name]
    assert digest(name, 1) != digest(name, 2)


def test_hash_order_and_interpreter_flags_change_nothing() -> None:
    code = "from tests.faults.test_nemesis import digest; print(digest('dual_memory'))"
    for hash_seed in ("0", "12345"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-O", "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == GOLDEN["dual_memory"], done.stderr


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_no_schedule_leaves_the_blast_radius(path: Path) -> None:
    one = load_plan(path)
    for seed in range(200):
        steps = one.schedule(seed, 30_000)
        instants = sorted({step.at_ms for step in steps} | {int(step.end_ms) for step in steps})
        in_force = [sum(step.at_ms <= t <= step.end_ms for step in steps) for t in instants]
        assert max(in_force) <= one.max_concurrent
        assert len(steps) <= one.max_faults
        assert all(step.end_ms <= 30_000 for step in steps)
        covered = sum(any(s.at_ms <= t < s.end_ms for s in steps) for t in range(0, 30_000, 10)) * 10
        assert covered <= 30_000 * one.max_fault_permille / 1000 + 10 * len(steps)


def test_every_kind_is_drawn_by_its_weight() -> None:
    one = plan("dual_memory")
    kinds = [step.fault.kind for seed in range(300) for step in one.schedule(seed, 30_000)]
    assert set(kinds) == {kind.kind for kind in one.kinds}
    assert kinds.count("semantic_latency") > kinds.count("binding_corruption")


def test_draws_are_even() -> None:
    draws = Draws(1, "evenness")
    counts = [0] * 7
    for _ in range(7000):
        counts[draws.below(7)] += 1
    assert all(880 <= count <= 1120 for count in counts), counts
    assert {draws.between(3, 4) for _ in range(50)} == {3, 4}


def test_no_room_for_a_fault_is_said() -> None:
    with pytest.raises(UsageError, match="no room"):
        plan("crashes").schedule(1, 1000)


def test_a_dry_run_says_what_would_happen_to_what() -> None:
    steps = plan("dual_memory").schedule(0xDEADBEEF, 20_000)
    lines = dry_run(steps, "http://there:1", {"chaos.binding_index": "404 on the route"})
    assert len(lines) == len(steps)
    assert all("http://there:1" in line for line in lines)
    corrupted = [line for line in lines if "corrupted" in line]
    assert corrupted
    assert all("cannot: chaos.binding_index: 404 on the route" in line for line in corrupted)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('kind = "semantic_latency"', 'kind = "earthquake"', "earthquake"),
        ("hold_ms = [1000, 4000]", "hold_ms = [4000, 1000]", "least, most"),
        ("latency_ms = [50.0, 200.0]", "latency_ms = [50.0, -1.0]", "latency_ms"),
        ("fail_rate", "fail_ratio", "fail_ratio"),
        ("max_concurrent = 2", "max_concurrent = 0", "max_concurrent"),
        ("[quiet_ms]", "[quiet]", "quiet"),
    ],
)
def test_a_bad_plan_is_refused_by_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (ROOT / "scenarios" / "faults" / "dual_memory.toml").read_text()
    assert old in text
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=says):
        load_plan(bad)
