"""The limits drills are judged by: one TOML file, every limit with its source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.scenario.document import read_document


@dataclass(frozen=True)
class Limit:
    """A named limit. ``scaled``: a duration in seconds that a profile's time scale shortens."""

    name: str
    value: float
    source: str
    scaled: bool

    def at_scale(self, time_scale: float) -> Limit:
        """The limit under a time scale; what is no duration stays as it is."""
        if not self.scaled or time_scale == 1.0:
            return self
        source = f"{self.source}; {self.value:g} s divided by time_scale {time_scale:g}"
        return Limit(self.name, self.value / time_scale, source, self.scaled)


@dataclass(frozen=True)
class Objectives:
    """All limits of an SLO file, by name."""

    limits: dict[str, Limit]
    file: str

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.limits.values())

    def at_scale(self, time_scale: float) -> Objectives:
        """Every limit under a time scale."""
        return Objectives({name: limit.at_scale(time_scale) for name, limit in self.limits.items()}, self.file)

    def as_json(self) -> dict[str, Any]:
        """For the manifest: ``{name: {value, source}}``."""
        return {limit.name: {"value": limit.value, "source": limit.source} for limit in self}


def load_objectives(path: Path) -> Objectives:
    """Read an SLO file. Raises :class:`~harness.errors.ConfigError` naming file, line and key."""
    document = read_document(path)
    limits: dict[str, Limit] = {}
    for name in document:
        table = document.table(name)
        # ``inf`` switches a limit off; the report then shows it so.
        value = math.inf if table.raw("value") == math.inf else table.number("value", low=0.0)
        where = table.where("value").split(":")
        place = f"{path.name}:{where[1]}" if len(where) > 1 and where[1].isdigit() else path.name
        limits[name] = Limit(name, value, f"{table.text('source')} [{place}]", table.boolean("scaled", False))
        table.finish()
    return Objectives(limits, str(path))
