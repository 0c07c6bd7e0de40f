"""The supervisor and its processes, end to end against a stub: what is sent, recorded, told, and survived."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.errors import LoadError, RecordError
from harness.load import LoadPlan, LoadSummary, LoadSupervisor
from harness.load.arrivals import Arrivals
from harness.load.live import LIVE_BYTES
from harness.load.recording import SampleWriter
from harness.load.truth import ASKED
from harness.model import Flag, Op, Outcome
from harness.scenario.workload import Workload
from harness.timeline.answers import read_answers
from harness.timeline.jsonl import read_json, read_lines
from harness.timeline.samples import Samples, read_all_samples
from tests.load.servers import Peer, RawServer, always, answer, small_workload, stub, until

SECRET = "a-key-nobody-must-see"


@pytest.fixture(scope="module")
def engram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with stub(tmp_path_factory.mktemp("stub")) as (url, _):
        yield url


def _plan(url: str, folder: Path, workload: Workload | None = None, *, processes: int = 1) -> LoadPlan:
    return LoadPlan(workload or small_workload(), url, 7, folder / "samples", 60.0, processes=processes)


def _load_only(samples: Samples) -> Samples:
    loaded: Samples = samples[(samples["flags"] & Flag.PRELOAD) == 0]
    return loaded


def _let_run(load: LoadSupervisor, requests: int) -> None:
    assert until(lambda: load.live().completed >= requests), load.live()


def _may_show(space: int, item: int, preloaded: Samples, stores: Samples) -> set[int]:
    """The versions a memory may hold at the end: those that no later store was begun after they were acknowledged."""
    writes = np.concatenate([preloaded, stores])
    mine = writes[(writes["space"] == space) & (writes["item"] == item)]
    return {int(w["version"]) for w in mine if not (mine["sent"] > w["done"]).any()}


def test_importing_the_supervisor_side_imports_neither_locust_nor_gevent() -> None:
    text = (
        "import sys, harness.load, harness.load.verify, harness.load.payload, harness.load.answers;"
        "print(sorted({'locust', 'gevent', 'geventhttpclient'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_load_from_launch_to_read_back(
    engram: str, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", SECRET)
    workload = small_workload(spaces=2)
    plan = _plan(engram, tmp_path, workload, processes=processes)
    with LoadSupervisor(plan) as load:
        load.preload()
        assert load.live().completed == 0
        t0 = load.start()
        _let_run(load, 120)
        load.check_alive()
        live = load.live()
        assert load.live().offered >= live.completed  # offered by now: the counts are read after the clock
        assert live.errors == {}
        assert live.p_ms(50) > 0
        assert load.recent(0.5).completed <= load.live().completed
        live_files = list(plan.folder.glob("live-*.map"))
        assert [path.stat().st_size for path in live_files] == [LIVE_BYTES] * processes
        summary = load.stop()
        assert load.stop() is summary
        verified = load.verify(deadline_s=20.0)

    preloaded, sent = _check_samples(plan, t0, summary)
    assert summary.sent == summary.completed == summary.due
    assert summary.unsent == 0
    stores = sent[sent["op"] == Op.STORE]
    told = read_json(plan.folder / "load.json")
    assert told["due"] == summary.due
    assert told["outcomes"]["store"] == {"ok": len(stores)}
    assert told["schedule_sha256"] == Arrivals(7, workload).digest(summary.due)
    assert told["latency_ms"]["all"]["count"] == summary.due
    waited_ms = (sent["done"] - sent["intended"]) * 1000
    middle = np.percentile(waited_ms, 50, method="inverted_cdf")
    assert told["latency_ms"]["all"]["p50"] == pytest.approx(middle, rel=0.01, abs=0.001)
    assert not list(plan.folder.glob("live-*.map"))

    answers = read_answers(plan.folder)
    asked = sent[np.isin(sent["op"], [Op.RECALL, Op.EMBEDDING_SEARCH]) & np.isin(sent["cue"], ASKED)]
    asked = asked[asked["outcome"] == Outcome.OK]
    assert len(asked) > 10
    assert answers["sequence"].tolist() == sorted(asked["sequence"].tolist())  # small enough to be a panel as a whole
    assert np.allclose(answers["confidence"], 0.9)  # as the stub says of every answer

    lines = list(read_lines(plan.folder / "verify.jsonl"))
    assert len(lines) == verified.asked == verified.found == 160
    assert {line["by"] for line in lines} == {"id", "embedding"}
    for line in lines:
        assert line["seen_version"] in _may_show(line["space"], line["item"], preloaded, stores), line

    written = b"".join(path.read_bytes() for path in plan.folder.iterdir())
    assert SECRET.encode() not in written


def _check_samples(plan: LoadPlan, t0: float, summary: LoadSummary) -> tuple[Samples, Samples]:
    """Compare what was recorded with the schedule; gives the preload's samples and the load's, in order."""
    samples = read_all_samples(plan.folder)
    preloaded = samples[(samples["flags"] & Flag.PRELOAD) != 0]
    assert sorted(zip(preloaded["space"].tolist(), preloaded["item"].tolist(), strict=True)) == [
        (space, item) for space in range(2) for item in range(40)
    ]
    assert (preloaded["version"] == 1).all()

    sent = _load_only(samples)
    assert np.array_equal(np.sort(sent["sequence"]), np.arange(summary.due))
    assert (sent["outcome"] == Outcome.OK).all()
    planned = Arrivals(7, plan.workload).chunk(0)
    order = sent[np.argsort(sent["sequence"])]
    for field in ("op", "user", "item", "space", "cue"):
        assert np.array_equal(order[field], getattr(planned, field)[: summary.due]), field
    assert order["intended"] == pytest.approx(t0 + planned.offset_s[: summary.due])
    assert (order["sent"] >= order["intended"]).all()
    assert (order["done"] >= order["sent"]).all()
    stores = order[order["op"] == Op.STORE]
    assert np.array_equal(stores["version"], stores["sequence"] + 2)
    return preloaded, order


def test_a_key_that_cannot_be_a_header_is_refused_unseen(
    engram: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", f"{SECRET}\r\nx-evil: 1")
    with LoadSupervisor(_plan(engram, tmp_path)) as load, pytest.raises(LoadError, match="ENGRAM_API_KEY") as caught:
        load.preload()
    assert SECRET not in str(caught.value)


def test_the_same_seed_sends_the_same_bytes_with_one_and_two_processes(tmp_path: Path) -> None:
    runs: list[set[bytes]] = []
    for processes in (1, 2):
        seen: list[bytes] = []
        store = answer(b'{"memory_id":"m-00000"}', b"201 Created")

        def behave(peer: Peer, seen: list[bytes] = seen, store: bytes = store) -> None:
            while head := peer.request():
                seen.append(head)
                peer.send(store)

        with RawServer(behave) as server:
            host = b"127.0.0.1:%d" % server.port

            def sent(seen: list[bytes] = seen, host: bytes = host) -> set[bytes]:
                return {request.replace(host, b"HOST") for request in list(seen)}

            plan = _plan(server.url, tmp_path / str(processes), processes=processes)
            with LoadSupervisor(plan) as load:
                load.start()
                _let_run(load, 100)
                # Each process is as far as the machine lets it: what one sent, two send sooner or later.
                assert until(lambda sent=sent: not runs or sent() >= runs[0])  # type: ignore[misc]
                load.stop()
            runs.append(sent())
    assert len(runs[0]) >= 80


def test_corrected_latency_is_right_where_the_target_stalls(tmp_path: Path) -> None:
    stall_s, every_s = 0.3, 0.75
    stalling = stub(tmp_path, "--stall-s", str(stall_s), "--every-s", str(every_s))
    with stalling as (url, _), LoadSupervisor(_plan(url, tmp_path, small_workload(400.0))) as load:
        load.preload()
        t0 = load.start()
        _let_run(load, 1200)
        summary = load.stop()
    latency = summary.live.latency
    samples = _load_only(read_all_samples(tmp_path / "samples"))
    # Arrivals are even in time, so a share (stall - x) / period of them waits longer than x; the run does not end
    # with a whole period, hence the width. What a busy machine holds up comes on top, hence more of it above.
    expected = (stall_s - 0.1) / every_s
    assert 0.65 * expected < latency.share_above(0.1) < 2 * expected
    assert stall_s - 0.05 < latency.percentile(99) < 3 * stall_s
    # A closed loop of one user would have met each stall once; here every arrival in it did, and on time.
    assert (samples["done"] - samples["intended"] > 0.1).sum() > 100
    assert summary.live.lag.percentile(90) < 0.1
    assert summary.live.no_free_slot == 0
    assert samples["intended"].min() == pytest.approx(t0)


def test_a_target_that_dies_and_returns_is_recorded_and_not_fatal(tmp_path: Path) -> None:
    with stub(tmp_path) as (url, process), LoadSupervisor(_plan(url, tmp_path)) as load:
        load.preload()
        load.start()
        _let_run(load, 40)
        process.kill()
        process.wait()
        assert until(lambda: load.live().errors.get(Outcome.REFUSED, 0) > 30)
        load.check_alive()
        with stub(tmp_path, port=int(url.rsplit(":", 1)[1])):
            well = load.live().ok
            assert until(lambda: load.live().ok > well + 40)
            summary = load.stop()
    samples = _load_only(read_all_samples(tmp_path / "samples"))
    assert np.array_equal(np.sort(samples["sequence"]), np.arange(summary.due))
    assert set(np.unique(samples["outcome"]).tolist()) <= {Outcome.OK, Outcome.REFUSED, Outcome.RESET}


def test_too_few_slots_make_the_target_late_and_are_flagged(tmp_path: Path) -> None:
    workload = dataclasses.replace(small_workload(200.0, timeout_ms=300.0), slots=4)
    with RawServer(Peer.hold) as server, LoadSupervisor(_plan(server.url, tmp_path, workload)) as load:
        load.start()
        assert until(lambda: load.live().errors.get(Outcome.TIMEOUT, 0) >= 8)
        summary = load.stop()
    samples = _load_only(read_all_samples(tmp_path / "samples"))
    assert np.array_equal(np.sort(samples["sequence"]), np.arange(summary.due))
    late = (samples["flags"] & Flag.NO_FREE_SLOT) != 0
    assert late.sum() > summary.due * 0.8
    assert summary.unsent > 0
    assert (samples["outcome"] == Outcome.CANCELLED).sum() == summary.unsent
    assert summary.due == summary.sent + summary.unsent
    # What the generator itself was late by is told apart from that.
    assert summary.live.lag.percentile(50) < 0.1


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (answer(b'{"error":{"code":"unauthorized"}}', b"401 Unauthorized"), r"HTTP_4XX \(HTTP 401\).*ENGRAM_API_KEY"),
        (answer(b"<html>Welcome to nginx</html>"), r"NOT_JSON \(HTTP 200\).*Welcome to nginx"),
        (answer(b'{"memory_id":"other"}', b"201 Created"), r"WRONG_ANSWER"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n", r"TOO_LARGE"),
    ],
)
def test_a_preload_that_is_refused_says_why(tmp_path: Path, reply: bytes, complaint: str) -> None:
    with RawServer(always(reply)) as server, LoadSupervisor(_plan(server.url, tmp_path)) as load:
        with pytest.raises(LoadError, match=complaint) as caught:
            load.preload()
        assert server.url in str(caught.value)


def test_a_preload_that_will_not_end_in_time_is_told_at_once_and_one_that_will_goes_on(tmp_path: Path) -> None:
    pause_s = [0.5]

    def slowly(peer: Peer) -> None:
        while request := peer.request():
            peer.hold(pause_s[0])
            stored = re.search(rb"m-(\d{5}) v1 ", request)
            assert stored is not None
            peer.send(answer(b'{"memory_id":"m-%b"}' % stored[1], b"201 Created"))

    with RawServer(slowly) as server:
        much = dataclasses.replace(_plan(server.url, tmp_path, small_workload(items=90_000)), preload_look_s=0.3)
        begun = time.monotonic()
        with LoadSupervisor(much) as load, pytest.raises(LoadError, match=r"90,000 memories .*--nodes N") as told:
            load.preload()
        assert time.monotonic() - begun < much.preload_deadline_s
        assert "120 s are allowed" in str(told.value)
        pause_s[0] = 0.0
        little = _plan(server.url, tmp_path / "little", small_workload(items=200))
        with LoadSupervisor(dataclasses.replace(little, preload_look_s=0.01)) as load:
            load.preload()


def test_a_preload_into_nothing_says_so(tmp_path: Path) -> None:
    with RawServer(always(b"")) as server:
        url = server.url
    with LoadSupervisor(_plan(url, tmp_path)) as load, pytest.raises(LoadError, match="REFUSED"):
        load.preload()


def test_a_killed_process_is_noticed_and_its_samples_stay(engram: str, tmp_path: Path) -> None:
    with LoadSupervisor(_plan(engram, tmp_path)) as load:
        load.preload()
        load.start()
        _let_run(load, 60)
        assert until(lambda: len(read_all_samples(tmp_path / "samples")) > 60)
        os.kill(load.pids[0], signal.SIGKILL)
        assert until(lambda: _is_noticed(load))
        with pytest.raises(LoadError, match=r"generator-00.log: a load process was ended by signal 9"):
            load.check_alive()
        with pytest.raises(LoadError, match="signal 9"):
            load.stop()
    assert len(read_all_samples(tmp_path / "samples")) > 60


def _is_noticed(load: LoadSupervisor) -> bool:
    try:
        load.check_alive()
    except LoadError:
        return True
    return False


def test_processes_end_with_the_supervisor_however_it_ends(engram: str, tmp_path: Path) -> None:
    text = (
        "import sys, json, threading; from pathlib import Path\n"
        "from harness.load import LoadPlan, LoadSupervisor\n"
        "from harness.scenario.workload import workload_from_json\n"
        "load = LoadSupervisor(LoadPlan(workload_from_json(json.loads(sys.argv[1])), sys.argv[2], 7, "
        "Path(sys.argv[3]), 60.0, processes=2))\n"
        "load.preload(); load.start(); print(*load.pids, flush=True); threading.Event().wait()\n"
    )
    workload = json.dumps(small_workload().as_json())
    command = [sys.executable, "-c", text, workload, engram, str(tmp_path / "samples")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
        parent.wait()
        assert until(lambda: all(_is_dead(pid) for pid in pids), 5.0)


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file stands here")
    with pytest.raises(LoadError, match=r"samples: cannot create the folder"):
        LoadSupervisor(_plan("http://127.0.0.1:1", tmp_path)).launch()


def test_a_full_disk_is_an_error_with_the_file_in_it() -> None:
    with pytest.raises(RecordError, match=r"/dev/full: cannot write samples: No space left"):
        SampleWriter(Path("/dev/full")).flush()


def test_stopping_what_never_started_ends_the_processes(engram: str, tmp_path: Path) -> None:
    load = LoadSupervisor(_plan(engram, tmp_path))
    load.launch()
    with pytest.raises(LoadError, match="before it was started"):
        load.stop()
    assert all(_is_dead(pid) for pid in load.pids)


def test_raw_samples_can_be_left_out_while_everything_is_counted(engram: str, tmp_path: Path) -> None:
    with LoadSupervisor(_plan(engram, tmp_path)) as load:
        load.preload()
        load.keep_samples(False)
        load.start()
        _let_run(load, 60)
        summary = load.stop()
    assert len(_load_only(read_all_samples(tmp_path / "samples"))) == 0
    assert summary.live.latency.count == summary.due


def test_live_may_be_asked_from_several_threads(engram: str, tmp_path: Path) -> None:
    with LoadSupervisor(_plan(engram, tmp_path)) as load:
        load.preload()
        load.start()
        seen: list[int] = []

        def ask() -> None:
            seen.extend(load.recent(1.0).offered for _ in range(50))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        load.stop()
    assert len(seen) == 100
    assert min(seen) >= 0
