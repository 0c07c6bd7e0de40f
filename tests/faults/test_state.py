"""One harness per target, told apart by name and pid; the state directory is one per user."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.clock import FakeClock
from harness.errors import EnvironmentUnusable, TargetBusy
from harness.faults import state
from harness.faults.state import TargetLock

URL = "http://127.0.0.1:7432"
HOLDER = (
    "import sys;from pathlib import Path;from harness.faults.state import TargetLock\n"
    "TargetLock(sys.argv[1],Path(sys.argv[2])).acquire();print('held',flush=True);sys.stdin.readline()"
)


@pytest.mark.parametrize(
    "url", ["http://localhost:7432/", "http://LOCALHOST.:7432", "http://[::1]:7432", "http://127.8.8.8:7432"]
)
def test_one_target_has_one_name(url: str) -> None:
    assert state.same_target(url) == state.same_target(URL)
    assert state.same_target("http://h") == "h:80"
    assert state.same_target("https://h") == "h:443"


def test_another_harness_is_refused_by_name_and_pid_until_it_dies(state_dir: Path) -> None:
    command = [sys.executable, "-c", HOLDER, URL, str(state_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TargetBusy, match=rf"-c, pid {holder.pid}, since"):
            TargetLock("http://localhost:7432", state_dir).acquire()
        with TargetLock("http://127.0.0.1:7433", state_dir):
            pass
        killing = threading.Thread(target=holder.kill)
        killing.start()
        lock = TargetLock(URL, state_dir)
        lock.acquire(wait_s=10)
        killing.join()
    lock.release()
    lock.release()


def test_waiting_has_an_end(state_dir: Path) -> None:
    clock = FakeClock()
    with TargetLock(URL, state_dir):
        before = clock.now()
        with pytest.raises(TargetBusy, match=f"pid {os.getpid()}"):
            TargetLock(URL, state_dir, clock=clock).acquire(wait_s=3.0)
        assert clock.now() - before == pytest.approx(3.0, abs=0.1)
    assert not list((state_dir / "locks").iterdir())


def test_a_lock_removed_under_a_waiter_is_not_taken_for_held(state_dir: Path) -> None:
    first = TargetLock(URL, state_dir)
    first.acquire()
    taken = threading.Event()
    second = TargetLock(URL, state_dir)

    def wait() -> None:
        second.acquire(wait_s=10)
        taken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not taken.wait(0.1)
    first.release()
    assert taken.wait(5)
    waiter.join()
    with pytest.raises(TargetBusy):
        TargetLock(URL, state_dir).acquire()
    second.release()


def test_sweeping_leaves_what_is_held(state_dir: Path) -> None:
    stale = state_dir / "locks" / "stale.lock"
    stale.write_text("")
    unfinished = state.journals_dir(state_dir) / f"{os.getpid()}-1-abc.jsonl{state.UNFINISHED}"
    unfinished.write_text("")
    with TargetLock(URL, state_dir):
        assert state.sweep(state_dir) == 2
        assert len(list((state_dir / "locks").iterdir())) == 1


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(state.STATE_VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state.state_dir() == tmp_path / "xdg" / "engram-harness"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state.state_dir() == tmp_path / "home" / ".local" / "state" / "engram-harness"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(state.STATE_VARIABLE, str(tmp_path / "file" / "x"))
    with pytest.raises(EnvironmentUnusable, match="ENGRAM_STATE_DIR"):
        state.state_dir()
