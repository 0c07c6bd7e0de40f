"""A dashboard as data: what its panels are called, what they ask, and where their lines are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Query:
    """One expression (windows at full scale) and its legend."""

    expr: str
    legend: str = "{{instance}}"


@dataclass(frozen=True)
class Panel:
    """One panel. ``unit`` is Grafana's name of it; ``limit`` draws a line, which is red beyond it.

    ``stat``: one number instead of a graph. ``below``: it is red below the limit, not above it.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    about: str = ""
    limit: float | None = None
    below: bool = False
    stat: bool = False
    width: int = 12


@dataclass(frozen=True)
class Board:
    """One dashboard: ``uid``, title and refresh as the runbook names them; rows of panels."""

    uid: str
    title: str
    refresh: str
    about: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...] = field(default=())

    def panels(self) -> Iterator[Panel]:
        """Every panel, in order."""
        for _, panels in self.rows:
            yield from panels
