"""What a drill's test is handed: run an experiment, get measured values, and have every check kept.

A session is a directory; every attempt of every case is a directory in it. Whatever the test does, the case ends with
``checks.json`` and ``verdict.json``, both written from what was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.cores import machine
from harness.errors import Aborted, Inconclusive, NotExercised, NothingDone, RecordError, UsageError
from harness.experiment import Experiment
from harness.facts import command_line, commit, versions
from harness.faults.base import Fault
from harness.faults.composition import lives_in_process, parts_of
from harness.faults.dry_run import would_be_done
from harness.faults.ledger import Ledger
from harness.faults.remedy import Remedy, RemedyPlan
from harness.judge.case import judge_case
from harness.judge.checks import Bound, Check
from harness.judge.measured import CaseContext, Outcome
from harness.judge.summary import CaseSummary
from harness.model import Status, Verdict
from harness.monitoring.assets import load_spec
from harness.monitoring.expectations import AlertPlan, alert_plan
from harness.monitoring.stack import StackPlan, stack_plan
from harness.report.session import JudgedCase, judge_folder
from harness.runner import ExperimentRun
from harness.scenario.abort import AbortCondition, applicable, load_abort_conditions
from harness.scenario.profiles import Profile, load_profile
from harness.scenario.rollout_file import load_plan_file, load_quantities
from harness.scenario.slo import Objectives, load_objectives
from harness.scenario.watch import load_watch, triggers_of
from harness.scenario.workload import Workload, load_workload
from harness.settings import Settings
from harness.starting import TargetMaker, monitoring_assets, monitoring_beside
from harness.targets.attached import AttachedTarget
from harness.targets.base import DOCKER, Target
from harness.timeline.jsonl import write_json_atomically
from harness.timeline.record import CaseWriter, read_case

# Of the runbook's 15 s between scrapes this makes one: closer ones would cost the target what is measured of it.
MOST_MONITORING_SCALE = 15.0
MOST_EMBEDDED_SCALE = 60.0  # a scrape every quarter of a second


class Limits:
    """The SLO file's limits as attributes; each is a number that knows its name and source."""

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives

    def __getattr__(self, name: str) -> Bound:
        limit = self._objectives.limits.get(name)
        if name.startswith("_") or limit is None:
            raise AttributeError(f"{self._objectives.file} has no limit '{name}'")
        return Bound(limit.value, limit.name, limit.source)


class DrillSession:
    """Everything the cases of one session share, read and checked once."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.profile: Profile = load_profile(settings.scenarios_dir / "profiles.toml", settings.profile)
        objectives = load_objectives(settings.scenarios_dir / "slo.toml")
        self.objectives = objectives.at_scale(self.profile.time_scale)
        workload = load_workload(settings.scenario)
        self.workload: Workload = workload.at_rate(self.profile.rate_ops_per_s)
        self.limits = Limits(self.objectives)
        assets, flags = _monitoring(settings, self.profile)
        self._maker = TargetMaker(
            settings.target,
            config_text=_config_text(settings, self.profile),
            claimed=settings.i_own_this_target,
            defects=settings.defects,
            prometheus_url=settings.prometheus_url,
            grafana_url=settings.grafana_url,
            assets=assets,
            prometheus_flags=flags,
            place=settings.place,
            beside=monitoring_beside(settings.scenarios_dir, self.monitoring_scale) if settings.embedded else None,
        )

    @property
    def monitoring_scale(self) -> float:
        """What the windows of the Prometheus that watches this session's targets are divided by; 1 for one of others.

        Beside an embedded target twice the drills' own scale: alerts look over windows that drills do not have.
        """
        if self.settings.embedded:
            return min(2 * self.profile.time_scale, MOST_EMBEDDED_SCALE)
        return min(self.profile.time_scale, MOST_MONITORING_SCALE) if self.settings.target == DOCKER else 1.0

    def alert_plan(self, name: str) -> AlertPlan:
        """How long an alert may take to fire and to be resolved here. Raises :class:`UsageError` for an unknown one."""
        return alert_plan(load_spec(self.settings.scenarios_dir), name, self.monitoring_scale)

    def alert_limit(self, name: str, step: str) -> Bound:
        """The bound of ``outcome.alert_time_s(step=…)``, s: ``firing`` or ``resolved``."""
        plan = self.alert_plan(name)
        return Bound(plan.fires_s if step == "firing" else plan.resolves_s, f"{name}.{step}_s", plan.source)

    @property
    def monitoring_plan(self) -> StackPlan:
        """What the monitoring stack of this session's targets is held against."""
        return stack_plan(self.settings.scenarios_dir, self.monitoring_scale)

    def load_named(self, name: str) -> Workload:
        """The load ``scenarios/NAME.toml`` at the profile's rate. Raises :class:`~harness.errors.ConfigError`."""
        return load_workload(self.settings.scenarios_dir / f"{name}.toml").at_rate(self.profile.rate_ops_per_s)

    def remedy_of(self, remedy: Remedy, trigger: str | None) -> RemedyPlan:
        """``remedy``, once the trigger of that name in the runbook's plan is met under the profile's time scale.

        Raises :class:`UsageError` for a trigger that is not there.
        """
        folder, scale = self.settings.scenarios_dir, self.profile.time_scale
        rules = load_watch(folder / "watch.toml").at_scale(scale)
        if trigger is None:
            return RemedyPlan(remedy, None, rules.evaluate_s)
        path = folder / "rollout" / "runbook.toml"
        plan = load_plan_file(path, load_quantities(path.with_name("quantities.toml")))
        found = next((one for one in triggers_of(plan, None)[0] if one.called(trigger)), None)
        if found is None:
            raise UsageError(f"there is no trigger '{trigger}'", where=str(path))
        return RemedyPlan(remedy, found.at_scale(scale), rules.evaluate_s)

    def aborts_for(self, fault: Fault, *, rolled_back: bool = False) -> tuple[AbortCondition, ...]:
        """The abort conditions of ``scenarios/abort.toml`` that hold for a case of this fault.

        What a rollback is to cure must be allowed to happen.
        """
        outside = bool(fault.requires) and not all(lives_in_process(part) for part in parts_of(fault))
        return applicable(
            load_abort_conditions(self.settings.scenarios_dir / "abort.toml"),
            time_scale=self.profile.time_scale,
            embedded=self.settings.started_here,
            errors_by_design=outside or rolled_back,
        )

    def new_target(self, folder: Path, ledger: Ledger, wants: frozenset[str] = frozenset()) -> Target:
        """The target of one case: a fresh one, or the attached one; started as the fault ``wants`` it."""
        return self._maker.make(folder, ledger, wants)


def _monitoring(settings: Settings, profile: Profile) -> tuple[Callable[[Path], object] | None, tuple[str, ...]]:
    """What Prometheus and Grafana of a docker target are started with, at the profile's pace."""
    if settings.target != DOCKER:
        return None, ()
    return monitoring_assets(settings.scenarios_dir, min(profile.time_scale, MOST_MONITORING_SCALE))


def _config_text(settings: Settings, profile: Profile) -> str:
    """What an Engram started here is configured by: the file that is named, as it is, or the profile's."""
    if settings.engram_config is None:
        return engram_toml(profile)
    try:
        return settings.engram_config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(settings.engram_config)) from error


def engram_toml(profile: Profile) -> str:
    """The configuration of an Engram started here: the runbook's shadow mode (§1.1), consolidation as the profile says.

    Blended recall is off here and turned on over the flag API, as a canary is (§2): a flag that is accepted and
    ignored, or forgotten at a restart, must show.
    """
    return (
        "[features]\ndual_memory_types = true\nblended_recall = false\nfan_effect = false\nmonitoring = true\n\n"
        f"[consolidation]\ninterval_seconds = {profile.consolidation_interval_s!r}\n"
    )


class Drill:
    """One attempt of one case."""

    def __init__(
        self,
        session: DrillSession,
        name: str,
        *,
        requires: frozenset[str],
        cohort_rate: float,
        attempt: int = 1,
        clock: Clock | None = None,
        progress: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self.session = session
        self.name = name
        self.folder = session.folder / (name if attempt == 1 else f"{name}~{attempt}")
        self._requires = requires
        self._cohort_rate = cohort_rate
        self._attempt = attempt
        self._clock = clock or SystemClock()
        self._progress = progress
        self._checks: list[Check] = []
        self._ran = False

    def run(
        self,
        fault: Fault,
        *,
        scenario: str | None = None,
        then: Remedy | None = None,
        once: str | None = None,
        flags: Mapping[str, bool | float] | None = None,
        panel: bool = False,
        alert: str | None = None,
        validate_monitoring: bool = False,
    ) -> Outcome:
        """Run the experiment around ``fault`` and answer its measured values.

        ``scenario`` names another load of ``scenarios/`` than the session's, for a drill that is about that load.
        ``then`` is the rollback that is carried out while the fault is in force: when the trigger ``once`` of the
        runbook's plan is met, or else after the time faults are held. ``flags`` are in force before the fault, where
        it is not blended recall for the cohort; ``panel`` asks a panel of undisturbed memories the same questions all
        along. ``alert`` names the alert of ``scenarios/monitoring.toml`` that must fire for the fault and be resolved
        after it; the phases wait for it. ``validate_monitoring`` asks under the fault and after it whatever
        ``harness validate-monitoring`` asks (``outcome.after.monitoring_findings``).

        Raises :class:`Aborted`, :class:`NotExercised` or :class:`Inconclusive` where the assertions that follow would
        mean nothing, and :class:`~harness.errors.CapabilityMissing` where the target lacks something.
        """
        if self._ran:
            raise UsageError("a drill runs one experiment", where=self.name, hint="write a second test")
        self._ran = True
        session = self.session
        requires, wants = self._needs(fault, then, watched=alert is not None or validate_monitoring)
        experiment = Experiment(
            name=self.name,
            fault=fault,
            workload=session.workload if scenario is None else session.load_named(scenario),
            profile=session.profile,
            objectives=session.objectives,
            seed=session.settings.seed,
            cohort_rate=self._cohort_rate if (flags or {}).get("blended_recall", True) else 0.0,
            requires=requires,
            aborts=session.aborts_for(fault, rolled_back=then is not None),
            wait_s=session.settings.wait_s,
            attempt=self._attempt,
            remedy=session.remedy_of(then, once) if then is not None else None,
            flags=flags,
            panel=panel,
            alert=session.alert_plan(alert) if alert is not None else None,
            monitoring=session.monitoring_plan if validate_monitoring else None,
            facts=session_facts(session.settings),
        )
        if session.settings.dry_run:
            raise NothingDone(self._would_do(experiment))
        writer = CaseWriter(self.folder, self._clock)
        with Ledger(self.folder / "ledger.jsonl", clock=self._clock) as ledger:
            target = session.new_target(self.folder, ledger, wants)
            ExperimentRun(experiment, target, writer, ledger, clock=self._clock, progress=self._progress).run()
        summary = CaseSummary(read_case(self.folder))
        self._raise_if_meaningless()
        return Outcome(CaseContext(summary, str(self.folder), self._record))

    def _needs(self, fault: Fault, then: Remedy | None, *, watched: bool) -> tuple[frozenset[str], frozenset[str]]:
        """The capabilities a case must find, and what its target is to be started with."""
        requires = self._requires | set(fault.requires) | set(then.requires if then else ())
        if not watched and "prometheus" not in requires:
            return requires, fault.wants
        beside = {"prometheus", "host.prometheus"} if self.session.settings.embedded else {"prometheus"}
        return requires | beside, fault.wants | {"prometheus"}

    def _would_do(self, experiment: Experiment) -> str:
        """For a dry run."""
        settings, profile, fault = self.session.settings, experiment.profile, experiment.fault
        target: Target | str = f"a fresh {settings.target} Engram"
        if not settings.started_here:
            target = AttachedTarget(settings.target, claimed=settings.i_own_this_target)
        load = (
            f"{experiment.workload.name} at {profile.rate_ops_per_s:g}/s, {profile.baseline_s:g} s before the fault, "
            f"{min(profile.fault_s, fault.longest_hold_s):g} s in force, {profile.after_s:g} s or more after the heal"
        )
        if experiment.remedy is not None:
            load += ", rolled back while it is in force"
        return would_be_done(self.name, fault, load, experiment.requires, target)

    def _raise_if_meaningless(self) -> None:
        record = read_case(self.folder)
        judgement = judge_case(replace(record, checks={"checks": [], "ended": "assertion"}))
        for condition in judgement.conditions:
            if condition.verdict is Verdict.ABORTED:
                raise Aborted(condition.detail, where=str(self.folder))
            if condition.verdict is Verdict.NOT_EXERCISED:
                raise NotExercised(condition.detail, where=str(self.folder))
        rejected = record.first("baseline_rejected")
        if rejected is not None:
            raise Inconclusive("; ".join(map(str, rejected.get("reasons", []))), where=str(self.folder))

    def _record(self, check: Check) -> None:
        self._checks.append(check)
        self._write("asserting")

    def finish(self, ended: str) -> JudgedCase | None:
        """Write ``checks.json`` and ``verdict.json``; None where no experiment was recorded.

        ``ended``: ``completed``, ``assertion`` (one failed), or what else ended the test's body.
        """
        if not (self.folder / "manifest.json").exists():
            return None
        self._write(ended)
        return write_case_verdict(self.folder)

    def _write(self, ended: str) -> None:
        writer = CaseWriter(self.folder, self._clock)
        writer.checks([check.as_json() for check in self._checks], ended)
        writer.close()


def write_case_verdict(folder: Path) -> JudgedCase:
    """Judge one case directory from its files and write its ``verdict.json``."""
    judged = judge_folder(folder)
    write_json_atomically(folder / "verdict.json", judged.json)
    return judged


def case_name(test: str) -> str:
    """A directory name for a test: ``test_x[50ms-75pct]`` becomes ``x-50ms-75pct``."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", test.removeprefix("test_")).strip("-")


def session_name(wall: str) -> str:
    """A session's name from its start: ``20251120-093000``."""
    stamp = re.sub(r"[^0-9]", "", wall[:19])
    return f"{stamp[:8]}-{stamp[8:]}"


def session_folder(results_dir: Path, wall: str, given: Path | None = None) -> Path:
    """Make a session directory: ``given`` (which other workers may share), or a fresh one named after ``wall``.

    Raises :class:`RecordError` where it cannot be written.
    """
    base = results_dir / session_name(wall)
    number = 1
    while True:
        folder = given or (base if number == 1 else base.with_name(f"{base.name}-{number}"))
        try:
            folder.mkdir(parents=True, exist_ok=given is not None)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise RecordError(
                f"cannot make the session directory: {error.strerror}",
                where=str(folder),
                hint="give a --results-dir that can be written to",
            ) from error
        return folder


def session_facts(settings: Settings) -> dict[str, Any]:
    """What a manifest says of the software and the command; no secrets."""
    options = {"profile": settings.profile, "target": settings.target, "defects": list(settings.defects)}
    return software_facts() | {"options": options}


def software_facts() -> dict[str, Any]:
    """Command, commit, versions and machine; no secrets."""
    return {
        "command": command_line(),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
