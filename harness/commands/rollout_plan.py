"""``harness rollout plan``: a plan, for people or as JSON."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from harness.errors import EXIT_OK

if TYPE_CHECKING:
    from harness.rollout.plan import Phase, Plan, Trigger


def register(subcommands: Any) -> None:
    """Add the command's parser."""
    plan = subcommands.add_parser("plan", help="print a rollout plan: phases, criteria, triggers, checklists")
    plan.add_argument("--plan", default="runbook", metavar="NAME|FILE", help="runbook, task015, or a plan's file")
    plan.add_argument("--phase", metavar="X", help="only this phase: shadow, 5, 25, ...")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    from harness.rollout.plan import load_plan

    plan = load_plan(arguments.plan)
    phase = None if arguments.phase is None else plan.phase(arguments.phase)
    if arguments.json:
        value = plan.as_json()
        if phase is not None:
            value = next(p for p in value["phases"] if p["name"] == phase.name)
        print(json.dumps(value, indent=2, sort_keys=True))
        return EXIT_OK
    print("\n".join(plan_lines(plan) if phase is None else phase_lines(plan, phase)))
    return EXIT_OK


def plan_lines(plan: Plan) -> list[str]:
    """The whole plan as lines of text."""
    lines = [f"{plan.title} ({plan.name}; {plan.source})"]
    for phase in plan.phases:
        lines += ["", *phase_lines(plan, phase)]
    if plan.triggers:
        lines += ["", "Triggers in every phase that serves blended recalls:"]
        lines += [_trigger(trigger) for trigger in plan.triggers]
    for checklist in plan.checklists.values():
        lines += ["", f"{checklist.title} ({checklist.source})"]
        lines += [f"  [ ] {item.id}: {item.text}" for item in checklist.items]
    for issue in plan.issues:
        lines += ["", f"{issue.title} ({issue.source})"]
        lines += [f"  symptom: {symptom.text}" for symptom in issue.symptoms]
        lines += [f"  {number}. {action}" for number, action in enumerate(issue.actions, start=1)]
    for procedure in plan.procedures:
        lines += ["", f"{procedure.title}, within {duration(procedure.takes_s)} ({procedure.source})"]
        lines += [f"  {number}. {step}" for number, step in enumerate(procedure.steps, start=1)]
    return lines


def phase_lines(plan: Plan, phase: Phase) -> list[str]:
    """One phase as lines of text."""
    flags = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in phase.flags.items())
    weight = "" if phase.semantic_weight is None else f", semantic weight {phase.semantic_weight:g}"
    lines = [
        f"{phase.name}: {phase.title} ({phase.source})",
        f"  {phase.objective}",
        f"  at least {duration(phase.minimum_duration_s)}, cohort {phase.cohort_rate * 100:g} %{weight}; {flags}",
    ]
    lines += [f"  do: {action}" for action in phase.actions]
    lines += [f"  watch: {t.text} ({t.source})" for t in phase.monitoring_targets]
    lines += [f"  slo: {o.text} ({o.source})" for o in phase.slos]
    lines += [f"  drill: {d.text} ({d.source})" for d in phase.drills]
    for criterion in phase.criteria:
        note = "  (noted, does not decide)" if criterion.advisory else ""
        lines.append(
            f"  criterion {criterion.key}: {criterion.text}  {criterion.threshold}  ({criterion.source}){note}"
        )
    lines += [_trigger(trigger) for trigger in phase.abort_triggers]
    if phase.rollback is not None:
        lines.append(f"  rollback: {phase.rollback.method}, to {phase.rollback.to} ({phase.rollback.source})")
        lines += [f"    {number}. {step}" for number, step in enumerate(phase.rollback.steps, start=1)]
    lines += [f"  [ ] {item.id}: {item.text}" for item in phase.checklist]
    return lines


def _trigger(trigger: Trigger) -> str:
    held = f" for {duration(trigger.for_s)}" if trigger.for_s else ""
    bound = "" if math.isnan(trigger.bound) else f"  {trigger.op} {trigger.bound:g}{held}"
    return f"  abort ({trigger.kind}): {trigger.text}{bound}  -> {trigger.action} ({trigger.source})"


def duration(seconds: float) -> str:
    """``7 days``, ``30 min``: seconds for people."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:g} {unit}".replace("1 days", "1 day")
    return f"{seconds:g} s"
