"""``harness diagnose``: one bundle for a report (the runbook's ``engram_diagnostics.sh``), without secrets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.errors import EXIT_OK


def register(commands: Any) -> None:
    """Add the command's parser."""
    diagnose = commands.add_parser("diagnose", help="one bundle for a report: health, flags, metrics, logs, versions")
    diagnose.add_argument("--target", default="http://127.0.0.1:7432", metavar="URL")
    diagnose.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="where the bundle goes")
    diagnose.add_argument(
        "--log", type=Path, action="append", default=[], metavar="FILE", help="the end of this log too"
    )
    diagnose.add_argument(
        "--results-dir", type=Path, default=Path("results"), metavar="D", help="whose ledgers to take"
    )
    diagnose.add_argument("--json", action="store_true", help="where it is and what is missing, as JSON")
    diagnose.set_defaults(run=_diagnose)


def _diagnose(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.diagnosis import Redactor, collect, write_bundle
    from harness.drilling import session_name, software_facts
    from harness.targets.attached import AttachedTarget

    wall = SystemClock().wall()
    target = AttachedTarget(arguments.target)
    facts = {**software_facts(), "taken": wall, "target": target.base_url}
    with target.client() as client:
        found, missing = collect(client, facts=facts, logs=arguments.log, results_dir=arguments.results_dir)
    path = arguments.output / f"diagnose-{session_name(wall)}.tar.gz"
    redactor = Redactor()
    write_bundle(path, found, missing, redactor)
    if arguments.json:
        said = {"bundle": str(path), "parts": sorted(found), "missing": redactor.value(missing)}
        print(json.dumps(said, indent=2, sort_keys=True))
        return EXIT_OK
    print(f"{path}: {len(found)} parts")
    for name, why in sorted(missing.items()):
        print(f"missing  {name}: {redactor.text(why)}")
    return EXIT_OK
