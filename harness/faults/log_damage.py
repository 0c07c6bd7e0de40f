"""The write-ahead log is damaged while the process is down: bits turned, zeroes, garbage, a piece missing.

In the middle, what was acknowledged is hit: the service must refuse to start rather than go on without it, and start
when the file is put back. Garbage after the last record is what a torn write leaves: it must start and drop it.
"""

from __future__ import annotations

import json
import os
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.log_files import LOCK, log_file, wait_until_gone
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import RestoreRecipe, file_digest
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

DAMAGES = ("flipped", "zeroed", "garbage", "truncated")
MIDDLE, TAIL = "middle", "tail"
_LEAST_BYTES = 4096
_STRETCH = 64


@dataclass(frozen=True)
class LogDamage(TargetFault):
    """``damage`` (one of :data:`DAMAGES`) at ``where``: in the ``middle``, or at the ``tail``.

    A tail that is cut off or overwritten cannot be told from a torn write by any checksum, so nobody is made to start
    on it: it is put back first. Garbage appended to the tail is started on.
    """

    damage: str = "flipped"
    where: str = MIDDLE
    seed: int = 1
    kind: ClassVar[str] = "log_damage"
    requires: ClassVar[tuple[str, ...]] = ("restart", "process", "data_dir")
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.damage not in DAMAGES or self.where not in (MIDDLE, TAIL):
            raise UsageError(f"no such damage: {self.damage!r} at {self.where!r}", hint=f"one of {', '.join(DAMAGES)}")

    @property
    def harmless(self) -> bool:
        """Whether the service can and must start on it."""
        return self.where == TAIL and self.damage == "garbage"

    def describe(self) -> str:
        return f"log {self.damage} at the {self.where} while the process is down"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        process, path = process_of(target), log_file(target)
        if path.stat().st_size < _LEAST_BYTES:
            raise TargetError("the log is too short to be damaged", where=str(path))
        recipe = self.recipe(target)
        if not process.send(signal.SIGKILL):
            raise TargetError("the process was gone already", where=target.base_url)
        wait_until_gone(process)
        try:
            self._damage(path, Path(recipe.plan))
        except OSError as error:
            raise TargetError(f"the log cannot be damaged: {error.strerror}", where=str(path)) from error
        if self.harmless:
            target.restart(kill=True)
        elif self.where == MIDDLE:
            with suppress(TargetError):  # the refusal; one that starts all the same is seen by the observer
                target.restart(kill=True)

    def _damage(self, path: Path, plan: Path) -> None:
        copy = plan.with_suffix(".copy")
        whole = path.read_bytes()
        for file, data in (
            (copy, whole),
            (plan, json.dumps({"files": {str(path): [str(copy), file_digest(path)]}}).encode()),
        ):
            with file.open("wb") as out:  # both on the disk before anything is damaged
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
        with path.open("wb") as out:
            out.write(self.damaged(whole))
            out.flush()
            os.fsync(out.fileno())

    def damaged(self, whole: bytes) -> bytes:
        """What becomes of the log's bytes."""
        dice = random.Random(self.seed)
        at = len(whole) // 2 if self.where == MIDDLE else len(whole) - _STRETCH
        garbage = dice.randbytes(_STRETCH)
        if self.harmless:
            return whole + garbage
        match self.damage:
            case "flipped":
                return whole[:at] + bytes([whole[at] ^ (1 << dice.randrange(8))]) + whole[at + 1 :]
            case "zeroed":
                return whole[:at] + bytes(_STRETCH) + whole[at + _STRETCH :]
            case "garbage":
                return whole[:at] + garbage + whole[at + _STRETCH :]
            case _:
                return whole[:at] + whole[at + _STRETCH :]

    def bring_back(self, target: Target) -> str:
        if self.harmless and target.alive():
            return "it had started by itself"
        target.restart(kill=True)
        return f"started again as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        plan = Path(self.recipe(target).plan)
        plan.unlink(missing_ok=True)  # an earlier injection's: its copy would be an older state
        return (self.recipe(target),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Damage(target, self)

    def recipe(self, target: Target) -> RestoreRecipe:
        """What puts the log of the process that runs now back."""
        process = process_of(target)
        plan = target.data_dir / f"engram-harness-{process.pid}-{process.start_time}.json"
        return RestoreRecipe(str(plan), str(target.data_dir / LOCK))


class _Damage(Presence):
    """Effect: it is down over a damaged log, and (in the middle) its own last words name that log; where the damage is
    harmless, another process answers and says what it dropped.
    """

    def __init__(self, target: Target, fault: LogDamage) -> None:
        super().__init__(target)
        self._fault = fault
        self._recipe = fault.recipe(target)
        self._path = log_file(target)

    def effective(self) -> Observation:
        words = self._target.log_tail(6).splitlines()
        if self._fault.harmless:
            new = self._target.process is not None and self._target.process != self._before
            said = next((line for line in words if "unfinished record" in line), "")
            healthy = self.answers() == "/health answers 200"
            return Observation(new and healthy and bool(said), said or "it says nothing of a torn record")
        found = super().effective()
        named = self._fault.where == TAIL or any(self._path.name in line for line in words[-1:])
        damaged = bool(self._recipe.there())
        file = "is damaged" if damaged else "is as it was"
        text = f"{found.evidence}; {self._path.name} {file}; its output ends: {words[-1] if words else ''}"
        return Observation(found.holds and named and damaged, text, found.detail)
