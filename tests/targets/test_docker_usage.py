"""What the engine says a container uses, and whose word a target's resources are: no word is no number."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import docker.errors
import psutil
import pytest
import requests

from harness.engram.metrics import parse_prometheus
from harness.errors import TargetError, TargetNotOwned
from harness.probes.soak import process_reading, target_reading
from harness.targets import docker_part
from harness.targets.base import Target, identify, this_process
from harness.targets.docker_part import Part, Recipe
from harness.targets.docker_usage import FRESH_S, UsageStream, read_usage

# Shapes of the engine's answers: control groups v2 (Docker 24), v1 (Docker 20.10), none (podman, rootless), ended.
V2 = {"memory_stats": {"usage": 9e7, "stats": {"anon": 5e7, "file": 4e7, "inactive_file": 1e7}}}
V1 = {"memory_stats": {"usage": 9e7, "stats": {"rss": 3e7, "total_rss": 5e7, "total_inactive_file": 1e7}}}
CPU = {"cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}}, "pids_stats": {"current": 4}}


@pytest.mark.parametrize("memory", [V2, V1], ids=["v2", "v1"])
def test_memory_is_what_nobody_could_drop_and_no_cached_pages(memory: dict[str, Any]) -> None:
    assert read_usage({**memory, **CPU}) == {"rss_bytes": 5e7, "cpu_s": 1.5, "threads": 4}


@pytest.mark.parametrize(
    "stats",
    [
        {},
        {"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "pids_stats": {}},
        {"memory_stats": {"usage": 9e7}, "cpu_stats": None, "pids_stats": {"current": None}},
        {"memory_stats": {"stats": {"anon": "much"}}},
    ],
    ids=["empty", "ended", "no groups", "nonsense"],
)
def test_what_is_not_told_is_left_out(stats: dict[str, Any]) -> None:
    assert read_usage(stats) == {}


class Engine:
    """The two answers of an engine that a part needs."""

    def __init__(self, stats: dict[str, Any] | Exception) -> None:
        self.api = self
        self.client = self
        self.id = "c0ffee"
        self.asked = 0
        self.over = threading.Event()
        self._stats = stats

    def inspect_container(self, name: str) -> dict[str, Any]:
        return {"State": {"StartedAt": "2026-01-05T20:00:00Z", "Pid": 41}}

    def stats(self, name: str, *, decode: bool) -> Iterator[dict[str, Any]]:
        self.asked += 1
        if isinstance(self._stats, Exception):
            raise self._stats
        yield self._stats
        self.over.wait(10.0)


def part_on(engine: Engine) -> Part:
    part = Part.__new__(Part)
    part.name, part.recipe, part._container = "engram-harness-1-engram", Recipe("image", "engram", 7432), engine
    part._usage = None
    return part


def test_a_part_follows_what_the_engine_reads() -> None:
    """One question, and then the readings as they come: each of its own would wait for the next, up to a second."""
    engine = Engine({**V2, **CPU})
    part = part_on(engine)
    found = [part.usage() for _ in range(3)]
    assert found[2]["rss_bytes"] == 5e7
    assert found[2]["identity"] == "c0ffee 2026-01-05T20:00:00Z"
    assert engine.asked == 1
    engine.over.set()


def test_a_reading_gets_old_and_the_engine_is_asked_again_where_it_hung_up() -> None:
    now, readings = [0.0], [[{**V2}], [], [{**V1, **CPU}]]
    stream = UsageStream(lambda: readings.pop(0), "it", patience_s=5.0, now=lambda: now[0])
    assert stream.latest()["rss_bytes"] == 5e7
    now[0] += FRESH_S + 1.0
    stream.join(5.0)
    with pytest.raises(TargetError, match="its readings have ended"):
        stream.latest()
    stream.join(5.0)
    assert stream.latest()["threads"] == 4


def test_an_engine_that_hangs_is_not_waited_for() -> None:
    over = threading.Event()

    def hangs() -> Iterator[dict[str, Any]]:
        over.wait(10.0)
        yield {}

    stream = UsageStream(hangs, "it", patience_s=0.05)
    with pytest.raises(TargetError, match=r"no answer in 0\.05 s"):
        stream.latest()
    over.set()
    stream.join(5.0)


@pytest.mark.parametrize("error", [docker.errors.APIError("gone"), requests.ReadTimeout("no answer")])
def test_an_engine_that_does_not_say_is_an_error_and_no_number(error: Exception) -> None:
    with pytest.raises(TargetError, match="does not say what engram-harness-1-engram uses"):
        part_on(Engine(error)).usage()


@pytest.mark.parametrize(
    ("tree", "sockets", "found"),
    [
        ({41, 42}, {42: {"7"}}, 42),
        ({41}, {}, 41),
        ({41, 42}, {}, None),  # of another user: which of them serves cannot be read
    ],
    ids=["the one that listens", "the only one", "a shell before it"],
)
def test_the_process_of_a_part_is_the_one_that_serves_or_none(
    tree: set[int], sockets: dict[int, set[str]], found: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory and faults of a shell that waits for the service would be neither's."""
    monkeypatch.setattr(docker_part, "_tree", lambda pid: tree)
    monkeypatch.setattr(docker_part, "_listening", lambda pid, port: {"7"})
    monkeypatch.setattr(docker_part, "_sockets", lambda pid: sockets.get(pid, set()))
    monkeypatch.setattr(docker_part, "identify", lambda pid: pid)
    part = part_on(Engine({}))
    monkeypatch.setattr(part, "_is_inside", lambda pid: True)
    assert part.process() == found


TOLD = parse_prometheus("process_resident_memory_bytes 7e7\nprocess_open_fds 12\nprocess_cpu_seconds_total 3\n")


def target_with(usage: dict[str, Any] | Exception | None) -> Target:
    """A target whose process cannot be seen from here."""
    target: Target = create_autospec(Target, instance=True)
    target.process = target.pid = None  # type: ignore[misc]
    target.usage = (lambda: usage) if not isinstance(usage, Exception) else _raising(usage)  # type: ignore[method-assign]
    return target


def _raising(error: Exception) -> Callable[[], dict[str, Any] | None]:
    def usage() -> dict[str, Any] | None:
        raise error

    return usage


def test_the_engine_stands_in_for_a_process_that_cannot_be_seen() -> None:
    found = target_reading(target_with({"identity": "c 1", "rss_bytes": 5e7, "cpu_s": 1.5}), TOLD)
    assert (found["source"], found["rss_bytes"], found["cpu_s"]) == ("engine", 5e7, 1.5)
    assert (found["fds"], found["identity"]) == (12, "c 1")
    assert "lacking" not in found


def test_what_nobody_tells_is_lacking_with_the_reason() -> None:
    blind = target_reading(target_with({"identity": "c 1", "threads": 4}))
    assert set(blind["lacking"]) == {"rss_bytes", "cpu_s", "fds"}
    assert "neither engine nor service tells" in blind["lacking"]["rss_bytes"]
    assert "source" not in blind
    told = target_reading(target_with({"identity": "c 1", "threads": 4}), TOLD)
    assert (told["source"], told["rss_bytes"]) == ("service", 7e7)


def test_another_witness_does_not_stand_in_for_one_that_is_silent_for_once() -> None:
    """They measure different things: the step between them would be growth."""
    found = target_reading(target_with(TargetError("the engine does not say")), TOLD)
    assert found == {"lacking": dict.fromkeys(("rss_bytes", "cpu_s", "fds"), "the engine does not say")}


def test_who_is_only_attached_is_taken_by_its_word() -> None:
    assert target_reading(target_with(None), TOLD)["source"] == "service"
    assert target_reading(target_with(None)) == {}


def test_a_process_that_can_be_seen_is_the_witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target: Target = create_autospec(Target, instance=True)
    target.process = this_process()  # type: ignore[misc]
    type(target).data_dir = property(lambda _: (_ for _ in ()).throw(TargetNotOwned("not ours")))  # type: ignore[assignment]
    found = target_reading(target, TOLD)
    assert found["source"] == "process"
    assert found["rss_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found["fds"] != 12
    assert found["identity"][0] == os.getpid()

    def refused(self: psutil.Process) -> int:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "num_fds", refused)
    assert "fds" not in process_reading(os.getpid(), tmp_path)
    assert target_reading(target, TOLD)["fds"] == 12, "the service tells what we may not count"
    assert target_reading(target)["lacking"] == {
        "fds": "the process belongs to another user, and the service does not tell"
    }


def test_a_process_that_is_gone_uses_nothing(tmp_path: Path) -> None:
    assert identify(2**22 + 1) is None
    assert process_reading(2**22 + 1, tmp_path) == {}
