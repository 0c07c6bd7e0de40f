"""The process dies without a word (SIGKILL) and is started again on the same data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused, TargetUnreachable
from harness.faults.base import Fault, Observation, Observer
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class ProcessCrash(Fault):
    """SIGKILL; the target is down for as long as the fault is held, then started again.

    There is no recipe: the process is in the ledger since it was started, and a harness that dies while it is down
    leaves nothing running.
    """

    kind: ClassVar[str] = "process_crash"
    requires: ClassVar[tuple[str, ...]] = ("restart",)
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 2.0  # a supervisor starts it again at once; longer only adds refusals

    def describe(self) -> str:
        return "process killed (SIGKILL) and started again"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        """A client cannot do it. Raises :class:`TargetError`."""
        raise TargetError("a crash needs the target's process, not its API", where=client.base_url)

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        target.kill()

    def bring_back(self, target: Target) -> str:
        target.restart(kill=True)
        return f"started again as pid {target.pid}" if target.pid else "started again"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Presence(client)


class _Presence(Observer):
    """Whether anybody answers, and since when."""

    def __init__(self, client: EngramClient) -> None:
        self._client = client

    def baseline(self) -> dict[str, Any]:
        return {"healthy": self._client.health()}

    def effective(self) -> Observation:
        try:
            healthy = self._client.health()
        except TargetUnreachable as error:
            return Observation(True, f"nothing answers: {error.what}")
        except (TargetRefused, TargetAnswerInvalid) as error:
            return Observation(False, f"something still answers: {error.what}")
        return Observation(False, f"/health still answers {'200' if healthy else '503'}")

    def healed(self) -> Observation:
        healthy = self._client.health()
        return Observation(healthy, "/health answers 200" if healthy else "/health answers 503")
