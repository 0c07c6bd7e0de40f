"""Whoever dies leaves nothing: the guardian takes it down, or else the next start; what others run is left alone."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker.errors
import pytest
import requests

from harness.errors import TargetError
from harness.faults import state
from harness.faults.guards import Guard
from harness.faults.healing import heal_all
from harness.targets import docker_reap
from harness.targets.base import ProcessIdentity, this_process
from harness.targets.docker import DockerTarget
from harness.targets.docker_engine import Images, engine
from harness.targets.docker_reap import (
    OWNER,
    PLACE,
    abandoned,
    genuine,
    labels,
    named_by,
    reap_abandoned,
    remove_environment,
)
from tests.faults.conftest import wait_for
from tests.targets.docker_here import left_of

ROOT = Path(__file__).resolve().parents[2]
_VICTIM = """
import json, sys, threading
from pathlib import Path
from harness.faults.ledger import Ledger
from harness.targets.docker import DockerTarget
from harness.targets.docker import DockerTarget
from harness.targets.docker_engine import Images
case, image, state, guarded = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "guarded"
case.mkdir(parents=True)
with Ledger(case / "ledger.jsonl", state_dir=state, guard=guarded) as ledger:
    target = DockerTarget(case, Images(image, is_reference=True), register=ledger.register_environment)
    target.start()
    print(json.dumps([target.describe()["environment"], str(target.data_dir)]), flush=True)
    threading.Event().wait(60)
"""


class Victim:
    """A harness with an environment, to be killed."""

    def __init__(self, folder: Path, images: Images, how: str) -> None:
        self.state = state.prepare(folder / "state")
        command = [sys.executable, "-c", _VICTIM, str(folder / "case"), images.engram, str(self.state), how]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.environment, data = json.loads(self.process.stdout.readline())
        self.scratch = Path(data).parent

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.docker
def test_the_guardian_takes_a_killed_harness_environment_down(images: Images, tmp_path: Path) -> None:
    victim = Victim(tmp_path, images, "guarded")
    assert left_of(victim.environment)
    victim.kill()
    wait_for("taken down", lambda: not left_of(victim.environment) and not victim.scratch.exists(), 20.0)
    wait_for("the journal is closed", lambda: not state.journals(victim.state))


@pytest.mark.docker
def test_without_a_guardian_the_next_start_does_and_heal_removes_the_rest(images: Images, tmp_path: Path) -> None:
    victim = Victim(tmp_path, images, "alone")
    with engine() as client:
        assert not any(victim.environment in name for name in reap_abandoned(client).removed), "its owner lives"
    victim.kill()
    with engine() as client:
        reaped = reap_abandoned(client)
    assert len([name for name in reaped.removed if victim.environment in name]) == 2, "a container and a network"
    assert left_of(victim.environment) == []
    report = heal_all(victim.state)
    assert report.clean
    assert report.healed == [f"docker environment {victim.environment}"]
    assert not victim.scratch.exists()


@pytest.mark.docker
def test_what_only_has_our_labels_is_left_alone(images: Images) -> None:
    """As of a container that is run from an image which was committed from one of ours."""
    environment, me = f"{os.getpid()}-{secrets.token_hex(4)}", this_process()
    dead = labels(environment) | {OWNER: f"{me.pid}:{me.start_time - 1}:{me.boot}"}
    with engine() as client:
        made = {
            name: client.api.create_container(images.engram, name=name, labels=dead)["Id"]
            for name in (f"spoofed-{environment}", named_by(environment, "engram"))
        }
        spoofed, ours = made
        try:
            reaped = reap_abandoned(client)
            assert f"container {ours}" in reaped.removed
            assert f"container {spoofed}" in reaped.foreign
            assert left_of(environment) == [str([f"/{spoofed}"])]
            assert docker_reap.main([environment]) == 0, "what is not ours is no problem of ours"
            assert left_of(environment) == [str([f"/{spoofed}"])]
        finally:
            for one in made.values():
                with suppress(docker.errors.NotFound):
                    client.api.remove_container(one, force=True)


@pytest.mark.docker
def test_a_fault_goes_only_into_the_container_that_was_started(images: Images, tmp_path: Path) -> None:
    with DockerTarget(tmp_path, replace(images, prometheus=None)) as target:
        guard = Guard()
        guard.check(target)
        name = target.describe()["containers"]["engram"]["container"]
        target.restart(kill=True)
        guard.check(target)  # another container, and of our making
        with engine() as client:
            client.api.restart(name, timeout=0)
            with pytest.raises(TargetError, match="was started again by somebody else"):
                guard.check(target)
            client.api.remove_container(name, force=True)
            impostor = client.api.create_container(images.engram, name=name, labels=labels("another"))
            try:
                with pytest.raises(TargetError, match=f"the container {name} is gone"):
                    guard.check(target)
            finally:
                client.api.remove_container(impostor["Id"], force=True)


def test_labels_count_with_the_name_that_goes_with_them() -> None:
    mine = labels("1-abc")
    assert all(genuine(name, mine) for name in ("engram-harness-1-abc", "engram-harness-1-abc-engram"))
    assert not any(genuine(name, mine) for name in ("nice_name", "engram-harness-1-abcd", "engram-harness-2-x-engram"))
    assert not genuine("engram-harness--engram", {})


def test_only_what_is_surely_dead_is_taken_for_abandoned() -> None:
    mine, me = labels("one"), this_process()
    dead = f"{me.pid}:{me.start_time - 1}:{me.boot}"
    assert not abandoned(mine), "we live"
    assert abandoned({**mine, OWNER: dead})
    assert abandoned({**mine, OWNER: f"{me.pid}:{me.start_time}:an earlier boot"})
    assert not abandoned({**mine, OWNER: dead, PLACE: "another machine:4026531836:0"})
    assert not abandoned({OWNER: dead}), "of a pid without its place nothing is known"
    assert not abandoned({**mine, OWNER: "nonsense"})
    assert not abandoned({})
    assert ProcessIdentity(me.pid, me.start_time, me.boot).alive()


def test_a_removal_that_does_not_work_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code = docker_reap.main(["no-such", "--engine", "unix:///no/such/engine.sock"])
    assert code == 3
    assert "unix:///no/such/engine.sock: no Docker engine answers" in capsys.readouterr().err
    assert "DOCKER_HOST" not in os.environ or os.environ["DOCKER_HOST"] != "unix:///no/such/engine.sock"


LEFT = named_by("one", "left")


class Engine:
    """An engine that has one container, goes away or refuses when it is asked to remove it."""

    def __init__(self, *, gone: bool = False, refusal: Exception | None = None) -> None:
        self.api = self
        self._gone = gone
        self._refusal = refusal

    def containers(self, **_: object) -> list[dict[str, object]]:
        if self._gone:
            raise requests.ConnectionError("the socket is closed")
        return [{"Names": [f"/{LEFT}"], "Labels": labels("one"), "Id": "1"}]

    def networks(self, **_: object) -> list[dict[str, object]]:
        return []

    def volumes(self, **_: object) -> dict[str, object]:
        return {"Volumes": None}

    def remove_container(self, handle: str, **_: object) -> None:
        if self._refusal is not None:
            raise self._refusal

    def remove_network(self, handle: str) -> None:
        """There is none."""

    def remove_volume(self, handle: str) -> None:
        """There is none."""


def test_an_engine_that_goes_away_is_a_problem_and_no_crash() -> None:
    assert remove_environment(Engine(), "one").removed == [f"container {LEFT}"]
    assert remove_environment(Engine(), "another").removed == []
    gone = remove_environment(Engine(gone=True), "one")
    assert gone.removed == []
    assert gone.problems == ["containers cannot be listed: the socket is closed"]
    assert remove_environment(Engine(refusal=docker.errors.NotFound("no such container")), "one").problems == []
    refused = remove_environment(Engine(refusal=requests.ReadTimeout("no answer")), "one")
    assert refused.problems == [f"container {LEFT}: no answer"]
