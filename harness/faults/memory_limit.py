"""Memory the process asks for is refused: an address space that may hardly grow (``RLIMIT_AS``)."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.engram import EngramClient
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
        refused = self._refused(at_once=1 if self._first else _TRIES)
        self._first = False
        return Observation(refused > 0, f"{refused} of {_TRIES} large requests could not be held")

    def healed(self) -> Observation:
        refused = self._refused(at_once=1)
        return Observation(refused == 0, f"{refused} of {_TRIES} large requests could not be held")

    def _refused(self, at_once: int) -> int:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=at_once) as pool:
            return sum(pool.map(lambda _: not self._held(_LARGE_MB), range(_TRIES)))

    def _held(self, size_mb: float) -> bool:
        body = {"content": 0, "tags": "x" * int(size_mb * 1024 * 1024)}
        with self._target.client(5.0) as client:
            try:
                return client.request("POST", "/api/v1/memories/remember", json=body).status in _NONSENSE
            except TargetError:
                return False
