"""``harness validate``: Task 015's eight checks, and a recommendation."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.commands.rollout_gate import ATTESTATIONS
from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED


def register(commands: Any) -> None:
    """Add the command's parser."""
    validate = commands.add_parser("validate", help="Task 015's eight checks: proceed, hold or roll back")
    validate.add_argument("--evidence", action="append", default=[], metavar="[PHASE=]DIR", help="as `rollout gate`")
    validate.add_argument("--phase", default="100", metavar="P", help="the phase that is validated (default: 100)")
    validate.add_argument("--prometheus-url", metavar="U", help="record the phase's metrics first")
    validate.add_argument("--span", metavar="D", help="how much of the metrics: 7d, 24h (default: the phase's minimum)")
    validate.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D")
    validate.add_argument("--incidents", type=Path, metavar="F")
    validate.add_argument("--attestations", type=Path, default=ATTESTATIONS, metavar="F")
    validate.add_argument("--plan", default="task015", metavar="NAME|FILE", help="whose phases the evidence is of")
    validate.add_argument("--json", action="store_true", help="print the answer as JSON")
    validate.set_defaults(run=_validate)


def _validate(arguments: argparse.Namespace) -> int:
    from harness.commands.rollout_gate import record
    from harness.judge.validation import PROCEED, ROLL_BACK, validate
    from harness.rollout.evidence import collect
    from harness.rollout.plan import load_plan

    plan = load_plan(arguments.plan)
    phase = plan.phase(arguments.phase)
    checks = plan.validation or load_plan("task015").validation
    places = list(arguments.evidence)
    if arguments.prometheus_url:
        places.append(f"{phase.name}={record(plan, phase, arguments, checks)}")
    found = collect(plan, phase, places, incidents=arguments.incidents, attestations=arguments.attestations)
    result = validate(plan, phase, checks, found.evidence)
    if arguments.json:
        print(json.dumps(result.as_json(), indent=2, sort_keys=True))
    else:
        for answer in result.answers:
            figures = " ".join(filter(None, [answer.measured_text, answer.interval_text]))
            print(f"{answer.verdict.value:<14}{answer.criterion.text}: {figures}, must be {answer.criterion.threshold}")
        print(f"recommendation: {result.recommendation}")
        print("\n".join(f"  {reason}" for reason in result.reasons))
    return {PROCEED: EXIT_OK, ROLL_BACK: EXIT_FAILED}.get(result.recommendation, EXIT_UNDECIDED)
