"""Every question to a monitoring stack at once: of a command, which wants an error, and of a drill, which records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.monitoring.assets import load_spec
from harness.monitoring.grafana import GrafanaClient
from harness.monitoring.validation import Finding, skipped, unasked, validate_exporter, validate_prometheus
from harness.monitoring.validation_grafana import validate_grafana
from harness.monitoring.validation_witness import validate_witness
from harness.prometheus import PrometheusClient
from harness.scenario.monitoring import MonitoringSpec
from harness.scenario.slo import load_objectives

LOOK_S = 0.5
_PATIENCE_S = 600.0  # at the usual intervals; divided by the time scale
_LEAST_PATIENCE_S = 30.0
_PASSING_S = 5.0  # what is wrong for no longer is a stall of the machine, and no lie
_NOT_ASKED = {"prometheus": "no --prometheus-url", "grafana": "no --grafana-url", "engram": "no --target"}


@dataclass(frozen=True)
class StackPlan:
    """What a stack is held against. ``patience_s``: how long it may take until its rules have data."""

    spec: MonitoringSpec
    latency_agreement: float
    patience_s: float = _PATIENCE_S

    def as_json(self) -> dict[str, Any]:
        """For a case's manifest."""
        return {"witness_latency_agreement": self.latency_agreement, "patience_s": self.patience_s}


def stack_plan(scenarios: Path, time_scale: float = 1.0) -> StackPlan:
    """The plan for a stack whose intervals are divided by ``time_scale``. Raises :class:`ConfigError`."""
    agreement = load_objectives(scenarios / "slo.toml").limits["witness_latency_agreement"].value
    return StackPlan(load_spec(scenarios), agreement, max(_LEAST_PATIENCE_S, _PATIENCE_S / time_scale))


@dataclass(frozen=True)
class Stack:
    """Where a stack is; ``absent`` says why there is no ``prometheus``, ``grafana`` or ``engram``."""

    prometheus: str | None
    grafana: str | None
    engram: str | None
    absent: Mapping[str, str] = field(default_factory=dict)


def validate_stack(stack: Stack, plan: StackPlan) -> list[Finding]:
    """Every finding about what is there; the others are skipped, with the reason.

    Raises an error of exit code 3 where a URL does not answer, refuses us, or is something else.
    """
    return [finding for _, ask in _parts(stack, plan) for finding in ask()]


def observe_stack(stack: Stack, plan: StackPlan, clock: Clock) -> list[Finding]:
    """The same for a record: what does not answer, refuses us or is something else could not be asked, with the reason.

    Prometheus is asked again for a while as long as something of it is wrong: what lasts a moment is no lie.
    """
    never, end = threading.Event(), clock.now() + _PASSING_S
    while stack.prometheus is not None and clock.now() < end and not has_data(stack.prometheus, plan.spec):
        clock.wait(never, LOOK_S)
    found: list[Finding] = []
    for name, ask in _parts(stack, plan):
        try:
            found += ask()
        except (TargetError, UsageError) as error:
            found.append(unasked(name, str(error)))
    return found


def has_data(prometheus: str, spec: MonitoringSpec) -> bool:
    """Whether a stack that is all right has had its time: what only takes time is not said to be wrong."""
    try:
        with PrometheusClient.from_environment(prometheus) as client:
            return all(finding.verdict != "failed" for finding in validate_prometheus(client, spec))
    except TargetError:
        return False


def _parts(stack: Stack, plan: StackPlan) -> list[tuple[str, Callable[[], list[Finding]]]]:
    """What there is to ask, by the name of the whole where none of its questions can be."""
    why = {**_NOT_ASKED, **stack.absent}

    def prometheus(url: str) -> list[Finding]:
        with PrometheusClient.from_environment(url) as client:
            return validate_prometheus(client, plan.spec)

    def grafana(url: str) -> list[Finding]:
        with GrafanaClient.from_environment(url) as client:
            return validate_grafana(client, plan.spec)

    def exporter(url: str) -> list[Finding]:
        with EngramClient(url) as client:
            return [validate_exporter(client, plan.spec)]

    def witness(url: str) -> list[Finding]:
        with EngramClient(url) as client:
            return validate_witness(client, latency_agreement=plan.latency_agreement)

    def part(name: str, whole: str, url: str | None, ask: Callable[[str], list[Finding]]) -> Any:
        return name, lambda: ask(url) if url else [skipped(whole, why[whole])]

    found = [
        part("prometheus", "prometheus", stack.prometheus, prometheus),
        part("grafana", "grafana", stack.grafana, grafana),
        part("metrics exported", "engram", stack.engram, exporter),
    ]
    return [*found, part("witness", "engram", stack.engram, witness)] if stack.engram else found
