"""Post-rollout analysis, lessons learned and communications: templates filled with what the evidence says.

What no evidence says stays a marked blank; nothing is guessed, and no blank is filled with a zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.judge.gate import Answer, Decision, GateResult
from harness.judge.phase_gate import Evidence, judge_gate
from harness.rollout.evidence import collect
from harness.scenario.incidents import IncidentList
from harness.scenario.rollout import Phase, Plan

BLANK = "_____"
DOCUMENTS = ("post_rollout_analysis.md", "lessons_learned.md", "communications.md")
_MOST_LINES = 12


@dataclass(frozen=True)
class Incidents:
    """Of the incidents file, where there is one."""

    total: str = BLANK
    attributed: str = BLANK
    pages: str = BLANK
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The texts by file name, and how many blanks each holds."""

    texts: dict[str, str]
    decision: Decision
    blanks: dict[str, int] = field(default_factory=dict)


def write_report(
    plan: Plan,
    last: Phase,
    places: Sequence[str],
    *,
    incidents: Path | None = None,
    attestations: Path | None = None,
) -> Report:
    """Read the evidence (``DIR`` belongs to ``last``) and fill the templates. Raises what :func:`collect` raises."""
    found = collect(plan, last, places, incidents=incidents, attestations=attestations)
    return fill(plan, last, found.evidence, places, rehearsal=found.rehearsal)


def fill(plan: Plan, last: Phase, evidence: Evidence, places: Sequence[str], *, rehearsal: bool = False) -> Report:
    """Judge every phase up to ``last`` and fill the templates; ``places`` are named as the sources."""
    phases = plan.phases[: plan.phases.index(last) + 1]
    results = [judge_gate(plan, phase, evidence, rehearsal=rehearsal) for phase in phases]
    context = _context(plan, last, results, places, _incidents(evidence.incidents))
    texts = {name: _rendered(f"{name}.j2", context) for name in DOCUMENTS}
    return Report(texts, results[-1].decision, {name: text.count(BLANK) for name, text in texts.items()})


def _context(
    plan: Plan, last: Phase, results: list[GateResult], places: Sequence[str], incidents: Incidents
) -> dict[str, Any]:
    latest = results[-1]

    def of(*keys: str) -> str:
        """The figure of the first of these criteria that has one, in the last phase that has it."""
        for result in reversed(results):
            for answer in result.answers:
                if answer.criterion.key in keys and answer.kind == "criterion" and _known(answer):
                    return f"{answer.measured_text} {_bounds(answer)}".strip()
        return BLANK

    back = last.rollback
    return {
        "plan": plan.name,
        "last": last.name,
        "title": last.title,
        "next": latest.next_phase,
        "decision": latest.decision.value,
        "rehearsal": any(result.rehearsal for result in results),
        "of": of,
        "incidents": incidents,
        "decisions": [_row(result) for result in results],
        "open": [f"{a.criterion.id}: {a.criterion.text} ({a.decision.value})" for a in _open(latest)[:_MOST_LINES]],
        "attested": [_attested(a) for result in results for a in result.answers if a.kind == "checklist" and _known(a)],
        "sources": [f"`{place}`" for place in places],
        "way_back": f"{back.method}, to phase {back.to}" if back else BLANK,
        "eta": f"{back.stabilises_within_s / 60:g} minutes" if back else BLANK,
    }


def _known(answer: Answer) -> bool:
    return answer.reading is not None and answer.reading.estimate.known


def _bounds(answer: Answer) -> str:
    text = answer.interval_text
    return f"({text})" if text else ""


def _open(result: GateResult) -> list[Answer]:
    return result.of(Decision.NO_GO) + result.of(Decision.HOLD)


def _row(result: GateResult) -> dict[str, str]:
    kept = [answer.criterion.key for answer in _open(result)]
    more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
    return {"phase": result.phase, "decision": result.decision.value, "why": ", ".join(kept[:3]) + more}


def _attested(answer: Answer) -> str:
    return f"{answer.criterion.text}: {answer.measured_text}. {answer.reason}".rstrip(". ")


def _incidents(listed: IncidentList | None) -> Incidents:
    if listed is None:
        return Incidents()
    found = [entry for entry in listed.entries if entry.kind == "incident"]
    lines = tuple(f"{entry.name} (phase {entry.phase}, {entry.severity}): {entry.summary or BLANK}" for entry in found)
    ours = sum(entry.about == "dual_memory" for entry in found)
    pages = sum(entry.kind == "page" for entry in listed.entries)
    return Incidents(str(len(found)), str(ours), str(pages), lines)


def _rendered(name: str, context: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("harness.rollout", "templates")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return re.sub(r"\n{3,}", "\n\n", environment.get_template(name).render(context)).rstrip() + "\n"
