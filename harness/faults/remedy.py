"""What is done about a fault that stays: a rollback, carried out while the fault is in force, and seen to act.

To a case it is a second action in its timeline. The fault goes in, a trigger may have to be met, the remedy is
carried out and seen to act, recovery is watched; only then is the fault itself healed. What the judge calls recovery
is then the remedy's doing, since the fault was there all the while.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.clock import Clock
from harness.errors import EnvironmentUnusable, RollbackIncomplete, TargetError
from harness.faults.base import Observation
from harness.faults.injection import Record
from harness.judge.triggers import Reading, TriggerJudge
from harness.load.statistics import LiveStats
from harness.load.supervisor import LoadSupervisor
from harness.scenario.watch import Trigger
from harness.targets.base import Target

_POLL_S = 0.1
TRIGGER_PATIENCE = 2.0  # times its own window: a trigger that is not met by then will not be


class Remedy(ABC):
    """One way back. Carrying it out twice is the same as once."""

    kind: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    takes_target_down: ClassVar[bool] = False  # for a while, and on purpose

    @abstractmethod
    def describe(self) -> str:
        """For people: what it does."""

    def to_json(self) -> dict[str, Any]:
        """For the manifest; no secrets, and nothing large."""
        return {"kind": self.kind, "text": self.describe()}

    def prepare(self, target: Target) -> dict[str, Any]:
        """Before the fault goes in: look, or take a backup; answers what was seen. Raises :class:`TargetError`."""
        return {}

    @abstractmethod
    def carry_out(self, target: Target) -> str:
        """Do it; answers what was done.

        Raises :class:`RollbackIncomplete` naming the half that was done, :class:`TargetError` where none was.
        """

    @abstractmethod
    def seen(self, target: Target) -> Observation:
        """Whether it is seen to act, by the target's behaviour and not by its word. Raises :class:`TargetError`."""


def carried_out(remedy: Remedy, target: Target, record: Record, *, limit_s: float, clock: Clock) -> bool:
    """Carry ``remedy`` out and look until it is seen to act; whether both went well.

    Events (instants in monotonic seconds): ``rollback_sent``, ``rollback_acked`` or ``rollback_failed``,
    ``rollback_observed`` or ``rollback_not_observed``. Raises :class:`RecordError` alone.
    """
    sent = clock.now()
    record("rollback_sent", at=sent, rollback=remedy.to_json())
    try:
        how = remedy.carry_out(target)
    except (TargetError, RollbackIncomplete, EnvironmentUnusable) as error:
        record("rollback_failed", at=clock.now(), why=str(error))
        return False
    record("rollback_acked", sent=sent, at=clock.now(), how=how)
    return _observed(remedy, target, record, limit_s, clock)


def _observed(remedy: Remedy, target: Target, record: Record, limit_s: float, clock: Clock) -> bool:
    never, started = threading.Event(), clock.now()
    while True:
        looked = clock.now()
        try:
            found = remedy.seen(target)
        except TargetError as error:
            found = Observation(False, f"the target did not answer: {error.what}")
        said = {"evidence": found.evidence, "detail": found.detail, "looked": looked, "at": clock.now()}
        if found.holds:
            record("rollback_observed", **said)
            return True
        if clock.now() - started >= limit_s:
            record("rollback_not_observed", waited_s=clock.now() - started, **said)
            return False
        clock.wait(never, _POLL_S)


@dataclass(frozen=True)
class RemedyPlan:
    """What is to be done, and when: once ``trigger`` is met, looked at every ``evaluate_s``; else in its time."""

    remedy: Remedy
    trigger: Trigger | None = None
    evaluate_s: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {"rollback": self.remedy.to_json(), "trigger": dict(vars(self.trigger)) if self.trigger else None}


class RemedyStage:
    """The part of a case in which something is done about its fault."""

    def __init__(
        self,
        plan: RemedyPlan,
        target: Target,
        load: LoadSupervisor,
        record: Record,
        *,
        limit_s: float,
        clock: Clock,
    ) -> None:
        self._plan = plan
        self._target = target
        self._load = load
        self._record = record
        self._limit_s = limit_s
        self._clock = clock
        self._looked: LiveStats | None = None

    def prepare(self) -> None:
        """Before the fault goes in. Raises :class:`TargetError`."""
        self._record("rollback_prepared", before=self._plan.remedy.prepare(self._target))

    def longest_s(self, fault_s: float, after_s: float) -> float:
        """How long the fault may be in force: until all is done about it, and recovery was watched."""
        trigger_s = TRIGGER_PATIENCE * self._plan.trigger.for_s if self._plan.trigger else 0.0
        return fault_s + trigger_s + 2 * self._limit_s + after_s + 30.0

    def wait_until_due(self, hold_s: float, wait: Callable[[float, str], None]) -> bool:
        """Wait until the trigger is met, for twice its window at most; whether it was. The event says so."""
        trigger = self._plan.trigger
        if trigger is None:
            wait(hold_s, "fault")
            return True
        judge, begun = TriggerJudge((trigger,)), self._clock.now()
        self._looked = self._load.live()
        while self._clock.now() - begun < TRIGGER_PATIENCE * trigger.for_s + 4 * self._plan.evaluate_s:
            wait(self._plan.evaluate_s, "trigger")
            for met in judge.look(self._since_last_look(trigger)):
                evidence = {"trigger": trigger.name, "since": met.since, "evidence": met.evidence}
                self._record("trigger_met", at=self._clock.now(), **evidence)
                return True
        waited_s = self._clock.now() - begun
        self._record("trigger_not_met", at=self._clock.now(), trigger=trigger.name, waited_s=waited_s)
        return False

    def carry_out(self) -> None:
        """Do it, and look until it is seen to act."""
        carried_out(self._plan.remedy, self._target, self._record, limit_s=self._limit_s, clock=self._clock)

    def _since_last_look(self, trigger: Trigger) -> Reading:
        now, before = self._load.live(), self._looked
        self._looked = now
        recent = now.since(before) if before is not None else now
        wrong = sum(recent.errors.values())
        shares = {"error_rate": (wrong, wrong + recent.ok)}
        recalls = recent.recall_latency
        if trigger.signal == "recall_p99_ms" and trigger.share is not None and recalls.count:
            shares[trigger.share[0]] = (round(recalls.share_above(trigger.above / 1e3) * recalls.count), recalls.count)
        return Reading("the load", now.t - recent.elapsed_s, now.t, shares)


def prepared(
    plan: RemedyPlan | None, target: Target, load: LoadSupervisor, record: Record, limit_s: float, clock: Clock
) -> RemedyStage | None:
    """The stage of a plan, prepared; None where nothing is to be done. Raises :class:`TargetError`."""
    if plan is None:
        return None
    stage = RemedyStage(plan, target, load, record, limit_s=limit_s, clock=clock)
    stage.prepare()
    return stage
