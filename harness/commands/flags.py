"""``harness flags``: read the runtime flags; set one, read it back, see that it acts, watch P99."""

from __future__ import annotations

import argparse
import json
from typing import Any

from harness.errors import EXIT_FAILED, EXIT_OK, RollbackIncomplete, UsageError


def register(commands: Any) -> None:
    """Add the command's parser."""
    flags = commands.add_parser("flags", help="read or set the runtime flags of a running Engram")
    words = flags.add_subparsers(dest="word", metavar="WORD", required=True)
    get = words.add_parser("get", help="all flags, or one")
    get.add_argument("name", nargs="?", metavar="NAME")
    get.set_defaults(run=_get)
    put = words.add_parser("set", help="set a flag, read it back, wait for its effect, watch P99")
    put.add_argument("name", metavar="NAME", help="blended_recall, fan_effect, dual_memory_types or monitoring")
    put.add_argument("value", choices=("true", "false"))
    put.add_argument("--i-own-this-target", action="store_true", help="it may be changed")
    put.add_argument("--wait", type=float, default=0.0, metavar="S", help="for a target another harness holds")
    put.add_argument(
        "--within", type=float, default=30.0, metavar="S", help="until it must be seen to act (default 30)"
    )
    put.add_argument("--watch", type=float, default=120.0, metavar="S", help="P99 is watched this long (default 120)")
    put.set_defaults(run=_set)
    for word in (get, put):
        word.add_argument("--target", default="http://127.0.0.1:7432", metavar="URL")
        word.add_argument("--json", action="store_true", help="print the answer as JSON")


def _get(arguments: argparse.Namespace) -> int:
    from harness.targets.attached import AttachedTarget

    with AttachedTarget(arguments.target).client() as client:
        found = client.features()
    if arguments.name is not None:
        _require_known(arguments.name, found)
        found = {arguments.name: found[arguments.name]}
    if arguments.json:
        print(json.dumps(found, indent=2, sort_keys=True))
    else:
        print("\n".join(f"{name:<24}{json.dumps(value)}" for name, value in found.items()))
    return EXIT_OK


def _require_known(name: str, flags: dict[str, Any]) -> None:
    if name not in flags:
        raise UsageError(f"the target has no flag {name!r}", hint=f"one of {', '.join(sorted(flags))}")


def _set(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.faults.state import TargetLock, state_dir
    from harness.rollout.flag_effect import NOT_SEEN, wait_for_effect, watch_p99
    from harness.rollout.rollback import set_flags
    from harness.targets.attached import AttachedTarget

    name, value = arguments.name, arguments.value == "true"
    for option, seconds in (("--watch", arguments.watch), ("--within", arguments.within)):
        if not 0 <= seconds <= 86_400:
            raise UsageError(f"{option} {seconds:g} is not from 0 to 86400 seconds")
    target = AttachedTarget(arguments.target, claimed=arguments.i_own_this_target)
    target.require_owned()
    with target.client() as client:
        before = client.features()
    _require_known(name, before)
    if not isinstance(before[name], bool):
        what = f"{name} is not true or false, but {json.dumps(before[name])}"
        raise UsageError(what, hint="harness rollout ramp RATE")
    clock = SystemClock()
    lock = TargetLock(target.base_url, state_dir(), clock=clock)
    lock.acquire(arguments.wait)
    say = _silent if arguments.json else _said
    try:
        read_back = set_flags(target, {name: value})
        say(f"set       {name} = {arguments.value} (it was {json.dumps(before[name])}); {read_back}")
        effect = wait_for_effect(target, name, value, limit_s=arguments.within, clock=clock)
        say(f"effect    {effect.state}: {effect.evidence}")
        lines = []
        watched = watch_p99(target, seconds=arguments.watch, every_s=10.0, per_s=20.0, clock=clock)
        for number, line in enumerate(watched):
            low, high = line.p99_ms.interval.low, line.p99_ms.interval.high
            shown = f"{line.p99_ms.value:.2f} ms [{low:.2f}, {high:.2f}]"
            say(f"P99 {number + 1:>4}  {shown}, {line.failed} of {line.asked} failed")
            lines.append(line.as_json())
    finally:
        lock.release()
    if arguments.json:
        found = {"flag": name, "before": before[name], "value": value, "read_back": read_back}
        print(json.dumps({**found, "effect": vars(effect), "p99": lines}, indent=2, default=str))
    if effect.state == NOT_SEEN:
        raise RollbackIncomplete(f"{name} reads {arguments.value}, and is not seen to act: {effect.evidence}")
    return EXIT_FAILED if any(line["failed"] for line in lines) else EXIT_OK


def _said(text: str) -> None:
    print(text, flush=True)


def _silent(text: str) -> None:
    """JSON is printed at the end."""
