"""Reads the incidents file: what people wrote down of a rollout, TOML, every complaint with file, line and key.

``[covers]`` says for how many seconds of each phase the list is complete: an empty list of a phase that is not covered
says nothing. Each entry stands under ``[incidents.NAME]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.scenario.document import read_document

KINDS = ("incident", "page", "user_report", "crash")
SEVERITIES = ("minor", "major", "critical")
_LONGEST_S = 366 * 86_400.0


@dataclass(frozen=True)
class Incident:
    """One entry. ``at_s``: seconds since the phase began; ``about``: ``dual_memory``, ``canary``, or something else."""

    name: str
    phase: str
    kind: str
    at_s: float
    about: str
    severity: str
    cohort: str
    summary: str = ""


@dataclass(frozen=True)
class IncidentList:
    """The file: its entries, and how many seconds of each phase it covers. What is not covered is not known."""

    entries: tuple[Incident, ...]
    covers_s: dict[str, float]


def load_incidents(path: Path, phases: tuple[str, ...]) -> IncidentList:
    """Read an incidents file. Raises :class:`~harness.errors.ConfigError` naming file, line and key."""
    document = read_document(path)
    covers = document.table("covers")
    found = {name: covers.number(name, low=0.0, high=_LONGEST_S) for name in covers}
    for name in found:
        if name not in phases:
            raise covers.fail(name, f"the plan has no phase '{name}'", f"one of {', '.join(phases)}")
    tables = document.table("incidents", required=False)
    entries = []
    for name in tables:
        table = tables.table(name)
        entries.append(
            Incident(
                name=name,
                phase=table.text("phase", choices=phases),
                kind=table.text("kind", choices=KINDS),
                at_s=table.number("at_s", low=0.0, high=_LONGEST_S),
                about=table.text("about"),
                severity=table.text("severity", "minor", choices=SEVERITIES),
                cohort=table.text("cohort", "", choices=("", "canary", "control")),
                summary=table.text("summary", ""),
            )
        )
        table.finish()
    document.finish()
    return IncidentList(tuple(entries), found)
