"""``harness rollout rehearse``: the whole plan, walked live in minutes."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from harness.commands.measuring import interrupt_on_sigterm, parse_seed
from harness.errors import UsageError
from harness.settings import DEFAULT_SEED

_TIME_SCALE = 80_000.0


def register(subcommands: Any) -> None:
    """Add the command's parser."""
    rehearse = subcommands.add_parser("rehearse", help="walk the whole plan on a live target, in minutes")
    rehearse.add_argument("--plan", default="runbook", metavar="NAME|FILE")
    rehearse.add_argument(
        "--time-scale", type=float, default=_TIME_SCALE, metavar="N", help="a phase takes its minimum / N"
    )
    rehearse.add_argument(
        "--inject-regression", metavar="PHASE:KIND", help="latency-30, errors, overlap, leak, flags, ..."
    )
    rehearse.add_argument("--override-hold", action="store_true", help="walk on past a HOLD; the report shows it")
    rehearse.add_argument("--phases", metavar="A,B", help="walk these phases alone")
    rehearse.add_argument("--target", default="embedded", choices=("embedded", "docker"))
    rehearse.add_argument("--seed", default=hex(DEFAULT_SEED), help="decimal or 0x")
    rehearse.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D")
    rehearse.add_argument("--json", action="store_true", help="print rehearsal.json")
    rehearse.set_defaults(run=_rehearse)


def _rehearse(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.drilling import session_folder
    from harness.report.rehearsal import write_rehearsal_report
    from harness.rollout.phase_run import Rehearsed
    from harness.rollout.plan import load_plan
    from harness.rollout.regressions import parse_regression
    from harness.rollout.rehearsal import rehearse

    interrupt_on_sigterm()
    plan = load_plan(arguments.plan)
    if not (math.isfinite(arguments.time_scale) and arguments.time_scale >= 1):
        raise UsageError(f"--time-scale {arguments.time_scale:g} is no number of 1 or more")
    injected = parse_regression(arguments.inject_regression, plan) if arguments.inject_regression else None
    if injected is not None and arguments.target != "embedded":
        raise UsageError("--inject-regression works on the embedded target only")
    only = tuple(plan.phase(name).name for name in arguments.phases.split(",")) if arguments.phases else ()
    if injected is not None and only and injected.phase.name not in only:
        raise UsageError(f"phase {injected.phase.name} is not among --phases {arguments.phases}")
    how = Rehearsed(plan, arguments.time_scale, parse_seed(arguments.seed), arguments.target)
    session = session_folder(arguments.results_dir.absolute() / "rollout", SystemClock().wall())
    stream = sys.stderr if arguments.json else sys.stdout
    print(f"rehearsal of {plan.name}: {session}", file=stream, flush=True)
    walk = rehearse(
        how,
        session,
        injected=injected,
        override_hold=arguments.override_hold,
        only=only,
        show=lambda text: print(f"  {text}", file=stream, flush=True),
    )
    report = write_rehearsal_report(session)
    if arguments.json:
        print(json.dumps(walk.as_json(), indent=2, sort_keys=True))
        return walk.exit_code
    for answer in walk.naming[:8]:
        print(f"{answer.decision.value} {answer.criterion.id}: {answer.criterion.text}: {answer.reason}")
    ended = f"stopped at phase {walk.stopped_at}" if walk.stopped_at else "walked to the end, nothing failed"
    print(f"{ended} after {walk.took_s:.0f} s\nreport: {report}")
    return walk.exit_code
