"""A write that timed out before the soak looked may be applied later: what it shows then is allowed, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.clock import SystemClock
from harness.engram.client import EngramClient
from harness.judge.soak_durability import Pair, ReadBackTally, known_since
from harness.load import LoadPlan, LoadSupervisor
from harness.load.recording import RequestWriter
from harness.model import Flag, Op, Outcome
from harness.soak.plan import SoakPlan
from harness.soak.readback import ReadBack, Row, SampleWindows
from harness.timeline.samples import DTYPE, Samples, read_all_samples, read_samples
from tests.load.servers import Peer, RawServer, answer, small_workload, until

ITEMS = 10
_STORED = re.compile(rb"m-(\d{5}) v(\d+) s0 ")
_NOTHING = answer(b'{"memories":{"vivid":[],"associated":[],"reconstructed":[]},"metadata":{}}')


class Service:
    """Stores at once, or takes a write and keeps silent about it: it may be applied at any later time."""

    def __init__(self) -> None:
        self.silent = False
        self.shown: dict[int, int] = {}
        self.withheld: dict[int, int] = {}

    def serve(self, peer: Peer) -> None:
        while request := peer.request():
            stored = _STORED.search(request)
            if stored is None or not request.startswith(b"POST"):
                peer.send(_NOTHING)
                continue
            item, version = int(stored[1]), int(stored[2])
            if self.silent:
                self.withheld[item] = version
                continue
            self.shown[item] = version
            peer.send(answer(b'{"memory_id":"m-%05d"}' % item, b"201 Created"))


class Showing:
    """A client that is shown what it is told to be."""

    def __init__(self, versions: dict[int, int]) -> None:
        self._versions = versions

    def memory(self, memory_id: str, space: str | None = None) -> dict[str, Any]:
        item = int(memory_id.removeprefix("m-"))
        return {"content": f"m-{item:05d} v{self._versions[item]} s0 text"}


def _plan(final_window_s: float = 1.0) -> SoakPlan:
    record = SimpleNamespace(read_back_every_s=0.0, read_back_window_s=0.0, read_back_sample=ITEMS)
    scenario = SimpleNamespace(record=record)
    real = lambda seconds, _least=0.0: seconds  # noqa: E731
    return cast(SoakPlan, SimpleNamespace(scenario=scenario, real=real, final_window_s=final_window_s))


def _reader(versions: dict[int, int], rows: list[Row]) -> ReadBack:
    return ReadBack(cast(EngramClient, Showing(versions)), 1, rows.append, 1)


def _tally(rows: list[Row]) -> ReadBackTally:
    tally = ReadBackTally()
    for row in rows:
        tally.add(row, 1.0)
    return tally


def test_a_write_that_timed_out_before_the_window_may_be_applied_after_it(tmp_path: Path) -> None:
    service, clock = Service(), SystemClock()
    workload = small_workload(200.0, items=ITEMS, timeout_ms=300.0)
    late: dict[int, int] = {}
    with RawServer(service.serve) as server:
        plan = LoadPlan(workload, server.url, 7, tmp_path / "samples", 60.0)
        with LoadSupervisor(plan) as load:
            load.preload()
            load.keep_samples(False)
            begun = load.start()
            assert until(lambda: set(service.shown.values()) != {1} and len(service.shown) == ITEMS)
            service.silent = True
            assert until(lambda: load.live().errors.get(Outcome.TIMEOUT, 0) >= 5)
            service.silent = False
            acknowledged = dict(service.shown)
            rows: list[Row] = []
            windows = SampleWindows(_plan(), load, plan.folder, _reader(late, rows), begun, clock)
            windows.look(clock.now(), 60.0, clock.now)
            assert until(lambda: all(service.shown[item] > version for item, version in service.withheld.items()))
            late.update(service.shown | service.withheld)  # each memory shows the write that timed out
            windows.look(clock.now(), 60.0, clock.now)
            load.keep_samples(True)
            known = known_since(read_all_samples(plan.folder), 0.0)
            load.stop()
    found = _tally(rows)
    assert found.checked >= 3
    assert any(row["seen_version"] < row["acked"] for row in rows), "none of them was overtaken"
    assert (found.bad, found.unreachable) == (0, 0), found.examples
    # The same memories with what was acknowledged before the silence: those are lost writes.
    again: list[Row] = []
    _reader(acknowledged, again).sample(known, ITEMS, clock.now)
    assert _tally(again).stale >= 3


def _stores(*rows: tuple[int, float, float, Outcome]) -> Samples:
    found: Samples = np.zeros(len(rows), dtype=DTYPE)
    found["op"], found["item"] = int(Op.STORE), 7
    for place, (version, sent, done, outcome) in enumerate(rows):
        found[place]["version"], found[place]["sent"], found[place]["done"] = version, sent, done
        found[place]["outcome"] = int(outcome)
    found["flags"][found["version"] == 1] = int(Flag.PRELOAD)
    return found


def _classes(samples: Samples, *seen: int, since: float, **options: Any) -> list[str]:
    """What each version is called when the memory is shown with it."""
    known = known_since(samples, since, **options)
    found = []
    for version in seen:
        rows: list[Row] = []
        _reader({7: version}, rows)._read((0, 7), known[(0, 7)], "final", 0.0)
        tally = _tally(rows)
        found.append("stale" if tally.stale else "corrupted" if tally.corrupted else "")
    return found


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        ((5, 50.0, 51.0, Outcome.TIMEOUT), ""),
        ((5, 50.0, 50.1, Outcome.RESET), ""),
        ((5, 50.0, 50.1, Outcome.HTTP_5XX), ""),
        ((5, 99.0, 104.0, Outcome.OK), ""),  # under way when the window began, and longer than the write after it
        ((5, 99.0, 100.5, Outcome.OK), "stale"),  # acknowledged before the last one was sent: that one is lost
    ],
)
def test_what_a_write_from_before_the_window_explains(before: tuple[int, float, float, Outcome], seen: str) -> None:
    preload, last = (1, 1.0, 1.1, Outcome.OK), (9, 103.0, 103.1, Outcome.OK)
    samples = _stores(preload, before, last)
    assert _classes(samples, 5, 9, 4, 1, since=100.0, preload=True) == [seen, "", "stale", "stale"]


def test_where_writes_were_forgotten_nothing_up_to_them_is_stale() -> None:
    samples = _stores((5, 50.0, 51.0, Outcome.TIMEOUT), (9, 103.0, 103.1, Outcome.OK))
    assert _classes(samples, 3, 4, 5, 6, since=100.0, unsure=3) == ["", "stale", "", "stale"]


def test_what_is_held_of_unknown_writes_has_a_bound_and_says_what_it_forgot(tmp_path: Path) -> None:
    path = tmp_path / "requests-00.bin"
    writer = RequestWriter(path, most=2)
    fields = [0.0] * 3 + [0] * (len(DTYPE.names or ()) - 3)
    writer.keep(False)
    for version in (4, 5, 6, 7):
        writer.append(*fields[:-1], version)  # dropped: samples are not kept
        writer.hold(*fields[:-1], version)
    assert writer.forgotten == 5
    writer.keep(True)
    writer.keep(False)
    writer.keep(True)
    writer.close()
    assert read_samples(path)["version"].tolist() == [6, 7]  # once each


def test_a_write_in_flight_when_the_window_ends_is_known_of(tmp_path: Path) -> None:
    service = Service()
    workload = small_workload(200.0, items=ITEMS, timeout_ms=5000.0)
    with RawServer(service.serve) as server:
        plan = LoadPlan(workload, server.url, 7, tmp_path / "samples", 60.0)
        with LoadSupervisor(plan) as load:
            load.preload()
            load.start()
            service.silent = True
            assert until(lambda: len(service.withheld) >= 3)
            sent: set[Pair] = {(item, version) for item, version in service.withheld.items()}
            load.keep_samples(False)
            samples = read_all_samples(plan.folder)
            load.kill()
    cancelled = samples[samples["outcome"] == int(Outcome.CANCELLED)]
    assert sent <= set(zip(cancelled["item"].tolist(), cancelled["version"].tolist(), strict=True))
