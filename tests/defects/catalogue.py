"""The defect catalogue: which drill must catch which defect, and at which magnitudes it is tried (two TOML files)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.scenario.document import Table, read_document

CATALOGUE = Path(__file__).with_name("catalogue.toml")
DRILLS = Path(__file__).with_name("drills.toml")


@dataclass(frozen=True)
class Drill:
    """A drill of the table; ``select`` is pytest's ``-k``."""

    name: str
    path: str
    profile: str
    select: str
    idle: bool

    def words(self) -> list[str]:
        """What pytest is called with."""
        return [self.path, "--profile", self.profile, *(["-k", self.select] if self.select else [])]


@dataclass(frozen=True)
class Entry:
    """One defect; ``because`` is what its reason must name, ``also`` other defects it needs to show at all."""

    defect: str
    drill: str
    because: str
    magnitudes: tuple[float, ...]
    also: tuple[str, ...]

    def options(self, magnitude: float | None) -> list[str]:
        """The ``--defect`` options."""
        own = self.defect if magnitude is None else f"{self.defect}={magnitude:g}"
        return [word for name in (own, *self.also) for word in ("--defect", name)]


def load_drills(path: Path = DRILLS) -> dict[str, Drill]:
    """Every drill by name. Raises ConfigError naming file and line."""
    document = read_document(path)
    found = {}
    for name in document:
        table = document.table(name)
        found[name] = Drill(
            name,
            table.text("path"),
            table.text("profile"),
            table.text("select", "75pct"),
            table.boolean("idle", True),
        )
        table.finish()
    return found


def load_catalogue(path: Path = CATALOGUE, drills: Path = DRILLS) -> list[Entry]:
    """Every entry. Raises ConfigError naming file and line."""
    document, known = read_document(path), load_drills(drills)
    return [_entry(name, document.table(name), known) for name in document]


def _entry(name: str, table: Table, drills: dict[str, Drill]) -> Entry:
    also = table.raw("with", [])
    entry = Entry(
        table.text("defect", name),
        table.text("drill", choices=drills),
        table.text("because"),
        table.numbers("magnitudes") if "magnitudes" in table else (),
        tuple(str(item) for item in also),
    )
    table.finish()
    return entry
