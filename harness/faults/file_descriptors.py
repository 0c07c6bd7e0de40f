"""No file descriptors left: the process may open a few more and then none, so new connections are not taken."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.limits import limit_recipe, set_soft
from harness.faults.path import Round, travel
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class FileDescriptors(TargetFault):
    """``spare`` descriptors above the highest it has open; connections that are open go on."""

    spare: int = 0
    kind: ClassVar[str] = "file_descriptors"
    requires: ClassVar[tuple[str, ...]] = ("process", "host.prlimit")
    slot: ClassVar[str] = "resource.descriptors"
    longest_hold_s: ClassVar[float] = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.spare <= 100_000:
            raise UsageError(f"spare must be from 0 to 100000, not {self.spare!r}")

    def describe(self) -> str:
        return f"{self.spare} file descriptors left"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        process = process_of(target)
        try:
            highest = max(int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir())
        except (OSError, ValueError) as error:
            raise TargetError(f"the descriptors of process {process.pid} cannot be read: {error}") from error
        set_soft(process, resource.RLIMIT_NOFILE, highest + 1 + self.spare)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (limit_recipe(process_of(target), resource.RLIMIT_NOFILE),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _NewConnections(target, self.spare)


class _NewConnections(Observer):
    """Opens connections until they are not taken any more: more at once than may be left.

    A busy machine, too, leaves a new connection without an answer for a second. It counts as the effect only while
    the process has every descriptor open that its limit lets it have.
    """

    def __init__(self, target: Target, spare: int) -> None:
        self._target = target
        self._at_once = min(256, spare + 24)  # descriptors below the highest may be free as well
        self.patience_s = 15.0

    def baseline(self) -> dict[str, object]:
        return self._look()[0].as_json()

    def effective(self) -> Observation:
        now, used, most = self._look()
        bad = 1.0 - now.share("answered")
        text = f"{bad:.0%} of new connections are not served; {used} of {most} descriptors are open"
        return Observation(bad > 0 and used >= most, text, {**now.as_json(), "open": used, "limit": most})

    def healed(self) -> Observation:
        now, _, _ = self._look()
        bad = 1.0 - now.share("answered")
        return Observation(bad == 0, f"{bad:.0%} of new connections are not served", now.as_json())

    def _look(self) -> tuple[Round, int, int]:
        """New connections while others are held; how many descriptors were open then, and may be."""
        parts = urlsplit(self._target.base_url)
        with ExitStack() as stack:
            for _ in range(self._at_once):
                try:
                    held = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=0.5)
                except OSError:
                    break
                stack.enter_context(held)
            now = travel(self._target.base_url, trips=3, timeout_s=1.0)
            return (now, *self._descriptors())

    def _descriptors(self) -> tuple[int, int]:
        pid = process_of(self._target).pid
        try:
            return len(list(Path(f"/proc/{pid}/fd").iterdir())), resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        except OSError as error:
            raise TargetError(f"the descriptors of process {pid} cannot be counted: {error}") from error
