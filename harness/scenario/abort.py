"""Abort conditions as data: what ends a run at once, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.scenario.document import read_document

SIGNALS = ("error_rate", "recall_p99_ms", "process_dead", "memory_share")
BY_DESIGN = frozenset({"error_rate", "recall_p99_ms"})  # what a fault outside of Engram's own API may well cause


@dataclass(frozen=True)
class AbortCondition:
    """``signal`` above ``above`` without a break for ``for_s`` seconds. ``embedded``: also on a throw-away target."""

    name: str
    signal: str
    above: float
    for_s: float
    embedded: bool
    source: str

    def at_scale(self, time_scale: float) -> AbortCondition:
        """The condition under a profile's time scale."""
        return replace(self, for_s=self.for_s / time_scale)

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return dict(vars(self))


def load_abort_conditions(path: Path) -> tuple[AbortCondition, ...]:
    """Read the file. Raises :class:`~harness.errors.ConfigError` naming file, line and key."""
    document = read_document(path)
    found = []
    for name in document:
        table = document.table(name)
        found.append(
            AbortCondition(
                name,
                table.text("signal", choices=SIGNALS),
                table.number("above", low=0.0),
                table.number("for_s", low=0.0),
                table.boolean("embedded", False),
                table.text("source"),
            )
        )
        table.finish()
    return tuple(found)


def applicable(
    conditions: tuple[AbortCondition, ...], *, time_scale: float, embedded: bool, errors_by_design: bool
) -> tuple[AbortCondition, ...]:
    """The conditions that hold for one case."""
    kept = [c for c in conditions if (c.embedded or not embedded) and not (errors_by_design and c.signal in BY_DESIGN)]
    return tuple(condition.at_scale(time_scale) for condition in kept)
