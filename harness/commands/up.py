"""``harness up``: an Engram that stays up for exploring, with Prometheus and Grafana beside it on the docker target.

Ends in order on Ctrl-C (or SIGTERM, or after ``--duration``), which is how it is meant to end: exit code 0. Ended
while it still comes up, it is 130, and nothing is left either way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.measuring import add_sizes, interrupt_on_sigterm, preload_s, stack_maker
from harness.errors import EXIT_OK, UsageError
from harness.settings import DEFAULT_SEED, scenarios_folder
from harness.targets.base import DOCKER, EMBEDDED

if TYPE_CHECKING:
    from harness.scenario.workload import Workload
    from harness.starting import TargetMaker


def register(commands: Any) -> None:
    """Add the command's parser."""
    up = commands.add_parser("up", help="an Engram, Prometheus and Grafana that stay up until Ctrl-C")
    up.add_argument("--target", choices=(EMBEDDED, DOCKER), default=DOCKER, help="default: docker")
    up.add_argument("--load", metavar="SCENARIO", help="keep a load on it: a name of scenarios/, or a TOML file")
    up.add_argument("--rate", type=float, metavar="OPS", help="operations per second (default: the scenario's)")
    add_sizes(up)
    up.add_argument("--cohort-rate", type=float, default=0.5, metavar="R", help="users with blended recall (0: off)")
    up.add_argument("--locust-web", action="store_true", help="Locust's own page of that load")
    up.add_argument("--port", type=int, default=0, metavar="N", help="Engram's port (default: any free one)")
    up.add_argument("--engram-config", type=Path, metavar="F", help="engram.toml, as it is")
    up.add_argument("--defect", action="append", default=[], metavar="NAME[=M]", help="of the reference Engram")
    up.add_argument("--time-scale", type=float, default=1.0, metavar="K", help="divide Prometheus' intervals by K")
    up.add_argument("--duration", metavar="D", help="end by itself: 90s, 20m, 8h")
    up.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D", help="where logs are kept")
    up.add_argument("--json", action="store_true", help="print the URLs as one line of JSON once all is ready")
    up.set_defaults(run=_up)


def _up(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.drilling import session_folder
    from harness.exploring import Exploration, Stay

    workload = _workload(arguments)
    if arguments.locust_web and workload is None:
        raise UsageError("--locust-web shows a load, and there is none", hint="add --load SCENARIO")
    if not 0 <= arguments.cohort_rate <= 1:
        raise UsageError(f"--cohort-rate {arguments.cohort_rate:g} is not from 0 to 1")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port {arguments.port} is not from 0 to 65535")
    stay = Stay(
        workload=workload,
        cohort_rate=arguments.cohort_rate,
        seed=DEFAULT_SEED,
        page=arguments.locust_web,
        port=arguments.port,
        duration_s=_seconds(arguments.duration),
        preload_s=preload_s(arguments),
    )
    quiet = arguments.json

    def say(text: str) -> None:
        if not quiet:
            print(f"{text} …", flush=True)

    maker = _maker(arguments, say)
    folder = session_folder(arguments.results_dir.absolute(), SystemClock().wall()) / "up"
    interrupt_on_sigterm()
    exploration = Exploration(stay, maker, folder, say=say)

    def ready(places: dict[str, Any]) -> None:
        if arguments.json:
            print(json.dumps(places), flush=True)
        else:
            print(_shown(places), flush=True)

    exploration.run(ready, sys.stderr if quiet else sys.stdout)
    return EXIT_OK


def _maker(arguments: argparse.Namespace, say: Callable[[str], None]) -> TargetMaker:
    text = _text(arguments.engram_config) if arguments.engram_config else None
    return stack_maker(
        arguments.target, config_text=text, defects=arguments.defect, time_scale=arguments.time_scale, say=say
    )


def _workload(arguments: argparse.Namespace) -> Workload | None:
    from harness.scenario.workload import load_workload

    if arguments.load is None:
        for option in ("rate", "nodes", "preload_time"):
            if getattr(arguments, option) is not None:
                name = option.replace("_", "-")
                raise UsageError(f"--{name} is of a load, and there is none", hint="add --load SCENARIO")
        return None
    given = Path(arguments.load)
    named = scenarios_folder() / f"{arguments.load}.toml"
    workload = load_workload(named if given.suffix != ".toml" and named.is_file() else given)
    if arguments.nodes is not None:
        workload = workload.with_nodes(arguments.nodes)
    if arguments.rate is None:
        return workload
    if not 0 < arguments.rate <= 100_000:
        raise UsageError(f"--rate {arguments.rate:g} is not above 0 and at most 100000")
    return workload.at_rate(arguments.rate)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from error


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        value = float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value <= 86_400 * 7:
        raise UsageError(f"--duration {text!r} is no duration up to a week", hint="90s, 20m, 8h")
    return value


def _shown(places: dict[str, Any]) -> str:
    words = {"engram": "Engram", "prometheus": "Prometheus", "grafana": "Grafana", "locust": "Locust"}
    lines = [f"{words[name]:<11} {url}" for name, url in places["urls"].items() if url]
    lines += [f"{words[name]:<11} none: {why}" for name, why in places["absent"].items()]
    return "\n".join([*lines, f"{'Logs':<11} {places['folder']}", "Ctrl-C takes it all down."])
