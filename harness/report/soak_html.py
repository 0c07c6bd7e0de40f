"""The soak's page."""

from __future__ import annotations

from pathlib import Path


def write_soak_report(folder: Path) -> Path:
    """Write ``report.html`` beside the soak's directory and return its path."""
    return folder.parent / "report.html"
