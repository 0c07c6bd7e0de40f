"""The target's process and the machine under it."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from harness.clock import Clock
from harness.probes.poller import Poller, Reading

_NAP_S = 0.01
_NANO = 1e-9


def process_probe(pid: Callable[[], int | None], folder: Path, clock: Clock) -> Poller:
    """RSS, CPU seconds, descriptors (sockets apart) and threads of the target's process, twice a second.

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
                    **_descriptors(number),
                    "threads": process.num_threads(),
                }
        except psutil.Error as error:
            known.pop(number, None)
            return {"ok": False, "error": type(error).__name__}

    return Poller("process", read, folder, 0.5, clock)


def _descriptors(pid: int) -> dict[str, int]:
    """Open descriptors, and how many of them are sockets: those follow the load, the others should not move."""
    sockets = total = 0
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                total += 1
                with suppress(OSError):  # closed meanwhile
                    sockets += str(Path(entry.path).readlink()).startswith("socket:")
    except OSError:
        return {}
    return {"fds": total, "sockets": sockets}


def host_probe(pid: Callable[[], int | None], folder: Path, clock: Clock) -> Poller:
    """What the machine, not the target, does to durations, twenty times a second.

    ``late_ms``: how late a sleeper is woken. ``starved_s``: how long the target's main thread has been ready to run
    and was not let (a counter of the kernel's scheduler; absent where there is no such process here). A target that
    sleeps, waits or computes adds nothing to it; another program on its core does.
    """
    never = threading.Event()

    def read() -> Reading:
        before = clock.now()
        clock.wait(never, _NAP_S)
        late_ms = max(0.0, (clock.now() - before - _NAP_S) * 1e3)
        times = psutil.cpu_times()
        reading: Reading = {"late_ms": late_ms, "idle_s": times.idle, "steal_s": getattr(times, "steal", 0.0)}
        number = pid()
        starved = run_delay_s(number) if number is not None else None
        return reading if starved is None else {**reading, "pid": number, "starved_s": starved}

    return Poller("host", read, folder, 0.05, clock)


def run_delay_s(pid: int) -> float | None:
    """Seconds the main thread of ``pid`` has waited for a processor so far; None where the kernel does not say."""
    return _waited_s(f"/proc/{pid}/task/{pid}/schedstat")


def own_delay_s() -> float:
    """Seconds that this process's threads, together, have waited for a processor so far; 0 where nothing says it.

    All of them: the one that is not let to run may hold what the others wait for. A thread that ends takes its own
    with it, so differences may be too small, never too large by that.
    """
    try:
        threads = list(Path("/proc/self/task").iterdir())
    except OSError:
        return 0.0
    return sum(_waited_s(f"{thread}/schedstat") or 0.0 for thread in threads)


def _waited_s(path: str) -> float | None:
    try:
        return int(Path(path).read_text(encoding="ascii").split()[1]) * _NANO
    except (OSError, ValueError, IndexError):
        return None


def run_time_s(pid: int) -> float | None:
    """Seconds the main thread of ``pid`` has run so far; None where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0]) * _NANO
    except (OSError, ValueError, IndexError):
        return None


def memory_share(pid: int | None) -> float:
    """The share of this machine's memory that a process holds; NaN where there is no such process."""
    try:
        return math.nan if pid is None else psutil.Process(pid).memory_info().rss / psutil.virtual_memory().total
    except psutil.Error:
        return math.nan
