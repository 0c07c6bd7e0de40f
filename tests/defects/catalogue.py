"""The defect catalogue: which drill must catch which defect, at which magnitudes it is tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.scenario.document import Table, read_document

CATALOGUE = Path(__file__).with_name("catalogue.toml")

# name -> (test file, profile): the crash drill is no part of quick
_TWICE = "drills/durability/test_acknowledged_memories.py::test_a_second_crash_loses_none_either"
DRILLS = {
    "control": ("drills/control", "quick"),
    "semantic": ("drills/semantic_pathway", "quick"),
    "consolidation": ("drills/consolidation", "quick"),
    "bindings": ("drills/binding_index", "quick"),
    "crash": ("drills/process/test_crash.py", "ci"),
    "durability": ("drills/durability", "ci"),
    "power_cut": ("drills/storage/test_failing_disk.py::test_power_cut_loses_nothing_acknowledged", "ci"),
    "durability_twice": (_TWICE, "staging"),
}


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


def load_catalogue(path: Path = CATALOGUE) -> list[Entry]:
    """Every entry. Raises ConfigError naming file and line."""
    document = read_document(path)
    return [_entry(name, document.table(name)) for name in document]


def _entry(name: str, table: Table) -> Entry:
    also = table.raw("with", [])
    entry = Entry(
        name,
        table.text("drill", choices=DRILLS),
        table.text("because"),
        table.numbers("magnitudes") if "magnitudes" in table else (),
        tuple(str(item) for item in also),
    )
    table.finish()
    return entry
