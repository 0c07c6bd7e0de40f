"""The embedded target: up, down, up again; and every bad start says what went wrong and leaves nothing running."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import EnvironmentUnusable, TargetError
from harness.targets.base import ProcessIdentity, identify
from harness.targets.embedded import EmbeddedTarget

UNFIT = "tests.targets.unfit_server"


class Registry:
    """Takes the place of the ledger."""

    def __init__(self) -> None:
        self.started: list[ProcessIdentity] = []
        self.scratch: list[Path | None] = []
        self.released = 0

    def __call__(self, process: ProcessIdentity, what: str, scratch: Path | None) -> Callable[[], None]:
        self.started.append(process)
        self.scratch.append(scratch)
        return self._release

    def _release(self) -> None:
        self.released += 1


def test_up_used_restarted_and_down(tmp_path: Path) -> None:
    registry = Registry()
    target = EmbeddedTarget(tmp_path / "case", register=registry, data_dir=tmp_path / "data")
    with target:
        assert target.alive()
        assert target.capabilities.names >= {"memory", "chaos.ttl", "memory.delete", "admin.bindings"}
        assert not target.capabilities.reasons, "the embedded target supports everything"
        url, first = target.base_url, target.process
        with target.client() as client:
            client.remember("kept over a restart", memory_id="kept")
        target.restart(kill=True)
        assert target.base_url == url
        assert target.process != first
        with target.client() as client:
            assert (client.memory("kept") or {})["content"] == "kept over a restart"
        assert target.describe()["starts"] == 2
    assert not target.alive()
    assert not any(process.alive() for process in registry.started)
    assert registry.released == 2
    assert (tmp_path / "data").is_dir()
    target.stop()


def test_temporary_data_go_with_the_target(tmp_path: Path) -> None:
    registry = Registry()
    with EmbeddedTarget(tmp_path, register=registry) as target:
        scratch = registry.scratch[0]
        assert scratch is not None
        assert target.data_dir == scratch
    assert not scratch.exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("dies", r"exited with status 3 before it was ready; its log ends:\nno, thanks"),
        ("killed", "ended by signal 9"),
        ("silent", r"not ready after 0\.5 s: it wrote no port file"),
        ("deaf", r"not ready after 0\.5 s: cannot connect"),
        ("garbled", r"not ready after 0\.5 s: it wrote no port file"),
    ],
)
def test_a_bad_start_says_why_and_leaves_nothing(tmp_path: Path, how: str, said: str) -> None:
    registry = Registry()
    limit = 10.0 if how in ("dies", "killed") else 0.5
    target = EmbeddedTarget(tmp_path, server=("-m", UNFIT, how), start_timeout_s=limit, register=registry)
    with pytest.raises(TargetError, match=said):
        target.start()
    assert not registry.started[0].alive()
    assert registry.released == 1
    assert not registry.scratch[0] or not registry.scratch[0].exists()


def test_a_restart_that_is_given_up_leaves_it_down_and_the_next_brings_it_back(tmp_path: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    with EmbeddedTarget(tmp_path) as target:
        url = target.base_url
        with target.client() as client:
            client.remember("kept over a restart", memory_id="kept")
        with pytest.raises(TargetError, match="was given up"):
            target.restart(cancel=given_up)
        assert not target.alive()
        with pytest.raises(TargetError, match="was given up"):
            target.restart_with(config_text="[features]\nblended_recall = true\n", cancel=given_up)
        target.restart(cancel=threading.Event())
        assert target.base_url == url
        with target.client() as client:
            assert (client.memory("kept") or {})["content"] == "kept over a restart"


def test_a_bad_configuration_shows_the_end_of_the_log(tmp_path: Path) -> None:
    target = EmbeddedTarget(tmp_path, config_text="[consolidation]\nintervall = 3\n")
    with pytest.raises(TargetError, match="intervall"):
        target.start()


def test_a_busy_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentUnusable, match=f"port {port} cannot be used"):
            EmbeddedTarget(tmp_path, port=port).start()


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentUnusable, match="cannot prepare"):
        EmbeddedTarget(tmp_path / "file" / "case").start()


def test_the_server_does_not_start_before_it_is_registered(tmp_path: Path) -> None:
    witness = tmp_path / "log-at-registration"

    def register(process: ProcessIdentity, what: str, scratch: Path | None) -> Callable[[], None]:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        witness.write_bytes(command)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddedTarget(tmp_path, server=("-m", UNFIT, "dies"), register=register).start()
    assert b"os.read(0,1)" in witness.read_bytes()
    assert "no, thanks" not in (tmp_path / "target.log").read_text()


def test_a_pid_used_again_is_another_process() -> None:
    me = identify(1) or pytest.skip("no /proc")
    assert me.alive()
    assert not ProcessIdentity(me.pid, me.start_time + 1, me.boot).alive()
    assert not ProcessIdentity(me.pid, me.start_time, "another boot").alive()
    assert ProcessIdentity.from_json(me.as_json()) == me
