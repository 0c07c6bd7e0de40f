"""The Docker target: everything up side by side, used, started again, gone; two at a time see nothing of each other."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.errors import PortTaken, TargetError, TargetNotOwned, UsageError
from harness.faults import disk_shim
from harness.targets.docker import DockerTarget
from harness.targets.docker_engine import Images
from tests.faults.conftest import wait_for
from tests.targets.docker_here import inspected, left_of

pytestmark = pytest.mark.docker
CONFIG = "[consolidation]\ninterval_seconds = 0.2\n"


class Registry:
    """Takes the place of the ledger."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []
        self.scratch: list[Path | None] = []
        self.released = 0

    def __call__(self, what: str, command: Sequence[str], scratch: Path | None) -> Callable[[], None]:
        self.commands.append(command)
        self.scratch.append(scratch)
        return self._release

    def _release(self) -> None:
        self.released += 1


def without_prometheus(images: Images) -> Images:
    return replace(images, prometheus=None)


def ask(url: str, query: str) -> list[Any]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False).json()
    return list(answer["data"]["result"])


def test_up_used_started_again_and_gone(images: Images, tmp_path: Path) -> None:
    registry = Registry()
    target = DockerTarget(tmp_path / "case", images, config_text=CONFIG, register=registry)
    with target:
        described = target.describe()
        assert target.alive()
        assert target.capabilities.names >= {"memory", "chaos.ttl", "restart", "process", "data_dir", "prometheus"}
        assert "disk_shim" not in target.capabilities
        assert described["absent"] == {"grafana": "left out ($ENGRAM_GRAFANA_IMAGE is none)"}
        assert described["containers"]["engram"]["image"] == images.engram
        for part in described["containers"].values():
            with inspected(part["container"]) as said:
                published = [place for places in said["NetworkSettings"]["Ports"].values() for place in places or []]
                assert {place["HostIp"] for place in published} == {"127.0.0.1"}
        url, first, prometheus = target.base_url, target.process, target.prometheus_url
        assert first is not None
        assert b"harness.reference" in Path(f"/proc/{first.pid}/cmdline").read_bytes()
        assert prometheus is not None
        wait_for("scraped", lambda: any(row["value"][1] == "1" for row in ask(prometheus, 'up{job="engram"}')))
        with target.client() as client:
            client.remember("kept over a restart", memory_id="kept")
        assert first.send(signal.SIGKILL)
        wait_for("dead", lambda: not target.alive())
        target.restart(kill=True)
        assert (target.base_url, target.prometheus_url) == (url, prometheus)
        assert target.process != first
        with target.client() as client:
            assert (client.memory("kept") or {})["content"] == "kept over a restart"
        assert (tmp_path / "case" / "target.log").read_text().count("ready on") == 2
    assert not target.alive()
    assert left_of(described["environment"]) == []
    assert registry.released == 1
    scratch = registry.scratch[0]
    assert scratch is not None
    assert not scratch.exists()
    assert "ready" in (tmp_path / "case" / "prometheus.log").read_text()
    target.stop()


def test_a_bad_configuration_is_refused_and_the_own_one_starts_again(images: Images, tmp_path: Path) -> None:
    with DockerTarget(tmp_path, without_prometheus(images), config_text=CONFIG) as target:
        with pytest.raises(TargetError, match="exited with status 3 before it was ready"):
            target.restart_with(config_text="[features\n")
        assert not target.alive()
        assert "/config/engram.toml:1" in target.log_tail(1)
        target.restart()
        assert target.alive()
        target.restart_with(env={"ENGRAM_BLENDED_RECALL": "true"})
        assert target.describe()["starts"] == 3


def test_a_restart_that_is_given_up_leaves_it_down_and_the_next_brings_it_back(images: Images, tmp_path: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    with DockerTarget(tmp_path / "case", without_prometheus(images), register=Registry()) as target:
        url = target.base_url
        with pytest.raises(TargetError, match="its start was given up"):
            target.restart(kill=True, cancel=given_up)
        assert not target.alive()
        target.restart(kill=True)
        assert target.base_url == url
        assert target.alive()


def test_the_disk_shim_stands_before_the_containers_files(images: Images, tmp_path: Path) -> None:
    with DockerTarget(tmp_path, without_prometheus(images), disk_shim=True) as target:
        assert "disk_shim" in target.capabilities
        with target.client() as client:
            client.remember("synced", memory_id="one")
            account = disk_shim.synced_file(target.disk_shim)
            assert str(target.data_dir) in account.read_text(), "files are named as they are here"
            disk_shim.order(target.disk_shim, mode=disk_shim.READ_ONLY)
            with pytest.raises(TargetError):
                client.remember("refused", memory_id="two")


def test_two_at_a_time_see_nothing_of_each_other(images: Images, tmp_path: Path) -> None:
    bare = without_prometheus(images)
    targets = [DockerTarget(tmp_path / name, bare) for name in ("one", "two")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda target: target.start(), targets))
    try:
        one, two = targets
        with one.client() as client:
            client.remember("mine alone", memory_id="mine")
        with two.client() as client:
            assert client.memory("mine") is None
        assert one.base_url != two.base_url
        one.stop()
        assert two.alive()
    finally:
        for target in targets:
            target.stop()


def test_another_image_is_started_as_the_runbook_starts_it(images: Images, tmp_path: Path) -> None:
    """With its own command, configuration at /config/engram.toml and a volume at /data."""
    foreign = Images(images.engram, is_reference=False)
    target = DockerTarget(tmp_path, foreign, config_text="[features]\nblended_recall = true\n")
    with target:
        environment = target.describe()["environment"]
        with inspected(f"engram-harness-{environment}-engram") as said:
            mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in said["Mounts"]}
        assert mounts == {"/config/engram.toml": ("bind", False), "/data": ("volume", True)}
        with target.client() as client:
            assert client.features()["blended_recall"] is True
            client.remember("kept in the volume", memory_id="kept")
        with pytest.raises(TargetNotOwned):
            _ = target.data_dir
        assert "not known" in target.capabilities.reasons["data_dir"]
        assert "prometheus" in target.capabilities.reasons
        target.restart()
        with target.client() as client:
            assert client.memory("kept") is not None
    assert left_of(environment) == []
    with pytest.raises(UsageError, match="reference Engram only"):
        DockerTarget(tmp_path, foreign, defects=("error_rate",))


def test_a_key_is_asked_for_and_prometheus_has_it(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", "s3cr3t")
    with DockerTarget(tmp_path / "case", images) as target:
        assert httpx.get(f"{target.base_url}/health", trust_env=False).status_code == 401
        prometheus = target.prometheus_url
        assert prometheus is not None
        wait_for("scraped", lambda: any(row["value"][1] == "1" for row in ask(prometheus, 'up{job="engram"}')))
        assert "s3cr3t" not in str(target.describe())
    kept = [path for path in (tmp_path / "case").rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert kept == []


class Names(Registry):
    """Remembers the environments' names."""

    @property
    def names(self) -> list[str]:
        return [command[3] for command in self.commands]


class Interrupted(Names):
    """Ctrl-C soon after the first start has begun."""

    def __call__(self, what: str, command: Sequence[str], scratch: Path | None) -> Callable[[], None]:
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        return super().__call__(what, command, scratch)


@pytest.mark.parametrize(
    ("config", "image", "said"),
    [
        ("[features\n", "engram", r"engram exited with status 3 before it was ready; its log ends:\n.*engram\.toml:1"),
        (None, "prometheus", r"engram is not ready after 1 s: .*; its log ends:\n"),
    ],
    ids=["dies", "never ready"],
)
def test_a_bad_start_says_why_and_leaves_nothing(
    images: Images, tmp_path: Path, config: str | None, image: str, said: str
) -> None:
    foreign = Images(getattr(images, image), is_reference=False)
    registry = Names()
    target = DockerTarget(tmp_path, foreign, config_text=config, start_timeout_s=1.0, register=registry)
    if image == "engram":
        target = DockerTarget(tmp_path, foreign, config_text=config, register=registry)
    with pytest.raises(TargetError, match=said):
        target.start()
    assert left_of(registry.names[0]) == []
    assert registry.released == 1
    assert not target.alive()


def test_a_taken_port_is_refused(images: Images, tmp_path: Path) -> None:
    registry = Names()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        target = DockerTarget(tmp_path, without_prometheus(images), port=port, register=registry)
        with pytest.raises(PortTaken, match=f"port {port} cannot be used"):
            target.start()
    assert left_of(registry.names[0]) == []


def test_ctrl_c_in_the_middle_of_a_start_leaves_nothing(images: Images, tmp_path: Path) -> None:
    """The part that never gets ready is not waited for."""
    registry = Interrupted()
    foreign = Images(str(images.prometheus), is_reference=False, prometheus=images.prometheus)
    target = DockerTarget(tmp_path, foreign, start_timeout_s=60.0, register=registry)
    with pytest.raises(KeyboardInterrupt):
        target.start()
    assert left_of(registry.names[0]) == []
    assert registry.released == 1
