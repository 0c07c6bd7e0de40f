"""What is looked at all along while a case runs: abort conditions, the observers, the load, the target; and what
people are told meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.clock import Clock
from harness.errors import Aborted
from harness.experiment import Experiment
from harness.faults.abort_watch import AbortWatch
from harness.load.statistics import LiveStats
from harness.load.supervisor import LoadSupervisor
from harness.model import Status
from harness.probes.machine import memory_share
from harness.probes.poller import Poller
from harness.scenario.abort import AbortCondition
from harness.targets.base import Target
from harness.timeline.record import CaseWriter

TICK_S = 0.25  # how often abort conditions are looked at


class CaseWatch:
    """Lets time pass while somebody looks. :attr:`may_be_down`: the target is meant to be down at the moment."""

    def __init__(
        self,
        experiment: Experiment,
        target: Target,
        writer: CaseWriter,
        *,
        clock: Clock,
        progress: Callable[[Status], None],
    ) -> None:
        self.load: LoadSupervisor | None = None
        self.probes: Sequence[Poller] = ()
        self.may_be_down = False
        self._experiment = experiment
        self._target = target
        self._writer = writer
        self._clock = clock
        self._progress = progress
        self._before: LiveStats | None = None
        self._offering = False
        self._aborts = AbortWatch(experiment.aborts, self._readings, on_trip=self._met, clock=clock)
        self.tripped = self._aborts.tripped

    def offering(self) -> None:
        """The load is offered from here on, so its figures are shown and abort conditions looked at."""
        self._offering = True
        self._aborts.start()

    def stop(self) -> None:
        """Look at abort conditions no more; idempotent."""
        self._aborts.stop()

    def wait(self, seconds: float, phase: str) -> None:
        """Let time pass while abort conditions are looked at and people are told. Raises as :meth:`look`."""
        end = self._clock.now() + seconds
        while (left := end - self._clock.now()) > 0:
            self.look(phase)
            self.show(phase, left)
            self._clock.wait(self.tripped, min(TICK_S, left))

    def look(self, phase: str) -> None:
        """Raises :class:`Aborted` where the case must not go on, and what :meth:`LoadSupervisor.check_alive` raises."""
        for probe in self.probes:
            if probe.trouble is not None:
                raise Aborted(f"recording failed during {phase}: {probe.trouble}", where=str(self._writer.folder))
        if self.load is not None:
            self.load.check_alive()
        if not self.may_be_down and not self._target.alive():
            tail = self._target.log_tail(8)
            raise Aborted(
                f"the target died during {phase}" + (f"; its log ends: {tail}" if tail else ""),
                where=self._target.base_url,
            )
        if self.tripped.is_set():
            raise Aborted(f"during {phase}: {self._aborts.reason}", where=str(self._writer.folder))

    def show(self, phase: str, left_s: float) -> None:
        """Tell people the phase, the seconds left of it, and how the load fares."""
        rate = p99_ms = math.nan
        errors = None
        if self.load is not None and self._offering:
            live = self.load.recent(3.0)
            rate, p99_ms = live.rate, live.recall_latency.percentile(99) * 1e3
            errors = sum(self.load.live().errors.values())
        self._progress(Status(self._experiment.name, phase, left_s, rate, p99_ms, errors))

    def _readings(self) -> dict[str, float]:
        """What abort conditions are about, now: of the requests since the last look, and of the target's process."""
        assert self.load is not None
        now, process = self.load.live(), self._target.process
        recent = now.since(self._before) if self._before is not None else now
        self._before = now
        down = process is not None and not self.may_be_down and not process.alive()
        return {
            "error_rate": recent.error_rate,
            "recall_p99_ms": recent.recall_latency.percentile(99) * 1e3,
            "process_dead": float(down),
            "memory_share": memory_share(self._target.pid),
        }

    def _met(self, condition: AbortCondition, why: str) -> None:
        self._writer.event("abort_condition_met", condition=condition.as_json(), detail=why)
