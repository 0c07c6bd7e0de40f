"""Memory the process asks for is refused: an address space that may hardly grow (``RLIMIT_AS``)."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from harness.clock import SystemClock
from harness.engram import EngramClient
from harness.engram.transport import secret_from_environment
from harness.errors import TargetError
from harness.faults.base import Observation, Observer, TargetFault, process_of, require_positive
from harness.faults.limits import limit_recipe, set_soft
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

_LARGE_MB = 3.0
_SMALL_MB = 0.25
_NONSENSE = range(400, 500)  # what a body of the wrong shape is answered with by who can hold it
_TRIES = 6
_PATH = "/api/v1/memories/remember"
_PATIENCE_S = 5.0
_TOGETHER_S = 8.0


@dataclass(frozen=True)
class MemoryLimit(TargetFault):
    """``headroom_mb`` of address space beyond what it has now; what it asks for beyond that it does not get."""

    headroom_mb: float = 1.0
    kind: ClassVar[str] = "memory_limit"
    requires: ClassVar[tuple[str, ...]] = ("process", "host.prlimit")
    slot: ClassVar[str] = "resource.memory"
    longest_hold_s: ClassVar[float] = 8.0

    def __post_init__(self) -> None:
        require_positive("headroom_mb", self.headroom_mb)

    def describe(self) -> str:
        return f"{self.headroom_mb:g} MB more memory than now, then none"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        process = process_of(target)
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError) as error:
            raise TargetError(f"the size of process {process.pid} cannot be read: {error}") from error
        size = pages * resource.getpagesize() + int(self.headroom_mb * 1024 * 1024)
        set_soft(process, resource.RLIMIT_AS, size)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (limit_recipe(process_of(target), resource.RLIMIT_AS),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _BigRequests(target, self.headroom_mb)


class _BigRequests(Observer):
    """Asks it to hold large requests, first one after the other, then all at once; each is nonsense, changing nothing.

    The baseline's is small: the memory a large one took would stay with the process, and be there for the next.
    """

    def __init__(self, target: Target, headroom_mb: float) -> None:
        self._target = target
        # Asked again and again, a process with far more room than the dose says is filled up in the end, and dies.
        self._looks_left = 4 + int(2 * headroom_mb / (_TRIES * _LARGE_MB))
        self._first = True
        self.patience_s = 15.0

    def baseline(self) -> dict[str, Any]:
        if not self._held(_SMALL_MB):
            raise TargetError("it cannot hold a request before any fault", where=self._target.base_url)
        return {"refused": 0}

    def effective(self) -> Observation:
        if self._looks_left <= 0:
            return Observation(False, "every large request was held")
        self._looks_left -= 1
        refused = self._refused() if self._first else _refused_together(self._target.base_url)
        self._first = False
        return Observation(refused > 0, f"{refused} of {_TRIES} large requests could not be held")

    def healed(self) -> Observation:
        refused = self._refused()
        return Observation(refused == 0, f"{refused} of {_TRIES} large requests could not be held")

    def _refused(self) -> int:
        return sum(not self._held(_LARGE_MB) for _ in range(_TRIES))

    def _held(self, size_mb: float) -> bool:
        with self._target.client(_PATIENCE_S) as client:
            try:
                return client.request("POST", _PATH, json=_nonsense(size_mb)).status in _NONSENSE
            except TargetError:
                return False


def _nonsense(size_mb: float) -> dict[str, Any]:
    return {"content": 0, "tags": "x" * int(size_mb * 1024 * 1024)}


def _refused_together(base_url: str) -> int:
    """How many of several large requests could not be held at the same time.

    Each is sent but for its last byte before any is ended: a busy machine, that would make them come one after the
    other, cannot make room for them. One that takes too long was not refused.
    """
    until = SystemClock().now() + _TOGETHER_S
    asked = [_Request(base_url, until) for _ in range(_TRIES)]
    for request in asked:
        request.begin()
    for request in asked:
        request.end()
    return sum(request.refused for request in asked)


class _Request:
    """One large request. ``refused``: it was answered otherwise than its nonsense is, or not at all."""

    def __init__(self, base_url: str, until: float) -> None:
        self._until = until
        parts = urlsplit(base_url)
        self._path = parts.path + _PATH
        self._connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80)
        self._body = json.dumps(_nonsense(_LARGE_MB)).encode()
        self._over = self.refused = False

    def begin(self) -> None:
        """Send all of it but the last byte."""
        headers = {"content-type": "application/json", "content-length": str(len(self._body))}
        secret = secret_from_environment()
        if secret is not None:
            headers["authorization"] = f"Bearer {secret.reveal()}"
        try:
            self._connection.timeout = self._left_s()
            self._connection.request("POST", self._path, body=self._body[:-1], headers=headers)
        except OSError as error:
            self._failed(error)

    def end(self) -> None:
        """Send the last byte and hear what is said."""
        try:
            if not self._over:
                self._connection.sock.settimeout(self._left_s())
                self._connection.send(self._body[-1:])
                self.refused = self._connection.getresponse().status not in _NONSENSE
        except (OSError, HTTPException) as error:
            self._failed(error)
        finally:
            self._connection.close()

    def _left_s(self) -> float:
        return max(0.05, self._until - SystemClock().now())

    def _failed(self, error: Exception) -> None:
        self._over, self.refused = True, not isinstance(error, TimeoutError)
