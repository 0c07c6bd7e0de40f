"""Injects what the schedule says, in a thread of its own, through the ledger as every drill does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from harness.clock import Clock
from harness.errors import Aborted, HarnessError
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.soak.plan import SoakPlan
from harness.soak.schedule import Planned
from harness.targets.base import Target

_LEAST_HOLD_S = 1.0
_PATIENCE_S = 60.0


class Nemesis:
    """A context manager around the recording; leaving it heals whatever is in force."""

    def __init__(
        self,
        plan: SoakPlan,
        target: Target,
        ledger: Ledger,
        record: Callable[..., None],
        clock: Clock,
        at_s: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._target = target
        self._ledger = ledger
        self._record = record
        self._clock = clock
        self._at_s = at_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self._trouble: HarnessError | None = None
        self.active = False

    def __enter__(self) -> Self:
        if self._plan.faults:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def check(self) -> None:
        """Raise :class:`Aborted` where a fault could not be injected or healed."""
        if self._trouble is not None:
            raise Aborted(str(self._trouble)) from self._trouble

    def _run(self) -> None:
        try:
            for planned in self._plan.faults:
                due = self._plan.real(planned.at_s)
                if due < self._at_s():
                    continue  # it was due before this segment, or in the gap
                if self._clock.wait(self._stop, due - self._at_s()):
                    return
                self._inject(planned)
        except HarnessError as error:
            self._trouble = error

    def _inject(self, planned: Planned) -> None:
        hold_s = self._plan.real(planned.hold_s, _LEAST_HOLD_S)
        self.active = True
        self._record("fault_begins", at_s=self._at_s(), text=planned.fault.describe())
        try:
            injection = Injection(
                planned.fault,
                self._target,
                self._ledger,
                hold_s=hold_s,
                record=self._event,
                cancel=self._stop,
                clock=self._clock,
            )
            with injection:
                self._clock.wait(self._stop, hold_s)
        finally:
            self._record("fault_ends", at_s=self._at_s(), text=planned.fault.describe())
            self.active = False

    def _event(self, event: str, /, **fields: Any) -> None:
        self._record(event, **fields, at_s=self._at_s())
