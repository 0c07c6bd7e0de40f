"""Which of the machine's cores a worker of pytest-xdist keeps to: drills side by side then do not slow each other."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any


def share_of_cores(worker: int, workers: int, cores: Iterable[int]) -> frozenset[int]:
    """The cores of worker ``worker`` (0-based) of ``workers``: equal, contiguous, disjoint shares of ``cores``.

    All of ``cores`` where there are fewer of them than workers: a share would then be empty.
    """
    every = sorted(cores)
    each = len(every) // workers
    return frozenset(every[worker * each : (worker + 1) * each] or every)


def keep_to_share(worker: int, workers: int) -> frozenset[int]:
    """Hold this process, and every one it starts from now on, to its share; returns the cores it may use now.

    A drill's own service, load and probes then never wait for those of another drill: two at once on two cores,
    shared freely, stall each other for tens of milliseconds, which leaves a 15 ms limit undecided.
    """
    share = share_of_cores(worker, workers, os.sched_getaffinity(0))
    os.sched_setaffinity(0, share)
    return share


def machine() -> dict[str, Any]:
    """What a manifest says of the machine: its system, how many cores it has, and those this process keeps to."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "cpus": os.cpu_count(),
        "cores": sorted(os.sched_getaffinity(0)),
    }
