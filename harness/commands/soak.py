"""``harness soak``: the 24-hour soak, and going on with one that was cut off."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness.commands.measuring import (
    TARGET_HELP,
    add_sizes,
    interrupt_on_sigterm,
    parse_seed,
    preload_s,
    say,
)
from harness.commands.recorded import EXIT_OF_VERDICT
from harness.errors import UsageError
from harness.settings import DEFAULT_SEED, scenarios_folder

_SCENARIO = "soak/phase0.toml"


def register(commands: Any) -> None:
    """Add the command's parser."""
    soak = commands.add_parser("soak", help="hours of one load on one target, recorded, resumable, judged")
    soak.add_argument("--profile", default="full", help="full (24 h), or the rehearsals staging, ci, quick")
    soak.add_argument("--duration", metavar="D", help="24h, 20m, 90s (default: the profile's)")
    soak.add_argument("--scenario", type=Path, metavar="F", help="soak scenario (default: scenarios/soak/phase0.toml)")
    soak.add_argument("--seed", default=hex(DEFAULT_SEED), help="decimal or 0x (default: 0xDEADBEEF)")
    soak.add_argument("--faults", default="none", metavar="none|SCHEDULE", help="a schedule of scenarios/soak/faults/")
    soak.add_argument(
        "--time-scale", type=float, metavar="K", help="divide every duration by K (default: the profile's)"
    )
    soak.add_argument("--rate", type=float, metavar="OPS", help="operations per second (default: the profile's)")
    add_sizes(soak)
    soak.add_argument("--target", default="embedded", help=TARGET_HELP)
    soak.add_argument("--i-own-this-target", action="store_true", help="faults may go into --target")
    soak.add_argument("--defect", action="append", default=[], metavar="NAME[=M]", help="of the reference Engram")
    soak.add_argument("--processes", type=int, default=1, metavar="N", help="load processes")
    soak.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D", help="where sessions are kept")
    soak.add_argument("--resume", type=Path, metavar="DIR", help="go on with a soak that was cut off")
    soak.add_argument("--junit", type=Path, metavar="F", help="write JUnit XML, a test case a criterion")
    soak.add_argument("--json", action="store_true", help="print verdict.json")
    soak.set_defaults(run=_soak)


def _soak(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.drilling import session_folder, software_facts
    from harness.report.soak_junit import write_junit
    from harness.report.soak_terminal import SoakDisplay
    from harness.soak.plan import make_plan, recorded_plan
    from harness.soak.running import resume_soak, soak_maker, start_soak
    from harness.timeline.soak_record import soak_folder

    interrupt_on_sigterm()  # a soak stopped so is resumable
    stream = sys.stderr if arguments.json else sys.stdout
    if arguments.resume is not None:
        _check_resume(arguments)
        plan = recorded_plan(soak_folder(arguments.resume))
    else:
        plan = make_plan(
            arguments.scenario or scenarios_folder() / _SCENARIO,
            profile=arguments.profile,
            duration=arguments.duration,
            time_scale=arguments.time_scale,
            seed=parse_seed(arguments.seed),
            rate_ops_per_s=arguments.rate,
            faults=arguments.faults,
            target=arguments.target,
            claimed=arguments.i_own_this_target,
            defects=tuple(arguments.defect),
            processes=arguments.processes,
            nodes=arguments.nodes,
            preload_s=preload_s(arguments),
        )
    display = SoakDisplay(stream, plan.real_duration_s)
    try:
        if arguments.resume is not None:
            outcome = resume_soak(arguments.resume, show=display.show)
        else:
            maker = soak_maker(plan, say)
            session = session_folder(arguments.results_dir.absolute(), SystemClock().wall())
            stream.write(f"soak: {session}\n")
            outcome = start_soak(plan, session, software_facts(), maker=maker, show=display.show)
    finally:
        display.close()
    if arguments.junit is not None:
        write_junit(outcome.json, arguments.junit)
    _print(outcome.json, arguments.json, outcome.report)
    return EXIT_OF_VERDICT[outcome.verdict]


# Everything a soak is planned by stands in its record; said again at --resume, it would be ignored.
_PLANNED: dict[str, Any] = {
    "profile": "full",
    "duration": None,
    "scenario": None,
    "seed": hex(DEFAULT_SEED),
    "faults": "none",
    "time_scale": None,
    "rate": None,
    "target": "embedded",
    "i_own_this_target": False,
    "defect": [],
    "processes": 1,
    "nodes": None,
    "preload_time": None,
}


def _check_resume(arguments: argparse.Namespace) -> None:
    for name, default in _PLANNED.items():
        if getattr(arguments, name) != default:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} contradicts --resume", hint="a soak goes on as it was planned")


def _print(verdict: dict[str, Any], as_json: bool, report: Path) -> None:
    if as_json:
        print(json.dumps(verdict, indent=2, sort_keys=True))
        return
    from harness.report.soak_terminal import verdict_text

    print(verdict_text(verdict))
    print(f"report: {report}")
