"""``harness rollout report``: the documents the runbook wants afterwards, filled from results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.commands.rollout_gate import ATTESTATIONS
from harness.errors import EXIT_OK, RecordError


def register(subcommands: Any) -> None:
    """Add the command's parser."""
    report = subcommands.add_parser(
        "report", help="post-rollout analysis, lessons learned, communications: filled from results, blanks marked"
    )
    report.add_argument("phase", nargs="?", metavar="PHASE", help="the last phase reached (default: the plan's last)")
    report.add_argument("--evidence", action="append", default=[], metavar="[PHASE=]DIR", help="as for the gate")
    report.add_argument("--incidents", type=Path, metavar="F", help="incidents file (TOML)")
    report.add_argument("--attestations", type=Path, default=ATTESTATIONS, metavar="F")
    report.add_argument("--plan", default="runbook", metavar="NAME|FILE")
    report.add_argument("--output", type=Path, default=Path("results/rollout/report"), metavar="DIR")
    report.add_argument("--json", action="store_true", help="where they are, and how many blanks each holds")
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from harness.rollout.plan import load_plan
    from harness.rollout.report import write_report

    plan = load_plan(arguments.plan)
    last = plan.phases[-1] if arguments.phase is None else plan.phase(arguments.phase)
    made = write_report(
        plan, last, arguments.evidence, incidents=arguments.incidents, attestations=arguments.attestations
    )
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        for name, text in made.texts.items():
            draft = arguments.output / f".{name}.new"
            draft.write_text(text, encoding="utf-8")
            draft.rename(arguments.output / name)
    except OSError as error:
        raise RecordError(
            f"cannot be written: {error.strerror}", where=str(error.filename or arguments.output)
        ) from error
    paths = {name: str(arguments.output / name) for name in made.texts}
    if arguments.json:
        files = [{"file": paths[name], "blanks": made.blanks[name]} for name in made.texts]
        print(json.dumps({"phase": last.name, "decision": made.decision.value, "files": files}, indent=2))
    else:
        for name, path in paths.items():
            print(f"{path}: {made.blanks[name]} blanks to fill")
    return EXIT_OK
