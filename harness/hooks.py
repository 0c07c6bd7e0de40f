"""The pytest hooks of this project, for plugins that want to know how a session of drills came out."""

from __future__ import annotations

from typing import Any


def pytest_engram_judged(verdict: dict[str, Any], report: str) -> None:
    """Called once a session of drills is judged: its ``verdict.json``, and where its report lies."""
