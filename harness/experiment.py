"""One experiment as it is asked for, and as its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.engram.capabilities import Capabilities
from harness.faults.base import Fault
from harness.faults.remedy import RemedyPlan
from harness.monitoring.expectations import AlertPlan
from harness.monitoring.stack import StackPlan
from harness.scenario.abort import AbortCondition
from harness.scenario.profiles import Profile
from harness.scenario.slo import Objectives
from harness.scenario.workload import Workload


@dataclass(frozen=True)
class Experiment:
    """One case: a fault, the load it happens under, and the limits it is judged by."""

    name: str
    fault: Fault
    workload: Workload
    profile: Profile
    objectives: Objectives
    seed: int
    cohort_rate: float
    requires: frozenset[str] = frozenset()
    aborts: tuple[AbortCondition, ...] = ()
    wait_s: float = 0.0  # for a target that another harness holds
    attempt: int = 1
    remedy: RemedyPlan | None = None  # carried out while the fault is in force
    flags: Mapping[str, bool | float] | None = None  # in force before the fault; None: blended recall for the cohort
    panel: bool = False
    alert: AlertPlan | None = None  # must fire for the fault, and be resolved after it
    monitoring: StackPlan | None = None  # what the monitoring stack is held against, under the fault and after it
    facts: dict[str, Any] = field(default_factory=dict)

    def manifest(self, target: dict[str, Any], capabilities: Capabilities, started: str) -> dict[str, Any]:
        """``manifest.json``; ``started`` is a label of wall time."""
        return {
            "case": self.name,
            "attempt": self.attempt,
            "started": started,
            "seed": self.seed,
            "fault": {**self.fault.to_json(), "text": self.fault.describe()},
            "cohort_rate": self.cohort_rate,
            "workload": self.workload.as_json(),
            "profile": self.profile.as_json(),
            "slo": self.objectives.as_json(),
            "aborts": [condition.as_json() for condition in self.aborts],
            "target": target,
            "capabilities": {"present": sorted(capabilities.names), "missing": dict(capabilities.reasons)},
            **self.facts,
            **(self.remedy.as_json() if self.remedy else {}),
            **({"alert": self.alert.as_json()} if self.alert else {}),
            **({"monitoring": self.monitoring.as_json()} if self.monitoring else {}),
        }
