"""One experiment, one case directory. The runner records; it judges only to know whether to go on watching."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from harness.case_flags import case_flags
from harness.case_monitoring import LONGEST_LOOK_S, CaseMonitoring
from harness.case_watch import TICK_S, CaseWatch
from harness.clock import Clock, SystemClock
from harness.engram.capabilities import Capabilities
from harness.engram.client import EngramClient
from harness.errors import Aborted, CapabilityMissing, HarnessError, NotExercised
from harness.experiment import Experiment
from harness.faults import capability
from harness.faults.composition import injection_for
from harness.faults.ledger import Ledger
from harness.faults.no_fault import NoFault
from harness.faults.remedy import RemedyStage, prepared
from harness.judge.steady_state import SteadyState, steady_state_so_far
from harness.judge.summary import CaseSummary
from harness.load.plan import LoadPlan
from harness.load.supervisor import LoadSupervisor
from harness.model import Status
from harness.monitoring.annotations import Annotator
from harness.probes.alerts import AlertProbe
from harness.probes.machine import host_probe, process_probe
from harness.probes.panel import panel_probe, store_panel
from harness.probes.poller import Poller
from harness.probes.prometheus import keep_series_of
from harness.probes.service import service_probes
from harness.probes.settling import settle
from harness.targets.base import Target
from harness.timeline.record import CaseWriter, read_case

WARM_UP_S = 1.5  # connections, caches and the allocator's first growth; part of no window
ALERT_PATIENCE = 1.5  # of the time an alert may take
_BASELINES = 3
_WATCH_STEP_S = 1.0


class ExperimentRun:
    """Runs one experiment on one target and records it."""

    def __init__(
        self,
        experiment: Experiment,
        target: Target,
        writer: CaseWriter,
        ledger: Ledger,
        *,
        clock: Clock | None = None,
        progress: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self.experiment = experiment
        self._target = target
        self._writer = writer
        self._ledger = ledger
        self._clock = clock or SystemClock()
        self._probes: list[Poller] = []
        self._load: LoadSupervisor | None = None
        self._begun = math.nan
        self._watch = CaseWatch(experiment, target, writer, clock=self._clock, progress=progress)
        plan = experiment.monitoring
        self._monitoring = CaseMonitoring(plan, target, writer, self._watch, self._clock) if plan is not None else None
        self._alerts: AlertProbe | None = None
        self._marks: Annotator | None = None

    def run(self) -> None:
        """Run and record.

        The case directory tells how it went, whatever happens. Raises :class:`CapabilityMissing` where the target
        lacks something, :class:`Aborted` where the run was cut short; Ctrl-C passes through after healing.
        """
        self._begun = self._writer.event("run_started")
        try:
            self._stages()
            self._event("run_ended")
        except CapabilityMissing as error:
            self._writer.event("unsupported", reason=str(error))
            raise
        except (NotExercised, Aborted) as error:
            self._event("aborted" if isinstance(error, Aborted) else "run_ended", reason=error.what)
            raise
        except HarnessError as error:
            self._event("aborted", reason=str(error))
            raise Aborted(str(error), where=str(self._writer.folder)) from error
        except BaseException as error:
            what = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            self._event("aborted", reason=what)
            raise
        finally:
            self._tear_down()

    # the stages

    def _stages(self) -> None:
        self._watch.show("start", 0.0)
        self._manifest(capability.missing(self.experiment.requires, None))
        capability.require_host(self.experiment.requires)
        self._target.start()
        self._event("target_started")
        self._manifest()
        self._ledger.claim(self._target.claimed_url, wait_s=self.experiment.wait_s)
        capability.require(self.experiment.requires, self._target)
        with (
            self._target.client() as client,
            case_flags(self.experiment, self._target, client, self._ledger, self._writer),
        ):
            try:
                load = self._start_load(client)
                self._watch.wait(WARM_UP_S, "warm-up")
                if self._monitoring is not None:
                    self._monitoring.settle()
                if self._may_inject(self._baseline()):
                    self._fault_and_after(load)
            finally:
                self._probes_stop()  # whatever ended it: they ask through this client
            self._watch.stop()
            summary = load.stop()
            self._writer.event("load_stopped", completed=summary.completed)
            self._watch.show("read-back", 0.0)
            load.verify()

    def _fault_and_after(self, load: LoadSupervisor) -> None:
        remedy = prepared(self.experiment.remedy, self._target, load, self._event, self._abort_s, self._clock)
        self._fault(remedy)
        if remedy is None:
            self._after()

    def _start_load(self, client: EngramClient) -> LoadSupervisor:
        experiment = self.experiment
        profile = experiment.profile
        longest = (profile.baseline_s + profile.fault_s + profile.after_s) * 2 + 600.0 + self._longest_looks_s
        plan = LoadPlan(
            workload=experiment.workload,
            base_url=self._target.base_url,
            seed=experiment.seed,
            folder=self._writer.folder / "samples",
            max_duration_s=longest,
        )
        self._load = self._watch.load = load = LoadSupervisor(plan, self._clock)
        self._watch.show("preload", 0.0)
        load.preload()
        self._writer.event("preloaded")
        if experiment.panel:
            store_panel(client)
        self._settle(client)
        metrics = self._writer.folder / "metrics"

        def pid() -> int | None:
            return self._target.pid

        self._probes = service_probes(client, self._target.capabilities.names, metrics, self._clock)
        self._probes += [host_probe(pid, metrics, self._clock), process_probe(pid, metrics, self._clock)]
        self._probes += [panel_probe(client, metrics, self._clock)] if experiment.panel else []
        if self._target.prometheus_url is not None and experiment.alert is not None:
            self._alerts = AlertProbe(self._target.prometheus_url, metrics, self._clock)
            self._probes.append(self._alerts)
        self._watch.probes = self._probes
        for probe in self._probes:
            probe.start()
        self._writer.event("load_started", t0=load.start())
        self._watch.offering()
        return load

    def _settle(self, client: EngramClient) -> None:
        """Wait until consolidation has turned the preloaded memories into concepts and their number stands still."""
        forming = (self.experiment.flags or {}).get("dual_memory_types", True)
        if "consolidations" not in self._target.capabilities.names or not forming:
            return
        interval_s = self.experiment.profile.consolidation_interval_s
        look = partial(self._watch.look, "settle")
        bindings, steady = settle(client, interval_s, self._clock, look)
        self._writer.event("settled", bindings=bindings, steady=steady)

    def _baseline(self) -> SteadyState:
        """Record the baseline. One that decides nothing goes on, up to ``_BASELINES`` times as long, all of it counted:
        a noisy neighbour's stall weighs less in it, and nothing is thrown away to look better.
        """
        self._event("baseline_started")
        for _ in range(_BASELINES):
            self._watch.wait(self.experiment.profile.baseline_s, "baseline")
            ended = self._clock.now()
            steady = steady_state_so_far(read_case(self._writer.folder), ended)
            if not steady.undecided:
                break
        self._event("baseline_ended", at=ended)
        return steady

    def _may_inject(self, steady: SteadyState) -> bool:
        """Whether the steady state was established; where not, nothing is injected.

        A control case injects nothing anyway: it goes on, so that its assertions say what is wrong.
        """
        if self.experiment.fault.kind == NoFault.kind:
            return True
        if steady.reasons:
            self._writer.event("baseline_rejected", reasons=steady.reasons)
        return not steady.reasons

    @property
    def _longest_alert_s(self) -> float:
        alert = self.experiment.alert
        return 0.0 if alert is None else ALERT_PATIENCE * (alert.fires_s + alert.resolves_s)

    @property
    def _longest_looks_s(self) -> float:
        """What alerts and looks at the monitoring stack may add to the phases."""
        plan = self.experiment.monitoring
        return self._longest_alert_s + (0.0 if plan is None else plan.patience_s + 2 * LONGEST_LOOK_S)

    @property
    def _abort_s(self) -> float:
        return self.experiment.objectives.limits["drill_abort_s"].value

    def _fault(self, remedy: RemedyStage | None) -> None:
        fault, profile = self.experiment.fault, self.experiment.profile
        injection = injection_for(
            fault,
            self._target,
            self._ledger,
            record=self._event,
            clock=self._clock,
            cancel=self._watch.tripped,
            hold_s=self._longest_looks_s
            + (profile.fault_s if remedy is None else remedy.longest_s(profile.fault_s, profile.after_s)),
            observe_heal_s=self._abort_s,
        )
        hold_s = min(profile.fault_s, fault.longest_hold_s)
        self._watch.show("inject", hold_s)
        read_recent = self._load.stand_by() if fault.takes_target_down and self._load is not None else None
        self._watch.may_be_down = fault.takes_target_down
        with injection:
            self._watch.look("inject")
            if injection.effective is None:
                return  # nothing to hold: the judge says NOT_EXERCISED
            self._writer.event("fault_in_force")
            if self.experiment.alert is not None:
                self._until_alert("firing", self.experiment.alert.fires_s, "alert")
            if remedy is None:
                self._watch.wait(hold_s, "fault")
                self._look_at_monitoring()
            else:
                self._roll_back(remedy, hold_s)
            held_until = self._clock.now()
        self._watch.may_be_down = False
        if injection.relieved:
            raise Aborted(f"the guardian healed the fault under us: {'; '.join(injection.relieved)}")
        if remedy is None:
            self._event("after_started")
        if read_recent is not None:
            self._writer.event("recent_read_back", asked=read_recent(held_until).asked)

    def _roll_back(self, remedy: RemedyStage, hold_s: float) -> None:
        """Wait for the trigger (or the fault's time), roll back, watch recovery with the fault still in force."""
        if not remedy.wait_until_due(hold_s, self._watch.wait):
            return
        self._watch.may_be_down = True
        self._watch.show("rollback", 0.0)
        remedy.carry_out()
        self._watch.may_be_down = self.experiment.fault.takes_target_down
        self._event("after_started")
        self._after()
        self._event("after_ended")

    def _after(self) -> None:
        """Watch for ``after_s``, and on until every signal is back or the abort limit has passed."""
        profile = self.experiment.profile
        begun = self._clock.now()
        if self.experiment.alert is not None:
            self._until_alert("inactive", self.experiment.alert.resolves_s, "resolving")
        self._watch.wait(profile.after_s, "recovery")
        self._look_at_monitoring()
        while self._clock.now() - begun < max(self._abort_s, profile.after_s):
            summary = CaseSummary(read_case(self._writer.folder))
            if all(r.state in ("recovered", "never_left") for r in summary.recoveries):
                return
            self._watch.wait(_WATCH_STEP_S, "recovery")

    def _look_at_monitoring(self) -> None:
        if self._monitoring is not None:
            self._monitoring.look()

    # waiting, watching, ending

    def _until_alert(self, state: str, expected_s: float, phase: str) -> None:
        """Wait until the case's alert is in ``state``, or so long that it is late beyond doubt."""
        assert self.experiment.alert is not None
        name, end = self.experiment.alert.name, self._clock.now() + ALERT_PATIENCE * expected_s
        while (left := end - self._clock.now()) > 0:
            if self._alerts is not None and self._alerts.state(name) == state:
                self._writer.event("alert_seen", alert=name, state=state)
                return
            self._watch.wait(min(TICK_S, left), phase)

    def _event(self, event: str, /, **fields: Any) -> None:
        self._writer.event(event, **fields)
        if self._marks is None and self._target.grafana_url is not None:
            experiment = self.experiment
            self._marks = Annotator(
                self._target.grafana_url, experiment.name, experiment.fault.describe(), self._writer.event
            )
        if self._marks is not None:
            self._marks.mark(event)

    def _probes_stop(self) -> None:
        for probe in self._probes:
            probe.stop()

    def _tear_down(self) -> None:
        self._watch.stop()
        self._probes_stop()
        if self._load is not None:
            self._load.kill()
        try:
            if self._load is not None and self._target.prometheus_url is not None:
                keep_series_of(self._target.prometheus_url, self._writer, self._begun, self._clock)
        finally:
            if self._marks is not None:
                self._marks.close()
            self._target.stop()
            self._writer.close()

    def _manifest(self, missing: dict[str, str] | None = None) -> None:
        """Write it; before the target is there, only what this machine is ``missing`` is known of capabilities."""
        found = Capabilities(frozenset(), missing) if missing is not None else self._target.capabilities
        self._writer.manifest(self.experiment.manifest(self._target.describe(), found, self._clock.wall()))
