"""``harness drill``: the drills, as ``pytest drills/`` runs them."""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path
from typing import Any

from harness.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNUSABLE, UsageError


def register(commands: Any) -> None:
    """Add the command's parser."""
    drill = commands.add_parser("drill", help="run the drills (as pytest drills/ does)", add_help=False)
    drill.set_defaults(run=_drill, passes_rest_on=True)


def _drill(arguments: argparse.Namespace) -> int:
    """Run ``pytest drills/`` in this process; pytest's exit codes become ours."""
    import pytest

    drills = Path(str(resources.files("harness"))).parent / "drills"
    if not drills.is_dir():
        raise UsageError("there is no drills/ directory", where=str(drills), hint="run from a checkout of the project")
    paths = [word for word in arguments.rest if not word.startswith("-") and Path(word.split("::")[0]).exists()]
    code = int(pytest.main([*arguments.rest, *([] if paths else [str(drills)])]))
    known = {0: EXIT_OK, 1: EXIT_FAILED, 2: EXIT_INTERRUPTED}
    return known.get(code, EXIT_UNUSABLE)
