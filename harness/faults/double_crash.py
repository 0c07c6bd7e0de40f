"""Two crashes in a row: the second right after the recovery from the first, before anything could be tidied up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.log_files import wait_until_gone
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class DoubleCrash(TargetFault):
    """SIGKILL, started again, and SIGKILL after it has served for ``between_s``; no recipe, as with a single crash.

    In half a second there are writes of the second generation, which the second crash may take.
    """

    between_s: float = 0.5
    kind: ClassVar[str] = "double_crash"
    requires: ClassVar[tuple[str, ...]] = ("restart", "process")
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.between_s <= 5:
            raise UsageError(f"between_s must be from 0 to 5, not {self.between_s!r}")

    def describe(self) -> str:
        return "process killed (SIGKILL) twice, the second time right after its recovery"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        if not process_of(target).send(signal.SIGKILL):
            raise TargetError("the process was gone before the first crash", where=target.base_url)
        target.restart(kill=True)

    def act(self, target: Target, client: EngramClient) -> Callable[[], None]:
        ended = threading.Event()
        second = process_of(target)

        def crash_again() -> None:
            if not ended.wait(self.between_s):
                second.send(signal.SIGKILL)  # gone already by itself: the observer sees as much
                wait_until_gone(second)

        thread = threading.Thread(target=crash_again, name="second-crash", daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            thread.join()

        return end

    def bring_back(self, target: Target) -> str:
        if target.alive():
            return "the second crash had not come"
        target.restart(kill=True)
        return f"started again as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Twice(target)


class _Twice(Presence):
    """Effect: nobody answers, and two processes are gone: the one there was before, and another after it."""

    def effective(self) -> Observation:
        found = super().effective()
        last = self._target.process
        second = last is not None and last != self._before and not last.alive()
        text = found.evidence if second else f"{found.evidence}; no second process was seen to die"
        return Observation(found.holds and second, text, found.detail)
