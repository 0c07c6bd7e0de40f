"""What the engine says a container uses, where its process cannot be seen from here (another machine, a virtual one).

Memory is the *anonymous* memory of all its processes. What ``docker stats`` shows, the working set, is not used: it
counts the cached pages of the files a service keeps writing to, which grow with its log and would read as a leak.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import docker.errors
import requests

from harness.errors import TargetError

FRESH_S = 5.0  # it comes once a second
PATIENCE_S = 3.0  # for the first, and for the one after a pause
_NS = 1e9
# Control groups of the second version, then of the first, with and without the groups below.
_ANONYMOUS = ("anon", "total_rss", "rss")


def read_usage(stats: Mapping[str, Any]) -> dict[str, Any]:
    """``rss_bytes``, ``cpu_s`` and ``threads`` of one answer of the engine's ``/stats``; what it lacks is left out.

    A container that has ended answers with nothing in it, and an engine without control groups with less.
    """
    memory = _table(_table(stats, "memory_stats"), "stats")
    told: dict[str, Any] = {
        "rss_bytes": next((memory[name] for name in _ANONYMOUS if _number(memory.get(name))), None),
        "cpu_s": _table(_table(stats, "cpu_stats"), "cpu_usage").get("total_usage"),
        "threads": _table(stats, "pids_stats").get("current"),
    }
    found = {name: value for name, value in told.items() if _number(value)}
    if "cpu_s" in found:
        found["cpu_s"] = float(found["cpu_s"]) / _NS
    return found


class UsageStream:
    """Follows the engine's readings of one container, from the first question on until the container ends.

    The engine reads once a second and makes whoever asks for a single reading wait for the next one, which the thread
    that records a soak must not. ``follow`` answers the readings as they come.
    """

    def __init__(
        self,
        follow: Callable[[], Iterable[Mapping[str, Any]]],
        name: str,
        *,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follow = follow
        self._name = name
        self._patience_s = patience_s
        self._now = now
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._latest: dict[str, Any] | None = None
        self._at = 0.0
        self._why = ""

    def latest(self) -> dict[str, Any]:
        """The last reading, as :func:`read_usage` has it.

        Raises :class:`TargetError` where none has come for :data:`FRESH_S` seconds.
        """
        with self._changed:
            if self._thread is None:
                self._why = ""
                self._thread = threading.Thread(target=self._run, name=f"usage-{self._name}", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._fresh() or self._thread is None, self._patience_s)
            if self._latest is None or not self._fresh():
                why = self._why or f"no answer in {self._patience_s:g} s"
                raise TargetError(f"the engine does not say what {self._name} uses: {why}")
            return self._latest

    def join(self, timeout_s: float) -> None:
        """Wait until nothing follows any more, once the container is gone."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _fresh(self) -> bool:
        return self._latest is not None and self._now() - self._at <= FRESH_S

    def _run(self) -> None:
        why = "its readings have ended"
        try:
            for stats in self._follow():
                with self._changed:
                    self._latest, self._at = read_usage(stats), self._now()
                    self._changed.notify_all()
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
        with self._changed:
            self._thread, self._why = None, why
            self._changed.notify_all()


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _number(value: Any) -> bool:
    """Whether it is an amount. Nothing that runs uses none: 0 is how some engines leave a field out."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
