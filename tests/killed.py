"""A command of ours that is killed with SIGKILL, and the processes it had started, by a mark in their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reference.server import ROOT

LIMIT_S = 90.0  # a busy machine's; a second is usual


def until(true: Callable[[], object], what: str) -> None:
    """Poll until it is ``true``; fails with ``what`` where it is not for :data:`LIMIT_S`."""
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, what
        threading.Event().wait(0.05)


def family(mark: str) -> list[int]:
    """The processes that were started with this mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


@contextmanager
def killed(folder: Path, words: list[str], begun: Callable[[], object]) -> Iterator[str]:
    """Start ``python WORDS``, kill it once it has ``begun``; answers the mark of its family."""
    mark = f"FAMILY_MARK={folder}"
    environment = {**os.environ, "FAMILY_MARK": str(folder), "XDG_STATE_HOME": str(folder / "own")}
    environment.pop("ENGRAM_STATE_DIR", None)
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: begun() or process.poll() is not None, "it never began")
        assert process.poll() is None, (folder / "out.log").read_text()
        assert len(family(mark)) > 1
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
        yield mark
    finally:
        process.kill()
        process.wait()
