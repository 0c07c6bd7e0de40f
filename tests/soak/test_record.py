"""The soak's files: a torn line costs itself alone, and a killed writer loses nothing it had recorded."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.clock import FakeClock
from harness.errors import RecordError, RecordTooNew, UsageError
from harness.timeline.soak_record import (
    INTERVALS,
    Lines,
    SoakWriter,
    cut_torn_line,
    is_soak,
    read_manifest,
    soak_folder,
)

ENDLESS = """
import sys
from pathlib import Path
from harness.timeline.soak_record import SoakWriter
writer = SoakWriter(Path(sys.argv[1]))
n = int(sys.argv[2])
while True:
    writer.interval({"n": n, "padding": "x" * (n * 977 % 20000)})
    print(n, flush=True)
    n += 1
"""


def test_a_torn_line_is_cut_before_anything_is_appended(tmp_path: Path) -> None:
    writer = SoakWriter(tmp_path, FakeClock())
    writer.interval({"n": 0})
    writer.close()
    with (tmp_path / INTERVALS).open("ab") as file:
        file.write(b'{"n": 1, "to')
    again = SoakWriter(tmp_path, FakeClock())
    again.interval({"n": 1})
    again.close()
    assert again.cut_bytes == 12
    assert [r["n"] for r in Lines(tmp_path / INTERVALS)] == [0, 1]


@pytest.mark.parametrize("damage", [b"\0" * 300 + b"\n", b"[1,2]\n", b'{"n": \n', "é\n".encode("latin-1")])
def test_a_damaged_line_is_left_out_and_counted(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / INTERVALS
    path.write_bytes(b'{"n":0}\n' + damage + b'{"n":2}\n{"n":3')
    lines = Lines(path)
    assert [r["n"] for r in lines] == [0, 2]
    assert lines.torn == 2


def test_nothing_there_is_nothing(tmp_path: Path) -> None:
    assert list(Lines(tmp_path / "none")) == []
    assert cut_torn_line(tmp_path / "none") == 0


def test_a_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    path = tmp_path / INTERVALS
    path.write_bytes(b'{"n":0}\n' + b"x" * 200_000)
    assert cut_torn_line(path) == 200_000
    assert path.read_bytes() == b'{"n":0}\n'


def test_killed_writers_lose_nothing_they_had_written(tmp_path: Path) -> None:
    """SIGKILL at random moments; each time the next writer goes on behind what was whole."""
    draw = random.Random(5)
    told = -1
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(tmp_path), str(told + 1)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        first = child.stdout.readline()
        assert int(first) == told + 1
        threading.Event().wait(draw.uniform(0.0, 0.12))
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        child.stdout.close()
        told = int(rest[-1]) if rest else int(first)
        numbers = [r["n"] for r in Lines(tmp_path / INTERVALS)]
        assert numbers[: told + 1] == list(range(told + 1))
        told = numbers[-1]  # one may be on disk that was not told any more


def test_a_soak_is_found_by_its_session_and_refused_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "soak"
    writer = SoakWriter(folder, FakeClock())
    writer.manifest({"plan": {}})
    writer.close()
    assert is_soak(folder)
    assert soak_folder(tmp_path) == soak_folder(folder) == folder
    with pytest.raises(UsageError, match="holds no soak"):
        soak_folder(tmp_path.parent / "nowhere")


def test_a_newer_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 99, "kind": "soak"}))
    with pytest.raises(RecordTooNew):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(RecordError, match="no soak"):
        read_manifest(tmp_path)


def test_the_heartbeat_is_whole_or_not_there(tmp_path: Path) -> None:
    writer = SoakWriter(tmp_path, FakeClock())
    writer.heartbeat({"at_s": 1.5, "p99_ms": float("nan")})
    beat = json.loads((tmp_path / "heartbeat.json").read_text())
    assert (beat["at_s"], beat["p99_ms"], beat["pid"]) == (1.5, None, os.getpid())
    writer.close()


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RecordError, match="cannot make the directory"):
        SoakWriter(blocked / "soak")
