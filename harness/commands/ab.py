"""``harness ab``: a canary against its control. ``plan`` before, ``analyze`` once, ``compare`` every night."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from harness.ab.analysis import Analysis
    from harness.judge.comparison import Comparison
    from harness.scenario.slo import Objectives

_METHODS = ("default", "watched", "runbook")
LIMITS = "ab.toml"


def register(commands: Any) -> None:
    """Add the commands' parsers."""
    ab = commands.add_parser("ab", help="compare a canary with its control")
    parts = ab.add_subparsers(dest="part", metavar="PART", required=True)
    analyze = parts.add_parser("analyze", help="judge CSV files or run directories")
    analyze.add_argument("control", type=Path, metavar="CONTROL", help="a CSV file or a run; one alone holds both arms")
    analyze.add_argument("canary", type=Path, nargs="?", metavar="CANARY")
    analyze.add_argument(
        "--method",
        choices=_METHODS,
        default=_METHODS[0],
        help="watched: bounds that hold however often a growing record is looked at; runbook: Welch and Cohen's d",
    )
    analyze.add_argument("--window", default="whole", metavar="W", help="of a run: baseline, during, after, whole")
    analyze.add_argument("--out", type=Path, metavar="F.html", help="write a page with both distributions")
    _shared(analyze)
    analyze.set_defaults(run=_analyze)

    plan = parts.add_parser("plan", help="what sample decides, and how long it takes, before the start")
    plan.add_argument("--rate", type=float, required=True, metavar="R", help="requests a second, both arms together")
    plan.add_argument("--canary", type=float, required=True, metavar="S", help="share of the traffic, 0.05 is 5 %%")
    plan.add_argument("--pilot", type=Path, metavar="RUN", help="a run or CSV file to read the spread from")
    plan.add_argument("--sigma", type=float, default=0.5, metavar="S", help="of log latency, without a pilot")
    plan.add_argument("--error-rate", type=float, default=0.001, metavar="E", help="of the control")
    _shared(plan)
    plan.set_defaults(run=_plan)

    compare = parts.add_parser("compare", help="the nightly comparison: keep tonight's two runs, judge all nights")
    compare.add_argument("control", type=Path, nargs="?", metavar="CONTROL")
    compare.add_argument("canary", type=Path, nargs="?", metavar="CANARY")
    compare.add_argument("--history", type=Path, default=Path("results/canary_history"), metavar="D")
    compare.add_argument("--date", metavar="YYYY-MM-DD", help="of the night; default today")
    compare.add_argument("--replace", action="store_true", help="overwrite a night that is kept already")
    compare.add_argument("--method", choices=("intervals", "runbook"), default="intervals")
    compare.add_argument("--json", action="store_true", help="print the comparison as JSON")
    compare.set_defaults(run=_compare)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limits", type=Path, metavar="F", help="limits with their sources; default scenarios/ab.toml")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def _limits(given: Path | None) -> Objectives:
    from harness.scenario.slo import load_objectives
    from harness.settings import scenarios_folder

    standard = scenarios_folder() / LIMITS
    limits = load_objectives(given or standard)
    if missing := sorted(load_objectives(standard).limits.keys() - limits.limits.keys()):
        raise UsageError(f"limits are missing: {', '.join(missing)}", where=str(given))
    return limits


def _analyze(arguments: argparse.Namespace) -> int:
    from harness.ab.analysis import analyse
    from harness.ab.evidence import gather
    from harness.report.ab_html import write_ab_report
    from harness.timeline.jsonl import plain

    limits = _limits(arguments.limits)
    evidence = gather(arguments.control, arguments.canary, arguments.window)
    found = analyse(evidence, limits, arguments.method)
    if arguments.out is not None:
        latency = evidence.latency or (None, None)
        write_ab_report(arguments.out, found.as_json(), found.rows, *latency)
    if arguments.json:
        print(json.dumps(plain(found.as_json()), indent=2, sort_keys=True))
    else:
        print("\n".join(_lines(found)))
        if arguments.out is not None:
            print(f"report: {arguments.out}")
    return found.exit_code


def _lines(found: Analysis) -> list[str]:
    lines = [f"{found.source} (method {found.method})", *(f"  {line}" for line in found.power), ""]
    lines.append(f"{'Metric':<36}{'Control':>12}{'Canary':>12}   {'Change [95 % interval]':<40}Verdict")
    for row in found.rows:
        limit = f"{row.verdict.value} (limit {row.op} {amount(row.limit, row.change.unit)}"
        limit += f", {row.decided_by})" if row.decided_by else ")"
        figures = figure(row.control.value, row.control.unit), figure(row.canary.value, row.canary.unit)
        lines.append(f"{row.metric:<36}{figures[0]:>12}{figures[1]:>12}   {_change(row):<40}{limit}")
    for row in found.rows:
        if row.note:
            lines.append(f"  {row.metric}: {row.note}")
        if row.false_alarms:
            lines.append(f"  {row.metric}: this method's false alarms: {row.false_alarms}")
    lines += [f"  note: {note}" for note in found.notes]
    said = {"PASS": "[OK] nothing is worse than allowed", "FAIL": "[FAIL] worse than allowed"}
    return [*lines, "", said.get(found.verdict.value, "[UNDECIDED] the sample cannot tell")]


def figure(value: float, unit: str) -> str:
    """A figure of one arm."""
    if math.isnan(value):
        return "-"
    return f"{value:.2%}" if unit == "ratio" else f"{value:.2f} {unit}"


def amount(value: float, unit: str) -> str:
    """A change or a limit, in its unit."""
    if math.isnan(value):
        return "-"
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.1%}" if unit == "ratio" else f"{value:.2f} {unit}"


def _change(row: Comparison) -> str:
    if not row.change.known:
        return "unknown"
    ends = row.interval95
    shown = amount(row.change.value, row.change.unit)
    return f"{shown} [{amount(ends.low, row.change.unit)}, {amount(ends.high, row.change.unit)}]"


def _plan(arguments: argparse.Namespace) -> int:
    from harness.ab.planning import plan_of
    from harness.timeline.jsonl import plain

    if not 0 < arguments.canary < 1:
        raise UsageError("--canary is a share between 0 and 1")
    if not 0 < arguments.rate < 1e9 or not 0 < arguments.sigma < 10 or not 0 < arguments.error_rate < 1:
        raise UsageError("--rate and --sigma are above 0, --error-rate is a share between 0 and 1")
    found = plan_of(
        _limits(arguments.limits),
        rate=arguments.rate,
        canary=arguments.canary,
        sigma=arguments.sigma,
        error_rate=arguments.error_rate,
        pilot=arguments.pilot,
    )
    if arguments.json:
        print(json.dumps(plain(found.as_json()), indent=2, sort_keys=True))
    else:
        print("\n".join(found.lines()))
    return EXIT_OK


def _compare(arguments: argparse.Namespace) -> int:
    from harness.ab.history import add_night, history_json, read_nights, table_of, together
    from harness.baseline import load_limits
    from harness.clock import SystemClock
    from harness.commands.compare import table_lines
    from harness.settings import scenarios_folder

    if (arguments.control is None) != (arguments.canary is None):
        raise UsageError("give both runs of tonight, or none to judge the nights that are kept")
    if arguments.control is not None:
        date = arguments.date or SystemClock().wall()[:10]
        add_night(arguments.history, date, arguments.control, arguments.canary, replace=arguments.replace)
    limits = load_limits(scenarios_folder() / "compare.toml")
    nights = read_nights(arguments.history, limits, arguments.method)
    pooled = together(nights, limits, arguments.method)
    if arguments.json:
        print(json.dumps(history_json(nights, pooled), indent=2, sort_keys=True))
    else:
        print("\n".join([*table_of(nights), "", *table_lines(pooled)]))
    return pooled.exit_code
