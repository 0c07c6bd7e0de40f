"""``harness drill``: the drills, as ``pytest drills/`` runs them."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from harness.commands.recorded import EXIT_OF_VERDICT
from harness.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNUSABLE, UsageError
from harness.model import Verdict

# This package is imported before pytest can rewrite its assertions, of which it has none to rewrite.
_IMPORTED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
# Options of pytest's that take no value and are often written before a path.
_SWITCHES = re.compile(r"-[vqsxlh]+|--(lf|ff|nf|sw|co|collect-only|last-failed|failed-first|stepwise|pdb)")


def register(commands: Any) -> None:
    """Add the command's parser."""
    drill = commands.add_parser("drill", help="run the drills (as pytest drills/ does)", add_help=False)
    drill.add_argument("--json", action="store_true", help="print verdict.json; what pytest says goes to stderr")
    drill.set_defaults(run=_drill, passes_rest_on=True)


class _Listener:
    """A pytest plugin that keeps the session's verdict."""

    def __init__(self) -> None:
        self.verdict: dict[str, Any] = {}

    def pytest_engram_judged(self, verdict: dict[str, Any]) -> None:
        """Keep it."""
        self.verdict = verdict


def _drill(arguments: argparse.Namespace) -> int:
    """Run ``pytest drills/`` in this process; pytest's exit codes become ours."""
    import pytest

    drills = Path(str(resources.files("harness"))).parent / "drills"
    if not drills.is_dir():
        raise UsageError("there is no drills/ directory", where=str(drills), hint="run from a checkout of the project")
    listener = _Listener()
    words = ["-W", _IMPORTED, *arguments.rest, *([] if names_drills(arguments.rest, drills) else [str(drills)])]
    with _stdout_kept(arguments.json):
        code = int(pytest.main(words, plugins=[listener]))
    if arguments.json and listener.verdict:
        print(json.dumps(listener.verdict, indent=2, sort_keys=True))
    return exit_code(code, listener.verdict.get("verdict"))


def names_drills(words: Sequence[str], drills: Path) -> bool:
    """Whether one of pytest's ``words`` says what to run, so that all of ``drills`` is not to be added.

    What follows an option may be its value (``--results-dir results``): it counts only where it lies below ``drills``.
    """
    return any(_is_path(word, before, drills.resolve()) for before, word in zip(("", *words), words, strict=False))


def _is_path(word: str, before: str, drills: Path) -> bool:
    path = Path(word.split("::", maxsplit=1)[0])
    if word.startswith("-") or not path.exists():
        return False
    takes_value = before.startswith("-") and "=" not in before and _SWITCHES.fullmatch(before) is None
    return not takes_value or path.resolve().is_relative_to(drills)


def exit_code(code: int, verdict: str | None) -> int:
    """What pytest's ``code`` means where the session's verdict was ``verdict``; undecided is not failed."""
    known = {0: EXIT_OK, 1: EXIT_FAILED, 2: EXIT_INTERRUPTED}
    found = known.get(code, EXIT_UNUSABLE)
    if found == EXIT_FAILED and verdict is not None:
        return EXIT_OF_VERDICT[Verdict(verdict)] or EXIT_FAILED
    return found


@contextmanager
def _stdout_kept(wanted: bool) -> Iterator[None]:
    """Send what is written to standard output to standard error meanwhile, whoever writes it."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
