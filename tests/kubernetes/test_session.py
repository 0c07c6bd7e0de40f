"""Whole drill sessions on a pod, as the rollout guide starts them; and what is left of one that is killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.docs.blocks import OPERATIONS, ROOT, blocks_of
from tests.drills.session import DrillRun, tiny_scenarios
from tests.kubernetes.conftest import World

RATE = 50  # a second: each request is a frame each way through a port-forward that is written in Python


def documented() -> list[str]:
    """The options of the guide's drill on a pod, on the namespace of our cluster and at the scale of seconds."""
    (block,) = (b for b in blocks_of(OPERATIONS[0]) if "--target kubernetes" in b.text)
    (words,) = block.commands()
    assert words[:2] == ["harness", "drill"]
    ours = {"engram": "staging", "staging/engram": "staging/staging"}
    given = [ours.get(word, word) for word in words[2:]]
    given[given.index("--profile") + 1] = "tiny"
    return given


def run_on_pod(folder: Path, *drills: str) -> DrillRun:
    profiles = tiny_scenarios(folder) / "profiles.toml"
    text = profiles.read_text()
    head, tiny = text.split("[profiles.tiny]")
    profiles.write_text(f"{head}[profiles.tiny]{re.sub(r'rate_ops_per_s = .*', f'rate_ops_per_s = {RATE}.0', tiny)}")
    aborts = profiles.with_name("abort.toml")
    text = aborts.read_text()
    assert "above = 20.0" in text
    aborts.write_text(text.replace("above = 20.0", "above = 1000000.0"))  # what a port-forward adds is no reason
    return DrillRun(folder, *drills, *documented(), "--retry-inconclusive", "0")


def features(world: World) -> dict[str, Any]:
    with world.engrams[-1].client() as client:
        return client.features()


def until(holds: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def open_journals(run: DrillRun) -> list[Path]:
    return list(run.state.glob("**/*.jsonl"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "there is no kubeconfig"),
        (("--kube-namespace", "production"), "staging/production is not on the list"),
    ],
)
def test_no_kubeconfig_and_a_place_not_allowed_end_a_session_that_began_nothing(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    nowhere = str(tmp_path / "no" / "config")
    words = ("drills/semantic_pathway", *documented(), *options, "--retry-inconclusive", "0")
    with DrillRun(tmp_path, *words, env={"KUBECONFIG": nowhere}) as run:
        assert run.wait(120.0) == 3, run.output
    assert said in " ".join(run.output.split())
    assert "Traceback" not in run.output
    for case in run.verdict()["cases"]:  # written whole, and saying so
        assert case["verdict"] == "ABORTED"
        assert said in " ".join(case["reasons"])
    assert not [line for path in run.session.glob("*/ledger.jsonl") for line in path.read_text().splitlines()]
    assert not open_journals(run)


def test_a_session_on_a_pod_is_judged_and_leaves_it_as_it_was(world: World, tmp_path: Path) -> None:
    before = features(world)
    with run_on_pod(tmp_path, "drills/semantic_pathway", "drills/process/test_crash.py") as run:
        run.wait(300.0)
        cases = run.verdict()["cases"]
        assert {case["fault"]["kind"] for case in cases} == {"semantic_latency", "process_crash"}
        for case in cases:
            found = {condition["name"]: condition["verdict"] for condition in case["conditions"]}
            assert (found["run"], found["fault"], found["heal"]) == ("PASS", "PASS", "PASS"), run.output
            assert case["verdict"] in ("PASS", "INCONCLUSIVE"), run.output  # two seconds through a port-forward
            assert case["acknowledged_memories"]["lost"] == 0
        manifest = json.loads((run.case() / "manifest.json").read_text())
        assert manifest["target"]["pod"].startswith("engram-canary-7d9-"), manifest["target"]
        assert not open_journals(run)
    deleted = [request for request in world.cluster.requests if request.method == "DELETE"]
    assert [request.body["preconditions"]["uid"] for request in deleted] == ["uid-1"]
    assert features(world) == before
    with world.engrams[-1].client() as client:
        assert not client.chaos_listing().active


@pytest.mark.parametrize(
    "guarded",
    [pytest.param(True, id="the guardian heals"), pytest.param(False, id="harness heal heals", marks=pytest.mark.long)],
)
def test_a_killed_session_is_healed_in_the_pod(world: World, tmp_path: Path, guarded: bool) -> None:
    before = features(world)
    with run_on_pod(tmp_path, "drills/semantic_pathway") as run:
        run.wait_for("· fault")
        assert features(world) != before, "the drill has set its flags"
        ours = psutil.Process(run.process.pid).children(recursive=True)
        tunnels = [p for p in ours if any("kubernetes_tunnel" in word for word in p.cmdline())]
        assert tunnels
        doomed = tunnels if guarded else ours
        run.process.kill()
        for process in [] if guarded else doomed:
            process.kill()
        run.wait()
        if not guarded:
            assert open_journals(run)
            healed = heal(run)
            assert healed.returncode == 0, healed.stdout + healed.stderr
            assert "healed:" in healed.stdout
        assert until(lambda: not open_journals(run))
        assert until(lambda: all(gone(tunnel) for tunnel in tunnels)), "a tunnel into the cluster stays open"
    assert features(world) == before
    with world.engrams[-1].client() as client:
        assert not client.chaos_listing().active


def heal(run: DrillRun) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", "heal"]
    environment = {**os.environ, "ENGRAM_STATE_DIR": str(run.state)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
