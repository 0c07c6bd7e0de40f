"""``harness replay``: the load of a recorded run, or a trace of the public build, put on a target again."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.measuring import TARGET_HELP, maker, progress
from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED, UsageError
from harness.targets.base import STARTED_HERE

if TYPE_CHECKING:
    from harness.judge.regression import RunFigures
    from harness.model import Estimate
    from harness.replaying import Replay

_DEFAULT = "[features]\ndual_memory_types = true\nblended_recall = false\nfan_effect = false\nmonitoring = true\n"


def register(commands: Any) -> None:
    """Add the command's parser."""
    replay = commands.add_parser("replay", help="send the load of a recorded run, or a trace, to a target again")
    replay.add_argument("source", type=Path, metavar="DIR", help="a run's directory, or the public build's trace.json")
    replay.add_argument("--target", default="embedded", help=TARGET_HELP)
    replay.add_argument("--speed", type=float, default=1.0, metavar="K", help="K times as fast (default: as recorded)")
    replay.add_argument("--seconds", type=float, metavar="S", help="end after so long (default: as long as recorded)")
    replay.add_argument("--processes", type=int, default=1, metavar="N", help="load processes")
    replay.add_argument("--config", type=Path, metavar="F", help="engram.toml of an Engram started here")
    replay.add_argument("--defect", action="append", default=[], metavar="NAME[=M]", help="of the reference Engram")
    replay.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D")
    replay.add_argument("--json", action="store_true", help="print the figures as JSON")
    replay.set_defaults(run=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    from harness.baseline import read_figures
    from harness.clock import SystemClock
    from harness.drilling import software_facts
    from harness.performance import Measurement, measure, result_folder
    from harness.replaying import replay_of
    from harness.scenario.slo import load_objectives
    from harness.settings import scenarios_folder

    if not 1 <= arguments.processes <= 64:
        raise UsageError(f"--processes {arguments.processes} is not from 1 to 64")
    if arguments.target not in STARTED_HERE and (arguments.config or arguments.defect):
        raise UsageError("--config and --defect work on the embedded and docker targets only")
    make = maker(arguments.target, arguments.config, arguments.defect, _DEFAULT)
    limits = load_objectives(scenarios_folder() / "compare.toml").limits
    if not arguments.source.exists():
        raise UsageError("no such run and no such trace", where=str(arguments.source))
    kind = "run" if arguments.source.is_dir() else "trace"
    folder = result_folder(arguments.results_dir.absolute(), "replay", kind, SystemClock().wall())
    show = progress()
    show("reading")
    packed = None
    try:
        what = replay_of(arguments.source, folder, speed=arguments.speed, seconds=arguments.seconds)
        packed = what.trace.path if what.trace else None
        measurement = Measurement(
            what.workload,
            what.duration_s,
            what.seed,
            limits["schedule_lag_p99_ms"].value,
            limits["schedule_lag_share"].value,
            warm_up_s=0.0,
            processes=arguments.processes,
            trace=what.trace,
        )
        facts = {"replayed": str(what.source), "speed": arguments.speed, "software": software_facts()}
        figures = measure(make, measurement, folder, facts, show=show)
    finally:
        show("")
        (packed or folder / "trace.bin").unlink(missing_ok=True)
        _drop_empty(folder)
    recorded = read_figures(what.recorded) if what.recorded else None
    share = _error_share(figures)
    _tell(arguments, folder, what, figures, recorded, share)
    if share.interval.low > limits["replay_error_rate"].value:
        return EXIT_FAILED
    return EXIT_UNDECIDED if figures.doubt else EXIT_OK


def _drop_empty(folder: Path) -> None:
    """A source that could not be read leaves no directory behind."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _error_share(figures: RunFigures) -> Estimate:
    from harness.judge.intervals import share

    return share(int(figures.errors), int(figures.operations), "requests")


def _tell(
    arguments: argparse.Namespace,
    folder: Path,
    what: Replay,
    figures: RunFigures,
    recorded: RunFigures | None,
    share: Estimate,
) -> None:
    from harness.timeline.jsonl import plain, read_json

    summary = read_json(folder / "samples" / "load.json")
    value = {
        "result": str(folder),
        "source": str(what.source),
        "kind": "trace" if what.trace else "run",
        "speed": arguments.speed,
        "same_schedule": bool(what.digest) and arguments.speed == 1.0,
        "due": summary["due"],
        "unsent": summary["unsent"],
        "outcomes": summary["outcomes"],
        "error_rate": {"value": share.value, "low": share.interval.low, "high": share.interval.high},
        "doubt": figures.doubt,
        "replayed": _numbers(figures),
        "recorded": _numbers(recorded) if recorded else None,
    }
    if arguments.json:
        print(json.dumps(plain(value), indent=2, sort_keys=True))
        return
    print(f"{'':<10}{'P50 ms':>9}{'P95 ms':>9}{'P99 ms':>9}{'ops/s':>10}{'errors':>9}")
    for name, run in (("recorded", recorded), ("replayed", figures)):
        if run is not None:
            row = "".join(f"{number:>9.2f}" for number in (run.p50_ms, run.p95_ms, run.p99_ms))
            print(f"{name:<10}{row}{run.ops_per_s:>10.1f}{run.errors:>9.0f}")
    if not math.isnan(share.value):
        print(f"errors     {share.value:.3%} [{share.interval.low:.3%}, {share.interval.high:.3%}]")
    if figures.doubt:
        print(f"doubt      {figures.doubt}")
    print(f"result     {folder}")
    if what.recorded is not None:
        sys.stdout.write(f"compare    harness compare {what.recorded} {folder}\n")


def _numbers(figures: RunFigures) -> dict[str, float]:
    return {
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "p99_ms": figures.p99_ms,
        "ops_per_s": figures.ops_per_s,
        "errors": figures.errors,
        "operations": figures.operations,
    }
