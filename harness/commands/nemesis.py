"""``harness nemesis``: what a seeded schedule of faults would do to a target (``--dry-run``), or doing it."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from typing import Any

from harness.errors import EXIT_FAILED, EXIT_OK, UsageError


def register(commands: Any) -> None:
    """Add the command's parser."""
    nemesis = commands.add_parser("nemesis", help="faults by a seeded schedule; --dry-run shows what would happen")
    nemesis.add_argument("plan", metavar="PLAN", help="a plan of scenarios/faults/, by name or path")
    nemesis.add_argument("--target", metavar="URL", help="http://host:port of a running Engram")
    nemesis.add_argument("--i-own-this-target", action="store_true", help="faults may go into it")
    nemesis.add_argument("--seconds", type=float, default=60.0, metavar="S", help="length of the schedule")
    nemesis.add_argument("--seed", default="0xDEADBEEF", help="decimal or 0x")
    nemesis.add_argument("--wait", type=float, default=0.0, metavar="S", help="for a target another harness holds")
    nemesis.add_argument("--dry-run", action="store_true", help="print the schedule and do nothing")
    nemesis.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D")
    nemesis.add_argument("--json", action="store_true", help="the schedule, or the events, as JSON lines")
    nemesis.set_defaults(run=_nemesis)


def _nemesis(arguments: argparse.Namespace) -> int:
    from harness.faults.nemesis import load_plan
    from harness.settings import scenarios_folder

    given = Path(arguments.plan)
    path = given if given.suffix == ".toml" else scenarios_folder() / "faults" / f"{arguments.plan}.toml"
    try:
        seed = int(arguments.seed, 0)
    except ValueError:
        raise UsageError(f"--seed {arguments.seed!r} is not a number", hint="decimal, or 0x") from None
    if not 0 < arguments.seconds <= 7 * 86_400:
        raise UsageError(f"--seconds {arguments.seconds:g} is not above 0 and at most a week")
    plan = load_plan(path)
    duration_ms = round(arguments.seconds * 1000)
    composition = plan.composition(seed, duration_ms)
    if arguments.dry_run:
        return _show(arguments, composition)
    if not arguments.target:
        raise UsageError("there is no target", hint="--target http://host:port, or --dry-run")
    return _run(arguments, composition)


def _show(arguments: argparse.Namespace, composition: Any) -> int:
    """What would happen, to what; a target that is given is asked what it can do, and nothing else."""
    from harness.faults.nemesis import dry_run, schedule_bytes
    from harness.targets.attached import AttachedTarget

    if arguments.json:
        print(schedule_bytes(composition.steps).decode(), end="")
        return EXIT_OK
    missing: dict[str, str] = {}
    if arguments.target:
        missing = dict(AttachedTarget(arguments.target).capabilities.reasons)
    print(f"{composition.name}: {len(composition.steps)} faults; nothing is done")
    print("\n".join(dry_run(composition.steps, arguments.target or "the target", missing)))
    return EXIT_OK


def _run(arguments: argparse.Namespace, composition: Any) -> int:
    from harness.clock import SystemClock
    from harness.drilling import session_folder
    from harness.faults import capability
    from harness.faults.composition import injection_for
    from harness.faults.ledger import Ledger
    from harness.targets.attached import AttachedTarget
    from harness.timeline.record import CaseWriter

    clock = SystemClock()
    target = AttachedTarget(arguments.target, claimed=arguments.i_own_this_target)
    target.require_owned()
    writer = CaseWriter(session_folder(arguments.results_dir, clock.wall()) / "nemesis", clock)
    unseen: list[str] = []

    def record(event: str, /, **fields: Any) -> None:
        writer.event(event, **fields)
        if event in ("part_effect_not_observed", "part_heal_not_observed", "part_heal_failed"):
            unseen.append(f"{event.removeprefix('part_')}: part {fields.get('part')}")
        if event in ("part_inject_acked", "part_heal_acked"):
            shown = {"event": event.removeprefix("part_"), "part": fields["part"], "at": fields.get("at")}
            step = composition.steps[fields["part"]]
            print(json.dumps(shown) if arguments.json else f"{shown['event']:<12} {step.fault.describe()}", flush=True)

    try:
        with Ledger(writer.folder / "ledger.jsonl", clock=clock) as ledger:
            target.start()
            capability.require(composition.requires, target)  # of every part, before the first goes in
            ledger.claim(target.claimed_url, wait_s=arguments.wait)
            writer.event("run_started", fault=composition.to_json())
            with injection_for(composition, target, ledger, hold_s=arguments.seconds, record=record):
                last_ms = max(step.end_ms for step in composition.steps)
                clock.wait(threading.Event(), last_ms / 1000.0)
            writer.event("run_ended")
    finally:
        writer.close()
    for what in unseen:
        print(f"not seen: {what}")
    print(f"all healed; the record is in {writer.folder}")
    return EXIT_FAILED if unseen else EXIT_OK
