"""``harness rollout rollback``, ``ramp`` and ``backup``: the ways back by hand, each verified and recorded."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED, RecordError, UsageError

if TYPE_CHECKING:
    from harness.faults.remedy import Remedy
    from harness.targets.base import Target


def register(subcommands: Any) -> None:
    """Add the commands' parsers."""
    back = subcommands.add_parser("rollback", help="roll back: immediate, partial, full or data; verified by behaviour")
    kinds = back.add_subparsers(dest="kind", metavar="KIND", required=True)
    immediate = kinds.add_parser("immediate", help="flags off (0-5 minutes)")
    immediate.add_argument("--flag", action="append", metavar="NAME", help="default: blended_recall and fan_effect")
    partial = kinds.add_parser("partial", help="the cohort down to RATE (5-15 minutes)")
    partial.add_argument("rate", type=float, metavar="RATE", help="0 to 1")
    full = kinds.add_parser("full", help="the previous milestone, by a command of yours (30-60 minutes)")
    full.add_argument("--by", required=True, metavar="CMD", help="such as 'kubectl rollout undo deployment/engram'")
    full.add_argument("--milestone", default="16", help="what /api/v1/system/info must say afterwards (default 16)")
    data = kinds.add_parser("data", help="a backup put back, dual memory off (1-4 hours)")
    data.add_argument("--backup", type=Path, required=True, metavar="F", help="written by `harness rollout backup`")
    data.add_argument("--keep-dual-memory", action="store_true", help="restore only, flags as they are")
    for kind in (immediate, partial, full, data):
        _common(kind)
        kind.set_defaults(run=_rollback)
    ramp = subcommands.add_parser("ramp", help="set the cohort rate and see it in the split of witness users")
    ramp.add_argument("rate", type=float, metavar="RATE", help="0 to 1")
    _common(ramp)
    ramp.set_defaults(run=_rollback, kind="partial")
    backup = subcommands.add_parser("backup", help="every memory of a running Engram, as a file")
    backup.add_argument("--target", required=True, metavar="URL")
    backup.add_argument("--output", type=Path, required=True, metavar="F")
    backup.add_argument("--format", choices=("dual_memory", "single_memory"), default="dual_memory")
    backup.add_argument("--json", action="store_true")
    backup.set_defaults(run=_backup)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, metavar="URL", help="http://host:port of a running Engram")
    parser.add_argument("--i-own-this-target", action="store_true", help="it may be changed")
    parser.add_argument("--within", type=float, metavar="S", help="how long it may take to be seen to act")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D", help="where it is recorded")
    parser.add_argument("--json", action="store_true", help="steps and result as JSON")


# Until a rollback must be seen to act: the runbook's own times, "Rollback Procedures".
_WITHIN_S = {"immediate": 120.0, "partial": 300.0, "full": 3600.0, "data": 3600.0}


def _remedy(arguments: argparse.Namespace) -> Remedy:
    from harness.rollout.rollback import DataRollback, FullRollback, ImmediateRollback, PartialRollback

    match arguments.kind:
        case "immediate":
            return ImmediateRollback(arguments.flag) if arguments.flag else ImmediateRollback()
        case "partial":
            if not 0.0 <= arguments.rate <= 1.0:
                raise UsageError(f"a cohort rate of {arguments.rate:g} is not from 0 to 1")
            return PartialRollback(arguments.rate)
        case "full":
            command = shlex.split(arguments.by)
            if not command:
                raise UsageError("--by is empty")
            return FullRollback(milestone=arguments.milestone, command=command)
        case _:
            return DataRollback(arguments.backup, migrate=not arguments.keep_dual_memory)


def _rollback(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.drilling import session_folder, software_facts
    from harness.faults import capability
    from harness.faults.remedy import carried_out
    from harness.targets.attached import AttachedTarget
    from harness.timeline.record import CaseWriter

    remedy = _remedy(arguments)
    within_s = arguments.within if arguments.within is not None else _WITHIN_S[arguments.kind]
    if not 0 <= within_s <= 86_400:
        raise UsageError(f"--within {within_s:g} is not from 0 to 86400 seconds")
    target = AttachedTarget(arguments.target, claimed=arguments.i_own_this_target)
    target.require_owned()
    capability.require(remedy.requires, target)
    clock = SystemClock()
    before = remedy.prepare(target)
    writer = CaseWriter(session_folder(arguments.results_dir, clock.wall()) / "rollback", clock)
    steps: list[dict[str, Any]] = []

    def record(event: str, /, **fields: Any) -> None:
        writer.event(event, **fields)
        steps.append({"event": event, **fields})
        said = fields.get("why") or fields.get("evidence") or fields.get("how") or remedy.describe()
        if not arguments.json:
            print(f"{event.removeprefix('rollback_').replace('_', ' '):<14}{said}", flush=True)

    try:
        writer.manifest({"case": "rollback", "started": clock.wall(), "rollback": remedy.to_json(), **software_facts()})
        record("rollback_prepared", how=remedy.describe(), before=before)
        if arguments.kind == "data":
            record("rollback_kept", how=_kept(target, writer.folder / "before.json"))
        done = carried_out(remedy, target, record, limit_s=within_s, clock=clock)
    finally:
        writer.close()
    code = EXIT_OK if done else _failed(steps)
    took_s = float(steps[-1]["at"]) - float(next(s for s in steps if s["event"] == "rollback_sent")["at"])
    if arguments.json:
        print(json.dumps({"rollback": remedy.to_json(), "done": done, "took_s": took_s, "steps": steps}, default=str))
    else:
        print(f"{'done' if done else 'NOT done'} in {took_s:.1f} s; the record is in {writer.folder}")
    return code


def _kept(target: Target, path: Path) -> str:
    """Keep what is there now: what was remembered since the backup is not in it."""
    from harness.errors import TargetError
    from harness.rollout.rollback import write_backup

    try:
        with target.client() as client:
            count = write_backup(path, client.export())
    except TargetError as error:
        return f"what is there now could not be kept: {error.what}"
    except OSError as error:
        raise RecordError(f"what is there now cannot be kept: {error.strerror}", where=str(path)) from error
    return f"the {count} memories that are there now are kept in {path}"


def _failed(steps: list[dict[str, Any]]) -> int:
    """1 where it was not done or is seen not to act; 4 where nothing could be seen either way."""
    last = steps[-1]
    blind = last["event"] == "rollback_not_observed" and last.get("detail", {}).get("named") == 0
    return EXIT_UNDECIDED if blind and not last["detail"].get("errors") else EXIT_FAILED


def _backup(arguments: argparse.Namespace) -> int:
    from harness.faults import capability
    from harness.rollout.rollback import write_backup
    from harness.targets.attached import AttachedTarget

    target = AttachedTarget(arguments.target)
    capability.require(("admin.export",), target)
    with target.client() as client:
        raw = client.export(arguments.format)
    try:
        count = write_backup(arguments.output, raw)
    except OSError as error:
        raise RecordError(f"the backup cannot be written: {error.strerror}", where=str(arguments.output)) from error
    found = {"backup": str(arguments.output), "memories": count, "bytes": len(raw)}
    print(json.dumps(found) if arguments.json else f"{count} memories in {arguments.output}")
    return EXIT_OK
