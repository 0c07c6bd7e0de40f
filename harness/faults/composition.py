"""Several faults on one target, side by side or one after the other, each in force and healed on its own.

The rule for faults that overlap in time, checked before anything is done:

* two of one slot with the same dose are one fault, in force from the first beginning to the last end (merged);
* two of one slot with different doses are refused, since the second would override the first and heal both;
* a fault that takes the process down overlaps with none that lives in the process (Engram's own chaos API) and with
  no other that takes it down: the crash would heal the one unseen and be hidden by the other. It is refused;
* everything else may overlap.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

from harness.clock import Clock, SystemClock
from harness.engram import EngramClient
from harness.errors import FaultError, HarnessError, UsageError
from harness.faults.base import Fault, Observation, Observer
from harness.faults.injection import Injection, Record
from harness.faults.ledger import Ledger
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

_END = math.inf


@dataclass(frozen=True)
class Step:
    """One fault of a composition, from ``at_ms`` for ``hold_ms`` (0: until the whole composition is healed)."""

    fault: Fault
    at_ms: int = 0
    hold_ms: int = 0

    @property
    def end_ms(self) -> float:
        """When it is healed; infinite where that is at the end of all."""
        return self.at_ms + self.hold_ms if self.hold_ms else _END

    def overlaps(self, other: Step) -> bool:
        """Whether both are in force at some time; one that begins as the other ends counts as overlapping."""
        return self.at_ms <= other.end_ms and other.at_ms <= self.end_ms

    def as_json(self) -> dict[str, Any]:
        """As records and dry runs show it."""
        return {"at_ms": self.at_ms, "hold_ms": self.hold_ms, "fault": self.fault.to_json()}


def arranged(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps in order, equal ones merged. Raises :class:`UsageError` for what the rule refuses."""
    found: list[Step] = []
    for step in sorted(steps, key=lambda s: (s.at_ms, s.end_ms, s.fault.kind, repr(s.fault))):
        if step.at_ms < 0 or step.hold_ms < 0:
            raise UsageError(f"{step.fault.describe()}: a step cannot begin or last less than 0 ms")
        twin = next((f for f in found if f.fault == step.fault and f.overlaps(step)), None)
        if twin is not None:
            end = max(twin.end_ms, step.end_ms)
            found[found.index(twin)] = Step(twin.fault, twin.at_ms, 0 if end == _END else int(end) - twin.at_ms)
            continue
        for other in found:
            why = conflict(step.fault, other.fault) if step.overlaps(other) else ""
            if why:
                raise UsageError(
                    f"{other.fault.describe()} and {step.fault.describe()} overlap: {why}",
                    hint="let one end before the other begins",
                )
        found.append(step)
    return tuple(found)


def conflict(one: Fault, other: Fault) -> str:
    """Why two faults may not be in force at once; empty where they may."""
    if one.slot and one.slot == other.slot:
        return f"both are of the slot {one.slot}, and one would override the other"
    for down, beside in ((one, other), (other, one)):
        if down.takes_target_down and (beside.takes_target_down or lives_in_process(beside)):
            return f"{down.kind} ends the process, and {beside.kind} with it"
    return ""


def lives_in_process(fault: Fault) -> bool:
    """Whether it is one of Engram's own chaos API: it ends with the process, and by design costs no user an error."""
    return any(name.startswith("chaos.") for name in fault.requires)


@dataclass(frozen=True)
class Composition(Fault):
    """Several faults as one; :func:`parallel`, :func:`sequence` and the nemesis make them."""

    name: str
    steps: tuple[Step, ...]
    kind: ClassVar[str] = "composition"
    requires: ClassVar[tuple[str, ...]] = ()
    slot: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not self.steps:
            raise UsageError(f"{self.name}: a composition of no faults")
        steps = arranged(self.steps)
        union = {name for step in steps for name in step.fault.requires}
        wants = frozenset(name for step in steps for name in step.fault.wants)
        down = any(step.fault.takes_target_down for step in steps)
        values = {"steps": steps, "requires": tuple(sorted(union)), "wants": wants, "takes_target_down": down}
        for key, value in values.items():  # what a class says of a single fault, an instance says of several
            object.__setattr__(self, key, value)

    def describe(self) -> str:
        return f"{self.name}: " + ", ".join(step.fault.describe() for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "steps": [step.as_json() for step in self.steps]}

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        """Each part goes in by itself. Raises :class:`FaultError`."""
        raise FaultError("a composition goes in part by part", where=client.base_url)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        """Each part has its own. Raises :class:`FaultError`."""
        raise FaultError("a composition is observed part by part", where=client.base_url)


def parts_of(fault: Fault) -> tuple[Fault, ...]:
    """The single faults it is made of: itself, where it is no composition."""
    return tuple(step.fault for step in fault.steps) if isinstance(fault, Composition) else (fault,)


def parallel(*faults: Fault) -> Composition:
    """All of them at once, for as long as the composition is held."""
    return Composition("parallel", tuple(Step(fault) for fault in faults))


def sequence(*faults: Fault, hold_s: float, gap_s: float = 1.0) -> Composition:
    """One after the other, each for ``hold_s`` with ``gap_s`` between; what is not over when healed is healed then."""
    pace_ms, hold_ms = round((hold_s + gap_s) * 1000), round(hold_s * 1000)
    return Composition("sequence", tuple(Step(f, n * pace_ms, hold_ms) for n, f in enumerate(faults)))


@dataclass
class _Part:
    step: Step
    injection: Injection
    settled: threading.Event  # effective, or known not to be
    error: BaseException | None = None


class CompositionInjection:
    """The parts of a composition, each in its own :class:`Injection` and thread; to the runner it is one injection.

    Events of the parts have the prefix ``part_``; the whole has those of a single fault, from the first injection to
    the last heal. Ending it wakes every part at once, so all are healed side by side.
    """

    def __init__(
        self,
        fault: Composition,
        target: Target,
        ledger: Ledger,
        *,
        hold_s: float,
        record: Record,
        cancel: threading.Event | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self._clock = clock or SystemClock()
        self._record = record
        self._end = cancel or threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._sent: dict[str, list[float]] = {}
        self._missing: list[str] = []
        self._unhealed: list[str] = []
        self._parts = [
            _Part(
                step,
                Injection(
                    step.fault,
                    target,
                    ledger,
                    hold_s=min(step.hold_ms / 1000.0 or hold_s, hold_s),
                    record=self._part_record(number),
                    cancel=self._end,
                    clock=self._clock,
                    **options,
                ),
                threading.Event(),
            )
            for number, step in enumerate(fault.steps)
        ]
        self._threads: list[threading.Thread] = []
        self.effective: Observation | None = None

    @property
    def relieved(self) -> tuple[str, ...]:
        """Why the guardian healed a part under us, if it did."""
        return tuple(why for part in self._parts for why in part.injection.relieved)

    def __enter__(self) -> Self:
        started = self._clock.now()
        self._threads = [
            threading.Thread(target=self._run, args=(part, started), name=f"fault {part.step.fault.kind}", daemon=True)
            for part in self._parts
        ]
        try:
            for thread in self._threads:
                thread.start()
            for part in self._parts:
                if part.step.at_ms == 0:
                    part.settled.wait()
        except BaseException as error:  # Ctrl-C included
            self._leave(error)
            raise
        broken = next((part.error for part in self._parts if part.error is not None), None)
        if broken is not None:
            self._leave(broken)
            raise broken
        first = [part for part in self._parts if part.step.at_ms == 0]
        seen = [part.injection.effective for part in first]
        evidence = "; ".join(one.evidence for one in seen if one is not None)
        self._record("inject_sent", **self._span("inject_sent"))
        self._record("inject_acked", **self._span("inject_acked"))
        if all(seen):
            self.effective = Observation(True, evidence or "begins with a quiet period")
            self._record("effective_observed", evidence=self.effective.evidence, at=self._clock.now())
        else:
            self._record("effect_not_observed", detail="; ".join(self._missing), at=self._clock.now())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._leave(error)

    def _run(self, part: _Part, started: float) -> None:
        """One part's thread: wait for its time, inject, hold, heal."""
        try:
            if not self._pause(started + part.step.at_ms / 1000.0):
                return
            with part.injection:
                part.settled.set()
                self._pause(started + part.step.end_ms / 1000.0)
        except HarnessError as error:
            part.error = error
        finally:
            part.settled.set()

    def _pause(self, until: float) -> bool:
        """Wait until then; False where the whole ends first."""
        while (left := until - self._clock.now()) > 0:
            if self._over.is_set() or self._end.is_set():
                return False
            self._clock.wait(self._over, min(left, 0.05))
        return not self._over.is_set()

    def _leave(self, error: BaseException | None) -> None:
        """Heal every part and wait for all; a Ctrl-C meanwhile is raised afterwards."""
        self._over.set()
        ending = self._clock.now()
        interrupt: KeyboardInterrupt | None = None
        for thread in self._threads:
            while thread.is_alive():
                try:
                    thread.join(0.2)
                except KeyboardInterrupt as another:
                    interrupt = interrupt or another
                    self._end.set()
        sent = self._span("heal_sent", last=True)
        with self._lock:  # of the parts healed now; those of a sequence that were over are history
            sent["at"] = min((t for t in self._sent.get("heal_sent", []) if t >= ending), default=sent["at"])
        self._record("heal_sent", **sent)
        self._record("heal_acked", **self._span("heal_acked", last=True))
        if self._missing and self.effective is not None:
            self._record("effect_not_observed", detail="; ".join(self._missing), at=self._clock.now())
        if self._unhealed:
            self._record("heal_not_observed", detail="; ".join(self._unhealed), at=self._clock.now())
        else:
            self._record("healed_observed", evidence="every part was seen healed", at=self._clock.now())
        if interrupt is not None:
            raise interrupt
        broken = next((part.error for part in self._parts if part.error is not None), None)
        if broken is not None and error is None:
            raise broken

    def _part_record(self, number: int) -> Record:
        def record(event: str, /, **fields: Any) -> None:
            with self._lock:
                self._sent.setdefault(event, []).append(float(fields.get("at", self._clock.now())))
                if event == "effect_not_observed":
                    self._missing.append(f"part {number}: {fields.get('evidence', 'no effect')}")
                if event in ("heal_not_observed", "heal_failed"):
                    self._unhealed.append(f"part {number}: {fields.get('evidence', fields.get('why', 'not healed'))}")
            self._record(f"part_{event}", part=number, **fields)

        return record

    def _span(self, event: str, *, last: bool = False) -> dict[str, Any]:
        with self._lock:
            times = self._sent.get(event) or [self._clock.now()]
        return {"at": max(times) if last else min(times), "parts": len(times)}


def injection_for(
    fault: Fault, target: Target, ledger: Ledger, *, hold_s: float, record: Record, **options: Any
) -> Injection | CompositionInjection:
    """The way in for a fault, single or composed."""
    if isinstance(fault, Composition):
        return CompositionInjection(fault, target, ledger, hold_s=hold_s, record=record, **options)
    return Injection(fault, target, ledger, hold_s=hold_s, record=record, **options)


def steps_from_json(values: Sequence[Mapping[str, Any]], make: Any) -> tuple[Step, ...]:
    """The inverse of :meth:`Step.as_json`; ``make`` turns a fault's JSON into the fault."""
    return tuple(Step(make(v["fault"]), int(v["at_ms"]), int(v["hold_ms"])) for v in values)
