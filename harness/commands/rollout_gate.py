"""``harness rollout gate`` and ``attest``: a phase's decision from evidence, and what only a person can say."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED

if TYPE_CHECKING:
    from harness.judge.gate import GateResult
    from harness.rollout.plan import Criterion, Phase, Plan

ATTESTATIONS = Path("results/rollout/attestations.jsonl")
EXIT_OF_DECISION = {"GO": EXIT_OK, "NO-GO": EXIT_FAILED, "HOLD": EXIT_UNDECIDED}


def register(subcommands: Any) -> None:
    """Add the commands' parsers."""
    gate = subcommands.add_parser("gate", help="GO, NO-GO or HOLD for a phase, from evidence")
    gate.add_argument("phase", metavar="PHASE", help="shadow, 5, 25, ...")
    gate.add_argument("--evidence", action="append", default=[], metavar="[PHASE=]DIR", help="runs, soaks, drills, ...")
    gate.add_argument("--prometheus-url", metavar="U", help="record the phase's metrics first")
    gate.add_argument("--span", metavar="D", help="how much of the metrics: 7d, 24h (default: the phase's minimum)")
    gate.add_argument("--results-dir", type=Path, default=Path("results"), metavar="D", help="where metrics are kept")
    gate.add_argument("--incidents", type=Path, metavar="F", help="incidents file (TOML)")
    gate.add_argument("--attestations", type=Path, default=ATTESTATIONS, metavar="F")
    gate.add_argument("--plan", default="runbook", metavar="NAME|FILE")
    gate.add_argument("--json", action="store_true", help="print the answer as JSON")
    gate.set_defaults(run=_gate)

    attest = subcommands.add_parser("attest", help="attest an item of a phase's checklist, with evidence")
    attest.add_argument("phase", metavar="PHASE")
    attest.add_argument("item", metavar="ITEM", help="`harness rollout plan --phase PHASE` lists them")
    attest.add_argument("--by", required=True, metavar="NAME")
    attest.add_argument("--evidence", default="", metavar="TEXT|URL", help="how it is known; refused without")
    attest.add_argument("--value", type=float, metavar="X", help="the figure, where the item asks for one")
    attest.add_argument("--no", action="store_true", help="it does not hold")
    attest.add_argument("--correct", action="store_true", help="replaces an earlier answer that says otherwise")
    attest.add_argument("--attestations", type=Path, default=ATTESTATIONS, metavar="F")
    attest.add_argument("--plan", default="runbook", metavar="NAME|FILE")
    attest.add_argument("--json", action="store_true", help="print what was written")
    attest.set_defaults(run=_attest)


def _gate(arguments: argparse.Namespace) -> int:
    from harness.rollout.gate import gate
    from harness.rollout.plan import load_plan

    plan = load_plan(arguments.plan)
    phase = plan.phase(arguments.phase)
    places = list(arguments.evidence)
    if arguments.prometheus_url:
        places.append(f"{phase.name}={record(plan, phase, arguments)}")
    result = gate(plan, phase, places, incidents=arguments.incidents, attestations=arguments.attestations)
    print(json.dumps(result.as_json(), indent=2, sort_keys=True) if arguments.json else "\n".join(gate_lines(result)))
    return EXIT_OF_DECISION[result.decision.value]


def record(plan: Plan, phase: Phase, arguments: argparse.Namespace, checks: Sequence[Criterion] = ()) -> Path:
    """Record the phase's metrics and answer where."""
    from harness.clock import SystemClock
    from harness.errors import EnvironmentUnusable
    from harness.prometheus import PrometheusClient
    from harness.rollout.metrics_record import FILE, record_metrics
    from harness.soak.plan import parse_duration

    span_s = parse_duration(arguments.span) if arguments.span else max(3600.0, phase.minimum_duration_s)
    stamp = re.sub(r"[^0-9]", "", SystemClock().wall()[:19])
    folder = arguments.results_dir / "rollout" / f"gate-{phase.name}-{stamp}"
    with PrometheusClient.from_environment(arguments.prometheus_url) as client:
        if not client.ready():
            raise EnvironmentUnusable("Prometheus is not ready yet", where=client.base_url)
        record_metrics(client, plan, phase, folder / FILE, span_s, checks)
    return Path(folder / FILE)


def gate_lines(result: GateResult) -> list[str]:
    """The answer as a table of text."""
    rows = [("verdict", "criterion", "measured", "interval", "threshold", "source")]
    for answer in result.answers:
        criterion = answer.criterion
        note = " (noted)" if criterion.advisory else ""
        rows.append(
            (
                answer.decision.value + note,
                criterion.id,
                answer.measured_text,
                answer.interval_text,
                criterion.threshold,
                re.sub(r" \[[^]]*\]$", "", criterion.source),
            )
        )
    widths = [min(46, max(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("")
    for decision in ("NO-GO", "HOLD"):
        for answer in result.answers:
            if answer.decision.value == decision and not answer.criterion.advisory:
                action = f" -> {answer.action}" if answer.action and decision == "NO-GO" else ""
                lines.append(f"{decision} {answer.criterion.id}: {answer.criterion.text}: {answer.reason}{action}")
    rehearsal = " (rehearsal: its time is scaled)" if result.rehearsal else ""
    onward = f", on to {result.next_phase}" if result.next_phase and result.decision.value == "GO" else ""
    lines.append(f"phase {result.phase} of {result.plan}: {result.decision.value}{onward}{rehearsal}")
    return lines


def _attest(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.rollout.attestations import append_attestation, make_attestation
    from harness.rollout.plan import load_plan

    plan = load_plan(arguments.plan)
    phase = plan.phase(arguments.phase)
    made = make_attestation(
        plan,
        phase,
        arguments.item,
        by=arguments.by,
        evidence=arguments.evidence,
        at=SystemClock().wall(),
        holds=not arguments.no,
        value=arguments.value,
        corrects=arguments.correct,
    )
    append_attestation(arguments.attestations, plan, made)
    if arguments.json:
        print(json.dumps({"file": str(arguments.attestations), **made.__dict__}, indent=2, sort_keys=True))
    else:
        print(f"{made.item} of phase {made.phase}: {'yes' if made.holds else 'no'}, by {made.by}")
    return EXIT_OK
