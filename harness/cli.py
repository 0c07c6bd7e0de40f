"""The ``harness`` command. Errors are one line on stderr and the right exit code (``harness/errors.py``)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import harness
from harness.commands import (
    ab,
    compare,
    diagnose,
    drill,
    flags,
    nemesis,
    recorded,
    replay,
    rollout,
    soak,
    up,
    validate,
    validate_monitoring,
)
from harness.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNUSABLE, HarnessError

FAMILIES = (
    drill,
    recorded,
    soak,
    compare,
    ab,
    replay,
    nemesis,
    rollout,
    flags,
    diagnose,
    up,
    validate,
    validate_monitoring,
)


class Parser(argparse.ArgumentParser):
    """Usage errors are unusable input: exit code 3, one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_UNUSABLE, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="harness", description="Chaos drills for Engram, with verdicts that can be believed.")
    top.add_argument("--version", action="version", version=f"engram-harness {harness.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in FAMILIES:
        family.register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; answers its exit code."""
    top = parser()
    arguments, rest = top.parse_known_args(list(sys.argv[1:] if argv is None else argv))
    if rest and not getattr(arguments, "passes_rest_on", False):
        top.error(f"unknown arguments: {' '.join(rest)}")
    arguments.rest = rest
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("harness: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
