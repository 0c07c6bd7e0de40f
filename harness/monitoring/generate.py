"""``python -m harness.monitoring.generate``: write the checked-in assets and the page of alerts anew.

``--check`` writes nothing and exits with 1 where a checked-in file differs from what would be written.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.errors import EXIT_FAILED, EXIT_OK
from harness.monitoring.alert_page import alert_page
from harness.monitoring.assets import load_spec, write_assets

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("harness/monitoring/generated")
PAGE = Path("docs/operations/alerts.md")
ENGRAM = "engram:7432"  # the service's name and port inside a stack's own network


def generated(folder: Path) -> dict[Path, str]:
    """Every generated file by its path in the project; ``folder`` is scratch."""
    spec = load_spec(ROOT / "scenarios")
    write_assets(folder, spec, engram=ENGRAM)
    files = {FOLDER / path.relative_to(folder): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}
    return files | {PAGE: alert_page(spec)}


def stale() -> list[str]:
    """The generated files that are missing, differ, or should not be there."""
    with tempfile.TemporaryDirectory() as scratch:
        files = generated(Path(scratch))
    there = {path.relative_to(ROOT) for path in (ROOT / FOLDER).rglob("*") if path.is_file()}
    wrong = [path for path, text in files.items() if not (ROOT / path).is_file() or _read(path) != text]
    return sorted(path.as_posix() for path in {*wrong, *(there - set(files))})


def _read(path: Path) -> str:
    return (ROOT / path).read_text("utf-8")


def main(argv: Sequence[str]) -> int:
    """Write, or check."""
    if "--check" in argv:
        found = stale()
        for name in found:
            sys.stderr.write(f"stale: {name}\n")
        return EXIT_FAILED if found else EXIT_OK
    with tempfile.TemporaryDirectory() as scratch:
        files = generated(Path(scratch))
    for path in (ROOT / FOLDER).rglob("*"):
        if path.is_file():
            path.unlink()
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
