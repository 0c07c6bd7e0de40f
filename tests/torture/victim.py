"""A harness that is to be killed: one case with one fault, from the manifest to the end of the run.

Runs in a process forked by :mod:`tests.torture.lane`. At ``step`` it kills itself with SIGKILL: ``before``,
``between`` (the journal has the line, the record has not) or ``after`` the Nth ledger line, ``before`` or ``after``
the injection or the heal. With the step ``random`` somebody else does, whenever they like.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from harness.engram import Capabilities
from harness.errors import HarnessError
from harness.experiment import Experiment
from harness.faults import guarding as guarding_module
from harness.faults import injection as injection_module
from harness.faults.base import Fault
from harness.faults.catalogue import fault_from_json
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.runner import ExperimentRun
from harness.scenario.profiles import load_profile
from harness.scenario.slo import load_objectives
from harness.scenario.workload import Clustered, load_workload
from harness.settings import scenarios_folder
from harness.targets.attached import AttachedTarget
from harness.targets.base import ProcessIdentity, Target
from harness.targets.embedded import EmbeddedTarget
from harness.targets.proxied import ProxiedTarget
from harness.timeline.jsonl import JsonLines
from harness.timeline.record import CaseWriter

CONFIG = "[features]\ndual_memory_types = true\nblended_recall = true\n[consolidation]\ninterval_seconds = 0.1\n"
SURVIVED = 0
REFUSED = 3


@dataclass(frozen=True)
class Life:
    """How one victim lives and dies. ``url`` is empty where it starts a target of its own.

    ``process`` is that of the lane's target, where the fault is one of a process that outlives the victim.
    """

    case: Path
    fault: dict[str, Any]
    step: str
    hold_s: float
    url: str = ""
    process: ProcessIdentity | None = None
    guardian_too: bool = False
    whole: bool = False
    """Run a whole experiment with load and probes, as a drill does, instead of the injection alone."""


def die(life: Life) -> NoReturn:
    """SIGKILL to ourselves, and to our guardian first where it is to die with us."""
    if life.guardian_too:
        for one in list(guarding_module._guards.values()):
            # Held for good, where we do not hold it: nobody may replace the guardian between the two deaths.
            one._lock.acquire(timeout=1.0)
            if one._child is not None:
                os.kill(one._child.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()
    raise AssertionError


def live(life: Life, armed: int) -> int:
    """The whole run; ``armed`` gets a byte once there is a case directory. Answers an exit status."""
    fault = fault_from_json(life.fault)
    writer = CaseWriter(life.case)
    writer.manifest(
        {
            "case": life.case.name,
            "attempt": 1,
            "started": writer.clock.wall(),
            "seed": 1,
            "fault": {**fault.to_json(), "text": fault.describe()},
            "cohort_rate": 0.5,
            "slo": {},
            "profile": {},
            "target": {"target": "torture"},
        }
    )
    writer.event("run_started")
    os.write(armed, b"a")
    try:
        with Ledger(life.case / "ledger.jsonl") as ledger:
            target = _target(life, fault, ledger)
            _arrange(life, fault)
            if life.whole:
                ExperimentRun(_experiment(life, fault), target, writer, ledger).run()
                return SURVIVED
            with target:
                ledger.claim(target.claimed_url, wait_s=10.0)
                with Injection(
                    fault,
                    target,
                    ledger,
                    hold_s=60.0,
                    record=_record(writer),
                    effect_deadline_s=3.0,
                    observe_heal_s=3.0,
                ):
                    threading.Event().wait(min(life.hold_s, fault.longest_hold_s))
    except HarnessError as error:
        writer.event("aborted", reason=str(error))
        print(error, flush=True)
        return REFUSED
    writer.event("run_ended")
    return SURVIVED


class LentTarget(AttachedTarget):
    """The lane's own target, process and all; it lives on, and must be as it was."""

    def __init__(self, url: str, process: ProcessIdentity) -> None:
        super().__init__(url, claimed=True)
        self._process = process

    @property
    def process(self) -> ProcessIdentity:
        return self._process

    @property
    def capabilities(self) -> Capabilities:
        return super().capabilities.plus("process")


def _experiment(life: Life, fault: Fault) -> Experiment:
    """A drill in miniature: every stage of it, each as short as it can be."""
    scenarios = scenarios_folder()
    profile = load_profile(scenarios / "profiles.toml", "quick")
    workload = load_workload(scenarios / "drill.toml").at_rate(40.0)
    data = replace(workload.data, num_nodes=30, distribution=Clustered(3, 0.1))
    objectives = load_objectives(scenarios / "slo.toml").at_scale(500.0)
    return Experiment(
        name=life.case.name,
        fault=fault,
        workload=replace(workload, data=data),
        profile=replace(profile, baseline_s=0.8, fault_s=0.8, after_s=0.5, rate_ops_per_s=40.0),
        objectives=objectives,
        seed=1,
        cohort_rate=0.75,
    )


def _record(writer: CaseWriter) -> Any:
    def record(event: str, /, **fields: Any) -> None:
        writer.event(event, **fields)

    return record


def _target(life: Life, fault: Fault, ledger: Ledger) -> Target:
    """The target as the fault wants it started."""
    found: Target
    if life.process is not None:
        found = LentTarget(life.url, life.process)
    elif life.url:
        found = AttachedTarget(life.url, claimed=True)
    else:
        shim = "disk_shim" in fault.wants
        found = EmbeddedTarget(life.case, config_text=CONFIG, register=ledger.register_process, disk_shim=shim)
    if "proxy" in fault.wants:
        return ProxiedTarget(found, life.case, register=ledger.register_process)
    return found


def _arrange(life: Life, fault: Fault) -> None:
    place, _, what = life.step.partition("-")
    if what.startswith("append"):
        _die_at_append(life, place, int(what.rpartition("-")[2]))
    elif what == "inject":
        _die_around(life, type(fault), "inject_into", place)
    elif what == "heal":
        if place == "middle":
            _die_around(life, type(fault), "bring_back", "before")
        else:
            _die_around(life, injection_module, "apply", place)


def _die_around(life: Life, owner: Any, name: str, place: str) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if place == "before":
            die(life)
        result = original(*args, **kwargs)
        if place == "after":
            die(life)
        return result

    setattr(owner, name, wrapped)


def _die_at_append(life: Life, place: str, number: int) -> None:
    """Count the durable appends: each ledger line is two, the journal's and the record's."""
    original = JsonLines.append
    count = 0

    def append(self: JsonLines, value: dict[str, Any]) -> None:
        nonlocal count
        if "entry" not in value:
            original(self, value)
            return
        count += 1
        first, line = count % 2 == 1, (count + 1) // 2
        if line == number and first and place == "before":
            die(life)
        original(self, value)
        if line == number and ((first and place == "between") or (not first and place == "after")):
            die(life)

    JsonLines.append = append  # type: ignore[method-assign]
