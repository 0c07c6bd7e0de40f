"""One fault in force: prepare, inject, see it act, hold, heal, see it gone; healed whatever happens meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from harness.clock import Clock, SystemClock
from harness.engram import EngramClient
from harness.errors import EnvironmentUnusable, FaultError, HarnessError, HealFailed, RecordError, TargetError
from harness.faults import capability
from harness.faults.base import Fault, Observation, Observer
from harness.faults.ledger import Ledger
from harness.faults.recipe import Recipe, apply, stage
from harness.faults.witness import WitnessCue
from harness.targets.base import Target
from harness.targets.wrapped import HurriedTarget

_POLL_S = 0.05
_RETRY_S = 0.25
_TTL_MARGIN_S = 10.0
_TARGET_SLACK_S = 5.0
_HURRIED_S = 2.0
_Seen = TypeVar("_Seen")
_HURRY_S = 0.02  # how soon a look that hangs is left when there is hurry


class Record(Protocol):
    """Takes an event of the timeline; may raise :class:`RecordError`."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class Injection:
    """A context manager around the time a fault is in force.

    Entering runs prepare → intent → inject → wait until effective; leaving heals and waits until healed, also on
    Ctrl-C (further ones are held back until the heal is through). Each step goes to ``record`` as an event with the
    instants around it (seconds, monotonic): ``fault_prepared``, ``inject_sent``, ``inject_acked``,
    ``effective_observed`` or ``effect_not_observed``, ``heal_sent``, ``heal_acked``, ``healed_observed`` or
    ``heal_not_observed``. Whether an unseen effect or recovery spoils the case is the judge's to say, so neither
    raises; what raises is a fault that cannot go in, or cannot be taken out (:class:`HealFailed`).

    ``hold_s`` is the longest the fault is meant to stay: the service's ttl and the guardian's deadline follow from
    it. ``witness`` is what witness recalls ask for. ``cancel``, once set, ends the waiting for an effect, and
    for a restart that is part of injecting (``inject_given_up`` then, where the fault needs its outcome); set before
    the injection, nothing goes in.
    """

    def __init__(
        self,
        fault: Fault,
        target: Target,
        ledger: Ledger,
        *,
        hold_s: float,
        record: Record,
        witness: WitnessCue | None = None,
        effect_deadline_s: float | None = None,
        heal_deadline_s: float = 30.0,
        observe_heal_s: float | None = None,
        cancel: threading.Event | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.fault = fault
        self._target = target
        self._ledger = ledger
        self._hold_s = hold_s
        self._record = record
        self._cue = witness or WitnessCue()
        self._effect_deadline_s = effect_deadline_s
        self._heal_deadline_s = heal_deadline_s
        self._observe_heal_s = observe_heal_s
        self._clock = clock or SystemClock()
        self._cancel = cancel or threading.Event()
        self._hurry = threading.Event()  # set where the case has ended otherwise: heal, but do not watch for long
        self._client: EngramClient | None = None
        self._observer: Observer | None = None
        self._recipes: tuple[Recipe, ...] = ()
        self._entry: int | None = None
        self._begun = False
        self._healed = False
        self._end_acting: Callable[[], None] = lambda: None
        self.effective: Observation | None = None
        self.healed: Observation | None = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            if not self._cancel.is_set():  # what is to be healed at once does not go in
                self.inject()
                self.wait_until_effective()
        except BaseException as error:  # Ctrl-C included
            self._leave(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._leave(error)

    @property
    def relieved(self) -> tuple[str, ...]:
        """Why the guardian healed the fault under us, if it did: the case was then not what it claims to be."""
        return self._ledger.relieved(self._entry) if self._entry is not None else ()

    def prepare(self) -> None:
        """See that the fault may and can go in, and how the target fares before it; changes nothing.

        Raises :class:`TargetNotOwned`, :class:`CapabilityMissing`, :class:`FaultError` where such a fault is in force
        already (healing ours would end somebody else's), :class:`TargetError` where the target does not answer.
        """
        self._ledger.guard.check(self._target)
        capability.require(self.fault.requires, self._target)
        self._client = client = self._target.client()
        if self.fault.slot and "chaos.listing" in self._target.capabilities:
            active = client.chaos_listing().find(self.fault.slot)
            if active is not None:
                raise FaultError(
                    f"{self.fault.slot} is in force already, and not by us",
                    where=self._target.base_url,
                    hint="heal it first: our heal would end it, and it would spoil the baseline",
                )
        self._recipes = self.fault.recipes(self._target)
        self._observer = self.fault.observer_of(self._target, client, self._cue)
        seen = _looked(self._observer.baseline, self._cancel.is_set)
        if self._effect_deadline_s is None:
            self._effect_deadline_s = self._observer.patience_s
        self._record("fault_prepared", fault=self.fault.to_json(), before=seen)

    def inject(self) -> None:
        """Write the intent down, then put the fault in. Raises :class:`RecordError`, :class:`FaultError`."""
        client, _ = self._prepared()
        span_s = (self._effect_deadline_s or 0.0) + self._hold_s + _TTL_MARGIN_S
        if self._recipes:
            self._entry = self._ledger.intent(
                self.fault.describe(),
                target=self._target.claimed_url,
                slot=self.fault.slot,
                recipes=self._recipes,
                detail=self.fault.to_json(),
                expires=self._clock.now() + span_s,
            )
        ttl_s = span_s + _TARGET_SLACK_S if "chaos.ttl" in self._target.capabilities else None
        self._begun = True
        sent = self._clock.now()
        self._record("inject_sent", at=sent, fault=self.fault.to_json(), ttl_s=ttl_s)
        try:
            self.fault.inject_into(HurriedTarget(self._target, self._cancel), client, ttl_s)
            self._end_acting = self.fault.act(self._target, client)
        except TargetError as error:
            if self._cancel.is_set():  # cut short, half in perhaps: what there is of it is healed at once
                self._record("inject_given_up", sent=sent, at=self._clock.now(), why=str(error))
                return
            raise FaultError(f"{self.fault.describe()} could not be injected: {error}") from error
        acked = self._clock.now()
        if self._entry is not None:
            self._ledger.injected(self._entry)
        self._record("inject_acked", sent=sent, at=acked)

    def wait_until_effective(self) -> Observation | None:
        """Look until the effect is seen; None where it is not in time, which is an event and no error."""
        deadline_s = self._effect_deadline_s or 0.0
        self.effective = self._watch(
            self._looks_effective,
            deadline_s,
            ("effective_observed", "effect_not_observed"),
            self._cancel,
            0,
        )
        return self.effective

    def _looks_effective(self, observer: Observer) -> Observation:
        """What the observer sees, at the dose that was asked for."""
        found = observer.effective()
        client, _ = self._prepared()
        why = self.fault.differs(self._target, client) if found.holds else ""
        return Observation(False, f"{found.evidence}, but {why}", found.detail) if why else found

    def heal(self) -> None:
        """Take the fault out and see it gone. Idempotent.

        Ctrl-C is held back until this is through, then raised. Raises :class:`HealFailed` where the target does not
        take the heal in ``heal_deadline_s``: the ledger stays open then, and the guardian tries again after us.
        """
        if self._healed or not self._intended():
            return
        problems: list[HarnessError] = []
        interrupt = _through(lambda: self._heal(problems), self._hurry)
        worst = next((p for p in problems if isinstance(p, HealFailed)), problems[0] if problems else None)
        if interrupt is not None:
            if worst is not None:
                interrupt.add_note(str(worst))
            raise interrupt
        if worst is not None:
            raise worst

    def _intended(self) -> bool:
        """Whether there is something to heal, also where an interrupt came before :meth:`inject` knew its entry."""
        if self._entry is None:
            ours = (entry.id for entry in self._ledger.open_entries if entry.recipes is self._recipes)
            self._entry = next(ours, None) if self._recipes else None
        return self._entry is not None or (self._begun and not self._recipes)

    def _heal(self, problems: list[HarnessError]) -> None:
        """In a thread of its own, which no Ctrl-C reaches."""
        if self._healed:
            return
        try:
            sent = self._clock.now()
            how = self._apply_until_taken()
            acked = self._clock.now()
            self._healed = True
            self._quietly(problems, self._close_entry, how)
            self._quietly(problems, self._record, "heal_sent", at=sent)
            self._quietly(problems, self._record, "heal_acked", sent=sent, at=acked, how=how)
            if self._observer is not None and self.effective is not None:
                self._quietly(problems, self._observer.heal_begins)
                limit_s = self._observe_heal_s
                if limit_s is None:
                    limit_s = max(self._heal_deadline_s, self._observer.patience_s)
                self._quietly(problems, self._see_healed, limit_s)
        except HealFailed as error:
            problems.append(error)
            if self._entry is not None:
                self._quietly(problems, self._ledger.heal_failed, self._entry, str(error))
            self._quietly(problems, self._record, "heal_failed", why=str(error))

    def _close_entry(self, how: str) -> None:
        if self._entry is not None:
            self._ledger.healed(self._entry, how)

    def _see_healed(self, limit_s: float) -> None:
        self.healed = self._watch(
            lambda observer: observer.healed(),
            limit_s,
            ("healed_observed", "heal_not_observed"),
            self._hurry,
            _HURRIED_S,
        )

    def _apply_until_taken(self) -> str:
        deadline = self._clock.now() + self._heal_deadline_s
        self._end_acting()
        while True:
            try:
                done = [apply(recipe) for recipe in sorted(self._recipes, key=stage)]
                return "; ".join(filter(None, [*done, self._brought_back()]))
            except HealFailed:
                if self._clock.now() + _RETRY_S >= deadline:
                    raise
                self._clock.wait(threading.Event(), _RETRY_S)

    def _brought_back(self) -> str:
        try:
            return self.fault.bring_back(self._target)
        except (TargetError, EnvironmentUnusable) as error:
            raise HealFailed(f"the target did not come back: {error}") from error

    def _watch(
        self,
        look: Callable[[Observer], Observation],
        limit_s: float,
        events: tuple[str, str],
        hurry: threading.Event,
        hurried_s: float,
    ) -> Observation | None:
        """Look until it holds or the time is over; ``hurry`` leaves ``hurried_s`` from when it is noticed."""
        _, observer = self._prepared()
        started = self._clock.now()
        deadline, hurried = started + limit_s, False
        last: dict[str, Any] = {}
        while True:
            if hurry.is_set() and not hurried:
                hurried, deadline = True, min(deadline, self._clock.now() + hurried_s)
            looked, found = self._clock.now(), None
            enough = partial(self._past, deadline) if hurried else hurry.is_set
            try:
                if not hurried or looked < deadline:
                    found = _looked(lambda: look(observer), enough)
            except TargetError as error:
                last = {"evidence": f"the target did not answer: {error.what}"}
            if found is not None:
                last = {"evidence": found.evidence, "detail": found.detail}
                if found.holds:
                    self._record(events[0], at=self._clock.now(), looked=looked, **last)
                    return found
            now = self._clock.now()
            if now >= deadline:
                self._record(events[1], at=now, waited_s=now - started, **last)
                return None
            self._clock.wait(threading.Event() if hurried else hurry, _POLL_S)

    def _past(self, deadline: float) -> bool:
        return self._clock.now() >= deadline

    def _leave(self, error: BaseException | None) -> None:
        if error is not None:
            self._hurry.set()
        try:
            self.heal()
        except (HealFailed, RecordError, TargetError) as problem:
            if error is None:
                raise
            error.add_note(str(problem))  # what ended the case stays the error; this must not go unsaid
        finally:
            if self._client is not None and (self._healed or not self._intended()):
                self._client.close()  # kept where healing failed, since it may be tried again

    def _prepared(self) -> tuple[EngramClient, Observer]:
        if self._client is None or self._observer is None:
            raise FaultError("the injection is not prepared")
        return self._client, self._observer

    @staticmethod
    def _quietly(problems: list[HarnessError], step: Callable[..., None], *args: Any, **fields: Any) -> None:
        """A full disk or a dying target must not end the heal: the problem is kept and raised after it."""
        try:
            step(*args, **fields)
        except (RecordError, TargetError) as error:
            problems.append(error)


def _looked(look: Callable[[], _Seen], enough: Callable[[], bool]) -> _Seen | None:
    """Look in a thread; None as soon as it is ``enough``: what ends a case waits for no observer whose requests hang.

    Raises what ``look`` raises.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="look")
    future = pool.submit(look)
    pool.shutdown(wait=False)
    while not future.done():
        if enough():
            return None
        wait((future,), _HURRY_S)
    return future.result()


def _through(work: Callable[[], None], hurry: threading.Event) -> KeyboardInterrupt | None:
    """Do ``work`` in a thread, to its end; answers the first Ctrl-C that came meanwhile, having set ``hurry``.

    Raises what ``work`` raises.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heal")
    future: Future[None] | None = None
    interrupt: KeyboardInterrupt | None = None
    while future is None or not future.done():
        try:
            future = future or pool.submit(work)  # asked twice, where an interrupt came between: as good as once
            wait((future,), 0.2)
        except KeyboardInterrupt as error:
            interrupt = interrupt or error
            hurry.set()
    pool.shutdown(wait=False)
    future.result()
    return interrupt
