"""``harness validate-monitoring``: is the monitoring stack of a rollout what it seems to be?"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.measuring import interrupt_on_sigterm, say, stack_maker
from harness.errors import EXIT_FAILED, EXIT_OK, EnvironmentUnusable, UsageError
from harness.monitoring.validation import Finding
from harness.settings import DEFAULT_SEED
from harness.targets.base import EMBEDDED, STARTED_HERE

if TYPE_CHECKING:
    from harness.targets.base import Target

_TIME_SCALE = 15.0  # a scrape a second, as in drills
_LOAD_PER_S = 60.0
_USUAL_ABSENCE = {
    "prometheus": "it is not installed (Debian: apt-get install prometheus)",
    "grafana": "there is none beside an embedded Engram",
}


def register(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "validate-monitoring", help="check Prometheus, its rules, Grafana's dashboards and Engram's metrics"
    )
    parser.add_argument("--prometheus-url", metavar="URL", help="[ENGRAM_PROMETHEUS_URL]")
    parser.add_argument("--grafana-url", metavar="URL", help="[ENGRAM_GRAFANA_URL]")
    parser.add_argument(
        "--target",
        metavar="T",
        help="URL of the Engram itself: its metrics, and as a witness of recalls; docker or embedded: the stack as it "
        "is shipped, brought up under a load for this",
    )
    parser.add_argument(
        "--time-scale", type=float, metavar="K", help=f"divide that stack's intervals by K (default: {_TIME_SCALE:g})"
    )
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D", help="where its logs are")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=_validate)


def _validate(arguments: argparse.Namespace) -> int:
    prometheus = arguments.prometheus_url or os.environ.get("ENGRAM_PROMETHEUS_URL")
    grafana = arguments.grafana_url or os.environ.get("ENGRAM_GRAFANA_URL")
    target = arguments.target
    if target in STARTED_HERE:
        if arguments.prometheus_url or arguments.grafana_url:
            raise UsageError(f"--prometheus-url and --grafana-url contradict --target {target}", hint="it has its own")
        findings = _validate_stack(arguments)
    elif not prometheus and not grafana and not target:
        raise UsageError("nothing to validate", hint="give --prometheus-url, --grafana-url or --target")
    else:
        if arguments.time_scale is not None:
            raise UsageError("--time-scale is of a stack that is started here", hint="--target docker or embedded")
        findings = validate(prometheus, grafana, target)
    good = all(finding.verdict != "failed" for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": good, "findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        _print(findings)
    return EXIT_OK if good else EXIT_FAILED


def _validate_stack(arguments: argparse.Namespace) -> list[Finding]:
    """Every finding about a stack that is brought up for it: once its rules have data, or have had the time for it."""
    from harness.clock import SystemClock
    from harness.drilling import session_folder
    from harness.exploring import Exploration, Stay
    from harness.scenario.workload import load_workload
    from harness.settings import scenarios_folder

    scale = _TIME_SCALE if arguments.time_scale is None else arguments.time_scale
    stay = Stay(workload=load_workload(scenarios_folder() / "drill.toml").at_rate(_LOAD_PER_S), seed=DEFAULT_SEED)
    maker = stack_maker(arguments.target, time_scale=scale, beside=arguments.target == EMBEDDED, say=say)
    folder = session_folder(arguments.results_dir.absolute(), SystemClock().wall()) / "monitoring"
    interrupt_on_sigterm()
    return Exploration(stay, maker, folder, say=say).visit(lambda target: _look(target, scale))


def _look(target: Target, scale: float) -> list[Finding]:
    from harness.clock import SystemClock
    from harness.monitoring.stack import LOOK_S, has_data, stack_plan
    from harness.settings import scenarios_folder

    absent = {**_USUAL_ABSENCE, **target.describe().get("absent", {})}
    if target.prometheus_url is None:
        raise EnvironmentUnusable("there is no Prometheus to validate", where=absent["prometheus"])
    clock, never, plan = SystemClock(), threading.Event(), stack_plan(scenarios_folder(), scale)
    deadline = clock.now() + plan.patience_s
    while clock.now() < deadline and not has_data(target.prometheus_url, plan.spec):
        clock.wait(never, LOOK_S)
    return validate(target.prometheus_url, target.grafana_url, target.base_url, absent)


def validate(
    prometheus: str | None, grafana: str | None, target: str | None, absent: Mapping[str, str] | None = None
) -> list[Finding]:
    """Every finding about what is given; the others are skipped with the reason, which ``absent`` may know.

    Raises an error of exit code 3 where a URL does not answer, refuses us, or is something else.
    """
    from harness.monitoring.stack import Stack, stack_plan, validate_stack
    from harness.settings import scenarios_folder

    stack = Stack(prometheus or None, grafana or None, target or None, absent or {})
    return validate_stack(stack, stack_plan(scenarios_folder()))


def _print(findings: Sequence[Finding]) -> None:
    words = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{words[finding.verdict]:8}{finding.check:{width}}  {finding.detail}")
    failures = sum(finding.verdict == "failed" for finding in findings)
    unseen = ", ".join(finding.check for finding in findings if finding.verdict == "skipped")
    said = f"{failures} of {len(findings)} checks failed" if failures else "the monitoring stack works"
    print(f"{said}; not looked at: {unseen}" if unseen else said)
