"""One live phase of a rehearsal: the soak, a run of cohort-split load, the drills; each recorded as in earnest."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.drilling import engram_toml, software_facts
from harness.errors import Aborted, EnvironmentUnusable, HarnessError, NotExercised
from harness.experiment import Experiment
from harness.faults.ledger import Ledger
from harness.faults.no_fault import NoFault
from harness.rollout.plan import Phase, Plan
from harness.runner import ExperimentRun
from harness.scenario.profiles import Profile, load_profile
from harness.scenario.slo import load_objectives
from harness.scenario.workload import Workload, load_workload
from harness.settings import scenarios_folder
from harness.soak.plan import make_plan
from harness.soak.running import start_soak
from harness.starting import TargetMaker
from harness.targets.base import Target
from harness.timeline.record import CaseWriter

LEAST_S = 8.0  # of a phase: below it nothing at all can be seen
SOAK = ("2h", 360.0)  # faster, and a consolidation's 450 s would be less than a busy machine's hiccup
PROFILE = "rehearsal"
CONSOLIDATION_S = 0.5
_ROOM = 1.03  # what the windows lose at their edges
_DRILL_LIMIT_S = 400.0
# The drills' pytest ends when we do, however we end: the kernel sends it SIGKILL (PR_SET_PDEATHSIG, 1, is kept over
# exec), and its own guardian heals what it had broken.
_FOLLOWER = """import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(130)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])
"""
Show = Callable[[str], None]


@dataclass(frozen=True)
class Rehearsed:
    """How a rehearsal's phases are run: the plan, its pace, the load's seed."""

    plan: Plan
    time_scale: float
    seed: int
    target: str = "embedded"

    def real_s(self, phase: Phase) -> float:
        """How long a phase takes."""
        return max(LEAST_S, phase.minimum_duration_s / self.time_scale) * _ROOM


def run_phase(
    how: Rehearsed, phase: Phase, folder: Path, defects: tuple[str, ...], *, clock: Clock | None = None
) -> str:
    """Record one run of a phase below ``folder``; answers how it went wrong, or nothing.

    A target that dies or a run that is cut short is recorded and judged like any other.
    """
    clock = clock or SystemClock()
    case = folder / "run"
    writer = CaseWriter(case, clock)
    profile = _profile(how.real_s(phase))
    scenarios = scenarios_folder()
    weight = {} if phase.semantic_weight is None else {"semantic_weight": phase.semantic_weight}
    experiment = Experiment(
        name=f"phase-{phase.name}",
        fault=NoFault(),
        workload=_load(profile),
        profile=profile,
        objectives=load_objectives(scenarios / "slo.toml"),
        seed=how.seed,
        cohort_rate=phase.cohort_rate,
        facts={
            **software_facts(),
            "rollout": {"plan": how.plan.name, "phase": phase.name, "time_scale": how.time_scale},
        },
        flags={**phase.flags, **weight},
    )
    with Ledger(case / "ledger.jsonl", clock=clock) as ledger:
        target = _target(how, case, ledger, profile, defects)
        try:
            ExperimentRun(experiment, target, writer, ledger, clock=clock).run()
        except (Aborted, NotExercised) as error:
            return str(error)
    return ""


def _target(how: Rehearsed, case: Path, ledger: Ledger, profile: Profile, defects: tuple[str, ...]) -> Target:
    return TargetMaker(how.target, config_text=engram_toml(profile), defects=defects).make(case, ledger)


def _profile(seconds: float) -> Profile:
    base = load_profile(scenarios_folder() / "profiles.toml", PROFILE)
    return dataclasses.replace(
        base,
        name="rollout",
        time_scale=1.0,
        baseline_s=seconds * 0.4,
        fault_s=seconds * 0.3,
        after_s=seconds * 0.3,
        consolidation_interval_s=CONSOLIDATION_S,
    )


def _load(profile: Profile) -> Workload:
    return load_workload(scenarios_folder() / "rollout_load.toml").at_rate(profile.rate_ops_per_s)


def run_soak(how: Rehearsed, folder: Path, defects: tuple[str, ...]) -> None:
    """The beginning of phase 0's soak, below ``folder``: two of its 24 hours, in 20 s."""
    duration, scale = SOAK
    plan = make_plan(
        scenarios_folder() / "soak" / "phase0.toml",
        profile="quick",
        duration=duration,
        time_scale=scale,
        seed=how.seed,
        rate_ops_per_s=100.0,
        faults="none",
        target="embedded",
        claimed=False,
        defects=defects,
        processes=1,
    )
    with suppress(HarnessError):  # what became of it stands in its record, and is judged
        start_soak(plan, folder / "soak", software_facts())


def run_drills(how: Rehearsed, phase: Phase, folder: Path, defects: tuple[str, ...], show: Show) -> None:
    """The drills the phase asks for, as ``pytest drills/`` runs them, at the phase's cohort; recorded below ``folder``.

    Their verdicts are in their records. Raises :class:`EnvironmentUnusable` where pytest could not run them at all.
    """
    drills = Path(str(resources.files("harness"))).parent / "drills"
    folders = [str(drills / step.drill) for step in phase.drills]
    missing = [name for name in folders if not Path(name).is_dir()]
    if missing:
        raise EnvironmentUnusable(f"there is no drill {missing[0]}", hint="run from a checkout of the project")
    show(f"drills at {phase.cohort_rate * 100:g} %")
    command = [sys.executable, "-c", _FOLLOWER, str(os.getpid())]
    command += ["-q", "-p", "no:cacheprovider", *folders, "--profile", PROFILE]
    command += [
        "-k",
        f"{phase.cohort_rate * 100:g}pct",
        "--results-dir",
        str(folder / "drills"),
        "--seed",
        str(how.seed),
        "--retry-inconclusive",
        "0",
    ]
    command += ["--target", how.target, *(word for defect in defects for word in ("--defect", defect))]
    with (folder / "drills.log").open("wb") as log:
        try:
            done = subprocess.run(
                command,
                cwd=drills.parent,
                env=_environment(),
                stdout=log,
                stderr=log,
                timeout=_DRILL_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            where = str(folder / "drills.log")
            raise EnvironmentUnusable(f"the drills took longer than {_DRILL_LIMIT_S:g} s", where=where) from None
    if done.returncode not in (0, 1):
        raise EnvironmentUnusable(f"pytest ended with {done.returncode}", where=str(folder / "drills.log"))


def _environment() -> dict[str, Any]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("ENGRAM_", "PYTEST_"))}
