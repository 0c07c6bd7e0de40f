"""Starting a soak, going on with one, and writing its verdict and report: what the command and the suite share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.clock import Clock, SystemClock
from harness.errors import Aborted, UsageError
from harness.faults.ledger import Ledger
from harness.model import Verdict
from harness.report.soak import read_soak, write_soak_verdict
from harness.report.soak_html import write_soak_report
from harness.soak.engine import SoakRun, SoakStatus
from harness.soak.plan import SoakPlan, plan_from_json
from harness.soak.segment import standing
from harness.targets.attached import AttachedTarget
from harness.targets.base import Target
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.soak_record import CASE, read_manifest, soak_folder

DATA = "data"
Show = Callable[[SoakStatus], None]


@dataclass(frozen=True)
class SoakOutcome:
    """A soak that has ended, its ``verdict.json`` and its page."""

    session: Path
    verdict: Verdict
    json: dict[str, Any]
    report: Path

    @property
    def folder(self) -> Path:
        """The soak's own directory."""
        return self.session / CASE


def start_soak(
    plan: SoakPlan, session: Path, facts: dict[str, Any], *, show: Show = lambda _: None, clock: Clock | None = None
) -> SoakOutcome:
    """Run a soak in a fresh session directory.

    A soak ended by a trigger is judged like any other; Ctrl-C and a harness error pass through with its files written.
    """
    return _run(SoakRun(plan, session / CASE, _maker(plan, session / CASE), facts, clock=clock, show=show), session)


def resume_soak(directory: Path, *, show: Show = lambda _: None, clock: Clock | None = None) -> SoakOutcome:
    """Go on with a soak that was cut off. Raises :class:`UsageError` where it has ended already."""
    folder = soak_folder(directory)
    plan = plan_from_json(read_manifest(folder)["plan"])
    clock = clock or SystemClock()
    stands, at = standing(folder, clock), clock.now()
    if stands.finished:
        raise UsageError("has ended; there is nothing to go on with", where=str(folder), hint="harness judge")
    run = SoakRun(plan, folder, _maker(plan, folder), {}, resumed=stands, clock=clock, show=show)
    run.went_on_at(at)
    return _run(run, folder.parent)


def _maker(plan: SoakPlan, folder: Path) -> Callable[[Ledger], Target]:
    """The target; an embedded one keeps its data below the soak, so that it can be gone on with."""

    def make(ledger: Ledger) -> Target:
        if not plan.embedded:
            return AttachedTarget(plan.target, claimed=plan.claimed)
        return EmbeddedTarget(
            folder,
            config_text=plan.engram_toml(),
            defects=plan.defects,
            data_dir=folder / DATA,
            register=ledger.register_process,
        )

    return make


def _run(run: SoakRun, session: Path) -> SoakOutcome:
    try:
        run.run()
    except Aborted:
        return finish(session)  # ended by a trigger, or cut short: the record says which, and is judged
    except BaseException:
        finish(session)
        raise
    # Kept only for going on: it is no evidence, and the largest thing in the directory.
    shutil.rmtree(session / CASE / DATA, ignore_errors=True)
    return finish(session)


def finish(session: Path) -> SoakOutcome:
    """Judge a soak's files, write verdicts and report. Raises :class:`RecordError` where that is not possible."""
    record = read_soak(session / CASE)
    judgement = record.judge()
    json = write_soak_verdict(record, judgement)
    return SoakOutcome(session, judgement.verdict, json, write_soak_report(session / CASE, record, judgement))
