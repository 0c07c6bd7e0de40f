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
from harness.settings import scenarios_folder
from harness.soak.engine import SoakRun, SoakStatus
from harness.soak.plan import SoakPlan, recorded_plan
from harness.soak.segment import standing
from harness.starting import TargetMaker, monitoring_assets, silent
from harness.targets.base import DOCKER, Target
from harness.timeline.soak_record import CASE, EVENTS, Lines, soak_folder

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


def soak_maker(plan: SoakPlan, say: Callable[[str], None] = silent) -> TargetMaker:
    """What makes the soak's target; asked for before there is a session, which a missing engine would leave empty.

    Beside a docker target the monitoring runs as it is shipped: its intervals and windows are not scaled. Raises
    :class:`EnvironmentUnusable` where there is no engine or image for one, :class:`UsageError` where it has no defects.
    """
    assets, flags = monitoring_assets(scenarios_folder(), 1.0) if plan.target == DOCKER else (None, ())
    return TargetMaker(
        plan.target,
        config_text=plan.engram_toml(),
        claimed=plan.claimed,
        defects=plan.defects,
        assets=assets,
        prometheus_flags=flags,
        say=say,
    )


def start_soak(
    plan: SoakPlan,
    session: Path,
    facts: dict[str, Any],
    *,
    maker: TargetMaker | None = None,
    show: Show = lambda _: None,
    clock: Clock | None = None,
) -> SoakOutcome:
    """Run a soak in a fresh session directory, on a target of ``maker`` (default: :func:`soak_maker`'s).

    A soak ended by a trigger is judged like any other; Ctrl-C and a harness error pass through with its files written.
    """
    folder = session / CASE
    return _run(SoakRun(plan, folder, _make(maker or soak_maker(plan), folder), facts, clock=clock, show=show), session)


def resume_soak(directory: Path, *, show: Show = lambda _: None, clock: Clock | None = None) -> SoakOutcome:
    """Go on with a soak that was cut off.

    Raises :class:`UsageError` where it has ended already, and where its data went with its container or are another
    image's.
    """
    folder = soak_folder(directory)
    plan = recorded_plan(folder)
    clock = clock or SystemClock()
    stands, at = standing(folder, clock), clock.now()
    if stands.finished:
        raise UsageError("has ended; there is nothing to go on with", where=str(folder), hint="harness judge")
    maker = soak_maker(plan)
    _check_data(plan, folder, maker)
    run = SoakRun(plan, folder, _make(maker, folder), {}, resumed=stands, clock=clock, show=show)
    run.went_on_at(at)
    return _run(run, folder.parent)


def _make(maker: TargetMaker, folder: Path) -> Callable[[Ledger], Target]:
    """The target; one started here keeps its data below the soak, so that it can be gone on with."""
    return lambda ledger: maker.make(folder, ledger, data_dir=folder / DATA)


def _check_data(plan: SoakPlan, folder: Path, maker: TargetMaker) -> None:
    """Refuse to go on without the data: every acknowledged memory would be taken for lost."""
    ready = [event for event in Lines(folder / EVENTS) if event["event"] == "target_ready"]
    if not plan.started_here or not ready:
        return
    if not maker.keeps_data:
        raise UsageError(
            "cannot be gone on with: another image's data are a volume that goes with its container",
            where=str(folder),
            hint="start it anew",
        )
    begun = ready[-1].get("target", {}).get("containers", {}).get("engram", {}).get("image", "")
    if begun != maker.image:
        raise UsageError(
            f"was begun on the image {begun}, and would go on with {maker.image}",
            where=str(folder),
            hint="set $ENGRAM_IMAGE to it, or check out the state it was built from",
        )


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
