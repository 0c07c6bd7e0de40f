"""The target's process and the machine under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from harness.clock import Clock
from harness.probes.poller import Poller, Reading

_NAP_S = 0.01


def process_probe(pid: Callable[[], int | None], folder: Path, clock: Clock) -> Poller:
    """RSS, CPU seconds, descriptors and threads of the target's process, twice a second.

    ``pid`` is asked each time, as a restarted target has another one.
    """
    known: dict[int, psutil.Process] = {}

    def read() -> Reading:
        number = pid()
        if number is None:
            return {"ok": False, "error": "no process"}
        try:
            process = known.setdefault(number, psutil.Process(number))
            with process.oneshot():
                times = process.cpu_times()
                return {
                    "pid": number,
                    "rss_bytes": process.memory_info().rss,
                    "cpu_s": times.user + times.system,
                    "fds": process.num_fds(),
                    "threads": process.num_threads(),
                }
        except psutil.Error as error:
            known.pop(number, None)
            return {"ok": False, "error": type(error).__name__}

    return Poller("process", read, folder, 0.5, clock)


def host_probe(folder: Path, clock: Clock) -> Poller:
    """How late this machine wakes a sleeper (ms), and how busy it is: what no target can cause on its own core."""
    never = threading.Event()

    def read() -> Reading:
        before = clock.now()
        clock.wait(never, _NAP_S)
        late_ms = max(0.0, (clock.now() - before - _NAP_S) * 1e3)
        times = psutil.cpu_times()
        return {"late_ms": late_ms, "idle_s": times.idle, "steal_s": getattr(times, "steal", 0.0)}

    return Poller("host", read, folder, 0.05, clock)
