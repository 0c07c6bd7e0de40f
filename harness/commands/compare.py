"""``harness baseline``, ``compare`` and ``perf``: figures of runs, kept and held against each other."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.measuring import TARGET_HELP, add_sizes, maker, preload_s, progress
from harness.commands.recorded import EXIT_OF_VERDICT
from harness.errors import EXIT_OK, RecordError, UsageError
from harness.model import Verdict
from harness.targets.base import STARTED_HERE

if TYPE_CHECKING:
    from harness.judge.regression import Comparison, Limits, Row, RunFigures
    from harness.performance import Maker, Measurement

_METHODS = ("intervals", "runbook")
# The runbook's shadow mode (1.1) and its full rollout (5.1): what `perf --pairs` compares unless told otherwise.
_BEFORE = "[features]\ndual_memory_types = true\nblended_recall = false\nfan_effect = false\nmonitoring = true\n"
_AFTER = "[features]\ndual_memory_types = true\nblended_recall = true\nfan_effect = true\nmonitoring = true\n"


def register(commands: Any) -> None:
    """Add the commands' parsers."""
    baseline = commands.add_parser("baseline", help="keep the figures of a run that passed as a baseline")
    baseline.add_argument("directory", type=Path, metavar="DIR", help="a soak's session, or another run's directory")
    baseline.add_argument("--name", help="the baseline's name (default: the directory's)")
    baseline.add_argument("--title", default="Phase 0 Baseline (Pre-Dual-Memory)", help="heading of the log's entry")
    baseline.add_argument("--baselines", type=Path, default=Path("results/baselines"), metavar="D")
    baseline.add_argument("--log", type=Path, default=Path("PERFORMANCE_LOG.md"), metavar="F")
    baseline.add_argument("--json", action="store_true", help="print the baseline")
    baseline.set_defaults(run=_baseline)

    compare = commands.add_parser("compare", help="is AFTER worse than BEFORE, with intervals")
    compare.add_argument(
        "before", metavar="BEFORE", help="a result, a run's directory, a directory of pairs, or a task"
    )
    compare.add_argument("after", type=Path, nargs="?", metavar="AFTER", help="not for pairs and tasks")
    _add_comparison(compare)
    compare.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D", help="where tasks are kept")
    compare.set_defaults(run=_compare)

    perf = commands.add_parser("perf", help="the 60-second performance check, or interleaved pairs of it")
    perf.add_argument("task", metavar="TASK", help="names the result, as in the runbook: 001, canary")
    perf.add_argument("phase", nargs="?", choices=("before", "after"), help="not with --pairs")
    perf.add_argument("--pairs", type=int, metavar="N", help="measure before and after N times in turn, and compare")
    _add_comparison(perf)
    perf.add_argument("--scenario", type=Path, metavar="F", help="load (default: scenarios/m17_baseline.toml)")
    perf.add_argument("--rate", type=float, metavar="OPS", help="operations per second (default: the scenario's)")
    add_sizes(perf)
    perf.add_argument("--seconds", type=float, default=60.0, metavar="S", help="length after the warm-up")
    perf.add_argument("--seed", default="0xDEADBEEF", help="decimal or 0x")
    perf.add_argument("--processes", type=int, default=1, metavar="N", help="load processes")
    perf.add_argument("--target", default="embedded", help=TARGET_HELP)
    perf.add_argument("--config", type=Path, metavar="F", help="engram.toml of an Engram started here")
    for side in ("before", "after"):
        perf.add_argument(f"--{side}-config", type=Path, metavar="F", help=f"the same, of the {side} side of pairs")
        perf.add_argument(f"--{side}-target", metavar="T", help=f"the target of the {side} side of pairs")
        perf.add_argument(f"--{side}-defect", action="append", default=[], metavar="NAME[=M]")
    perf.add_argument("--defect", action="append", default=[], metavar="NAME[=M]", help="of the reference Engram")
    perf.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D")
    perf.set_defaults(run=_perf)


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--competitive", action="store_true", help="P99 against Neo4j's 27.96 ms, too")
    parser.add_argument("--method", choices=_METHODS, default=_METHODS[0], help="runbook: the figures as they stand")
    parser.add_argument("--run-variation", type=float, metavar="R", help="assumed between single runs (0.03 is 3 %%)")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def _baseline(arguments: argparse.Namespace) -> int:
    from harness.baseline import append_entry, log_entry, read_figures, result_json, write_result
    from harness.clock import SystemClock

    folder: Path = arguments.directory
    if not folder.is_dir():
        raise RecordError("no such directory", where=str(folder))
    verdict = _verdict_of(folder)
    if verdict is not Verdict.PASS:
        print(f"harness: {folder}: its verdict is {verdict}: only a run that passed is a baseline", file=sys.stderr)
        return EXIT_OF_VERDICT[verdict]
    figures = read_figures(folder)
    name = arguments.name or folder.resolve().name
    if "/" in name or name.startswith("."):
        raise UsageError(f"--name {name!r} is no file name")
    date = SystemClock().wall()[:10]
    path: Path = arguments.baselines / f"{name}.json"
    facts = {"baseline": name, "date": date, "configuration": _configuration(folder)}
    write_result(path, figures, facts)
    append_entry(arguments.log, log_entry(arguments.title, date, facts["configuration"], figures))
    if arguments.json:
        print(json.dumps(_plain(result_json(figures, facts)), indent=2, sort_keys=True))
    else:
        print(f"baseline: {path}\nentry in: {arguments.log}")
    return EXIT_OK


def _plain(value: Any) -> Any:
    from harness.timeline.jsonl import plain

    return plain(value)


def _verdict_of(folder: Path) -> Verdict:
    """A baseline is what passed; a run that is never judged (a performance check) has nothing to pass."""
    from harness.timeline.jsonl import read_json

    path = folder / "verdict.json"
    if path.is_file():
        try:
            return Verdict(read_json(path)["verdict"])
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError("is no verdict", where=str(path), hint=f"harness judge {folder}") from error
    if (folder / "result.json").is_file():
        return Verdict.INCONCLUSIVE if read_json(folder / "result.json").get("doubt") else Verdict.PASS
    raise RecordError("was not judged", where=str(folder), hint=f"harness judge {folder}")


def _configuration(folder: Path) -> str:
    """What was measured, in the words of the runbook's entry."""
    from harness.timeline.jsonl import read_json

    for name in ("manifest.json", "soak/manifest.json", "result.json"):
        if (folder / name).is_file():
            value = read_json(folder / name)
            break
    else:
        return "unknown"
    plan = value.get("plan") or {}
    target = (plan.get("scenario") or {}).get("target") or {}
    scaled = float(plan.get("time_scale", 1.0))
    words = [] if scaled == 1.0 else [f"time scale {scaled:g} (a rehearsal)"]
    workload = (plan.get("workload") or {}).get("name") or value.get("scenario")
    blended = "ON" if target.get("blended_recall") else "OFF"
    flags = f"dual_memory_types=ON, blended_recall={blended}" if target else ""
    return ", ".join(filter(None, [flags, str(workload) if workload else "", *words])) or "unknown"


def _compare(arguments: argparse.Namespace) -> int:
    from harness.baseline import read_figures
    from harness.performance import PAIRS, check_task, latest_of, read_pairs

    first = Path(arguments.before)
    if arguments.after is not None:
        before, after = [read_figures(first)], [read_figures(arguments.after)]
    elif (first / PAIRS).is_file():
        before, after = read_pairs(first)
    elif first.exists():
        raise UsageError("AFTER is missing", where=str(first), hint="harness compare BEFORE AFTER")
    else:
        runs = latest_of(arguments.results_dir, check_task(arguments.before), ("before", "after"))
        before, after = [read_figures(runs[0])], [read_figures(runs[1])]
    return _answer(arguments, before, after)


def _limits(arguments: argparse.Namespace) -> Limits:
    from dataclasses import replace

    from harness.baseline import load_limits
    from harness.settings import scenarios_folder

    limits = load_limits(scenarios_folder() / "compare.toml")
    if arguments.run_variation is None:
        return limits
    if not 0 <= arguments.run_variation < 1:
        raise UsageError("--run-variation is a share from 0 to 1")
    return replace(limits, run_variation=arguments.run_variation)


def _answer(arguments: argparse.Namespace, before: list[RunFigures], after: list[RunFigures]) -> int:
    from harness.judge.regression import compare_runs

    found = compare_runs(before, after, _limits(arguments), competitive=arguments.competitive, method=arguments.method)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=2, sort_keys=True))
    else:
        print("\n".join(table_lines(found)))
    return found.exit_code


def table_lines(found: Comparison) -> list[str]:
    """The runbook's table with intervals, and what follows from it."""
    lines = [f"{'Metric':<24}{'Before':>11}{'After':>11}   {'Change':<30}Verdict"]
    rows = [*found.rows, found.competitive] if found.competitive else found.rows
    for row in rows:
        limit = f" (limit {row.limit})" if row.limit else ""
        verdict = f"{row.verdict.value}{limit}" if row.verdict else ""
        figures = (_figure(row, row.before), _figure(row, row.after))
        lines.append(f"{row.metric:<24}{figures[0]:>11}{figures[1]:>11}   {_change(row):<30}{verdict}".rstrip())
    lines += [f"  {row.metric}: {row.note}" for row in rows if row.note]
    pairs = "one run of each" if found.pairs == 1 else f"{found.pairs} interleaved pairs"
    said = {
        Verdict.PASS: "[OK] no significant regressions detected",
        Verdict.FAIL: "[FAIL] regression detected" if found.exit_code == 1 else "[FAIL] competitive regression",
    }.get(found.verdict, "[UNDECIDED] the runs cannot tell")
    return [*lines, "", f"{said} ({pairs}, method {found.method})"]


def _figure(row: Row, value: float) -> str:
    if math.isnan(value):
        return "-"
    if row.metric == "Error rate":
        return f"{value:.3%}"
    return f"{value:.0f}" if row.metric == "Errors" else f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def _change(row: Row) -> str:
    change, ends = row.change, row.change.interval
    if math.isnan(change.value):
        return "unknown"
    if change.unit == "requests":
        return f"{change.value:+.0f}"
    text, show = (f"{change.value:+.2f}pp", "{:+.2f}") if change.unit == "pp" else (f"{change.value:+.1%}", "{:+.1%}")
    if not ends.known or ends.width == 0:
        return text
    return f"{text} [{show.format(ends.low)}, {show.format(ends.high)}]"


def _perf(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.drilling import software_facts
    from harness.performance import check_task, measure, measure_pairs, result_folder

    task = check_task(arguments.task)
    what = _measurement(arguments)
    _check_sides(arguments)
    phase = "pairs" if arguments.pairs else arguments.phase
    # Before there is a folder: a missing engine leaves none.
    if arguments.pairs:
        sides = (_side(arguments, "before"), _side(arguments, "after"))
    else:
        make = maker(arguments.target, arguments.config, arguments.defect, _BEFORE)
    folder = result_folder(arguments.results_dir.absolute(), task, phase, SystemClock().wall())
    facts = {"task": task, "phase": phase, "software": software_facts()}
    show = progress()
    if arguments.pairs:
        before, after = measure_pairs(sides, arguments.pairs, what, folder, facts, show=show)
        show("")
        print(f"pairs: {folder}", file=sys.stderr)
        return _answer(arguments, before, after)
    figures = measure(make, what, folder, facts, show=show)
    show("")
    if arguments.competitive or arguments.json:
        print(f"result: {folder}", file=sys.stderr)
    return _told(arguments, folder, figures)


def _told(arguments: argparse.Namespace, folder: Path, figures: RunFigures) -> int:
    """Print one run's figures; with --competitive they are judged against the competitor's."""
    from harness.judge.regression import compare_runs

    found = compare_runs([figures], [figures], _limits(arguments), competitive=True, method=arguments.method)
    row = found.competitive
    assert row is not None
    value = {
        "result": str(folder),
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "p99_ms": figures.p99_ms,
        "ops_per_s": figures.ops_per_s,
        "errors": figures.errors,
        "error_rate": figures.error_rate,
        "doubt": figures.doubt,
        "competitive": row.as_json() if arguments.competitive else None,
    }
    if arguments.json:
        print(json.dumps(_plain(value), indent=2, sort_keys=True))
    else:
        print(f"result      {folder}")
        print(f"latency     P50 {figures.p50_ms:.2f} ms, P95 {figures.p95_ms:.2f} ms, P99 {figures.p99_ms:.2f} ms")
        print(f"throughput  {figures.ops_per_s:.1f} ops/s, errors {figures.errors:.0f} ({figures.error_rate:.3%})")
        if figures.doubt:
            print(f"doubt       {figures.doubt}")
        if arguments.competitive:
            verdict = row.verdict.value if row.verdict else ""
            print(
                f"Neo4j       {row.before:.2f} ms -> {row.after:.2f} ms, {_change(row)}: {verdict} {row.note}".rstrip()
            )
    if arguments.competitive:
        from harness.judge.regression import Comparison

        return Comparison([], row, 1, arguments.method).exit_code
    from harness.errors import EXIT_UNDECIDED

    return EXIT_UNDECIDED if figures.doubt else EXIT_OK


def _measurement(arguments: argparse.Namespace) -> Measurement:
    from harness.performance import Measurement
    from harness.scenario.slo import load_objectives
    from harness.scenario.workload import load_workload
    from harness.settings import scenarios_folder

    if not 1 <= arguments.seconds <= 86400:
        raise UsageError(f"--seconds {arguments.seconds:g} is not from 1 to 86400")
    if not 1 <= arguments.processes <= 64:
        raise UsageError(f"--processes {arguments.processes} is not from 1 to 64")
    folder = scenarios_folder()
    workload = load_workload(arguments.scenario or folder / "m17_baseline.toml")
    if arguments.rate is not None:
        workload = workload.at_rate(arguments.rate)
    if arguments.nodes is not None:
        workload = workload.with_nodes(arguments.nodes)
    limits = load_objectives(folder / "compare.toml").limits
    try:
        seed = int(arguments.seed, 0)
    except ValueError as error:
        raise UsageError(f"--seed {arguments.seed!r} is no number", hint="decimal, or hexadecimal with 0x") from error
    if seed < 0:
        raise UsageError("--seed is negative")
    return Measurement(
        workload,
        arguments.seconds,
        seed,
        limits["schedule_lag_p99_ms"].value,
        limits["schedule_lag_share"].value,
        processes=arguments.processes,
        preload_s=preload_s(arguments),
    )


def _check_sides(arguments: argparse.Namespace) -> None:
    """Options that contradict each other are told before anything is started."""
    of_pairs = [
        f"--{side}-{what}"
        for side in ("before", "after")
        for what in ("config", "target", "defect")
        if getattr(arguments, f"{side}_{what}")
    ]
    if arguments.pairs is None:
        if arguments.phase is None:
            raise UsageError("say before or after, or --pairs N")
        if of_pairs:
            raise UsageError(f"{of_pairs[0]} is for --pairs")
        if arguments.target not in STARTED_HERE and (arguments.config or arguments.defect):
            raise UsageError("--config and --defect work on the embedded and docker targets only")
        return
    if not 2 <= arguments.pairs <= 100:
        raise UsageError(f"--pairs {arguments.pairs} is not from 2 to 100", hint="one pair has no spread")
    if arguments.phase is not None:
        raise UsageError(f"--pairs measures both sides: leave '{arguments.phase}' out")
    if arguments.target != "embedded" or arguments.config or arguments.defect:
        raise UsageError("--pairs has two sides", hint="use --before-… and --after-… instead")
    for side in ("before", "after"):
        url = getattr(arguments, f"{side}_target")
        more = getattr(arguments, f"{side}_config") or getattr(arguments, f"{side}_defect")
        if url and url not in STARTED_HERE and more:
            raise UsageError(f"--{side}-target contradicts --{side}-config and --{side}-defect")


def _side(arguments: argparse.Namespace, side: str) -> Maker:
    values = [getattr(arguments, f"{side}_{what}") for what in ("target", "config", "defect")]
    return maker(values[0] or "embedded", values[1], values[2], _BEFORE if side == "before" else _AFTER)
