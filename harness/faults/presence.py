"""Observers of whether a target is there at all, and of whether it still takes a write."""

from __future__ import annotations

from typing import Any

from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused, TargetUnreachable
from harness.faults.base import Observation, Observer
from harness.targets.base import ProcessIdentity, Target

LOOK_S = 0.6
WITNESS_SPACE = "harness-witness"  # one memory in a space of its own: a full disk shows only to one who writes
WITNESS_ID = "harness-witness"


class Presence(Observer):
    """Effect: nobody answers, and the process that was there before is gone. Healed: somebody healthy answers."""

    gone_needed = True

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before: ProcessIdentity | None = target.process
        self.patience_s = 15.0

    def baseline(self) -> dict[str, Any]:
        with self._target.client() as client:
            return {"healthy": client.health(), "pid": self._target.pid}

    def effective(self) -> Observation:
        detail = {"pid_before": self._before.pid if self._before else None, "pid": self._target.pid}
        if self.gone_needed and self._before is not None and self._before.alive():
            return Observation(False, f"process {self._before.pid} is still there", detail)
        answers = self.answers()
        return Observation(not answers, answers or "nothing answers", detail)

    def healed(self) -> Observation:
        answers = self.answers()
        healthy = answers == "/health answers 200"
        return Observation(healthy, answers or "nothing answers", {"pid": self._target.pid})

    def answers(self) -> str:
        """What answers, empty where nothing does."""
        with self._target.client(LOOK_S) as client:
            try:
                return f"/health answers {200 if client.health() else 503}"
            except TargetUnreachable:
                return ""
            except (TargetRefused, TargetAnswerInvalid) as error:
                return f"something answers: {error.what}"


class WitnessWrite(Observer):
    """Effect: a write that was taken before is refused, or slower by ``slower_ms`` where given. Healed: as before."""

    def __init__(self, target: Target, *, slower_ms: float = 0.0) -> None:
        self._target = target
        self._slower_ms = slower_ms
        self._before_ms = 0.0
        self._writes = 0
        self.patience_s = 10.0

    def baseline(self) -> dict[str, Any]:
        taken = sorted(self._write() for _ in range(5))
        self._before_ms = taken[2]
        return {"write_ms": round(self._before_ms, 3)}

    def effective(self) -> Observation:
        try:
            took_ms = self._write()
        except TargetError as error:
            return Observation(not self._slower_ms, f"a write is refused: {error.what}")
        slow = bool(self._slower_ms) and took_ms >= self._before_ms + self._slower_ms
        return Observation(slow, f"a write is taken in {took_ms:.1f} ms", {"before_ms": round(self._before_ms, 3)})

    def healed(self) -> Observation:
        try:
            took_ms = self._write()
        except TargetError as error:
            return Observation(False, f"a write is refused: {error.what}")
        holds = not self._slower_ms or took_ms < self._before_ms + self._slower_ms
        return Observation(holds, f"a write is taken in {took_ms:.1f} ms")

    def _write(self) -> float:
        """How long a write took in ms. Raises :class:`TargetError`."""
        self._writes += 1
        with self._target.client(2.0 + self._slower_ms / 1000.0) as client:
            client.alive()  # the connection is there before the clock runs
            started = _now_ms()
            client.remember(f"witness write {self._writes}", memory_id=WITNESS_ID, space=WITNESS_SPACE)
            return _now_ms() - started


def _now_ms() -> float:
    from harness.clock import SystemClock

    return SystemClock().now() * 1e3
