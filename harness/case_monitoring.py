"""A case's looks at the monitoring stack of its target: what ``validate-monitoring`` asks, written into the record."""

from __future__ import annotations

import threading

from harness.case_watch import TICK_S, CaseWatch
from harness.clock import Clock
from harness.errors import HarnessError
from harness.judge.monitoring import EVENT
from harness.monitoring.stack import Stack, StackPlan, has_data, observe_stack
from harness.monitoring.validation import Finding, unasked
from harness.targets.base import Target
from harness.timeline.record import CaseWriter

LONGEST_LOOK_S = 60.0  # hundreds of requests, each of which may be late


class CaseMonitoring:
    """Looks, while the abort conditions of the case go on being looked at."""

    def __init__(self, plan: StackPlan, target: Target, writer: CaseWriter, watch: CaseWatch, clock: Clock) -> None:
        self._plan = plan
        self._target = target
        self._writer = writer
        self._watch = watch
        self._clock = clock

    def settle(self) -> None:
        """Wait until a stack that is all right has had its time; one that is not is found by the looks."""
        url, begun, ready = self._target.prometheus_url, self._clock.now(), False
        while url is not None and not ready and self._clock.now() - begun < self._plan.patience_s:
            ready = has_data(url, self._plan.spec)
            if not ready:
                self._watch.wait(TICK_S, "monitoring")
        self._writer.event("monitoring_settled", ready=ready, waited_s=self._clock.now() - begun)

    def look(self) -> None:
        """Ask everything once and record the answers. Raises as :meth:`CaseWatch.wait`."""
        asked, asking = self._clock.now(), _Asking(self._stack(), self._plan, self._clock)
        while not asking.done() and self._clock.now() - asked < LONGEST_LOOK_S:
            self._watch.wait(TICK_S, "monitoring")
        findings = asking.answer()
        self._writer.event(EVENT, asked=asked, findings=[finding.as_json() for finding in findings])

    def _stack(self) -> Stack:
        target = self._target
        none = f"there is none beside the target {target.name}"
        absent = {"prometheus": none, "grafana": none, **target.describe().get("absent", {})}
        return Stack(target.prometheus_url, target.grafana_url, target.base_url, absent)


class _Asking:
    """The questions, in a thread of its own: a service that hangs must not keep the case from being aborted."""

    def __init__(self, stack: Stack, plan: StackPlan, clock: Clock) -> None:
        self._findings: list[Finding] | None = None
        self._trouble: HarnessError | None = None
        self._thread = threading.Thread(target=self._run, args=(stack, plan, clock), name="monitoring", daemon=True)
        self._thread.start()

    def _run(self, stack: Stack, plan: StackPlan, clock: Clock) -> None:
        try:
            self._findings = observe_stack(stack, plan, clock)
        except HarnessError as error:
            self._trouble = error

    def done(self) -> bool:
        return not self._thread.is_alive()

    def answer(self) -> list[Finding]:
        """What was found. Raises what the asking raised."""
        if self._trouble is not None:
            raise self._trouble
        if self._findings is None:
            why = "broke off" if self.done() else f"did not end within {LONGEST_LOOK_S:g} s"
            return [unasked("monitoring", f"the questions {why}")]
        return self._findings
