"""Commands and options that the text of a document names between its blocks, and what is wrong with them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache

from harness.cli import parser
from harness.settings import OPTIONS
from tests.docs.blocks import ROOT
from tests.docs.commands import PYTEST, complaint

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b")
THEIRS = {"--to"}  # `engram migrate --to`, which the guide says what we have for
_SPAN = re.compile(r"(?<!`)`(?:\.venv/bin/)?((?:harness|make|pytest) [^`]+)`")


def documents() -> list[str]:
    """Every document of the project."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "results" / "README.md"]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def complaints(text: str) -> Iterator[str]:
    """What a text names and we do not have: options anywhere, commands and their options in code spans."""
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"line {number}: nothing of ours has {o}" for o in OPTION.findall(line) if o not in _ours())
    for match in _SPAN.finditer(text):
        words = _first_of_each(match[1])
        if wrong := _wrong(words):
            yield f"`{' '.join(words)}`: {wrong}"


def _first_of_each(text: str) -> list[str]:
    """The words of ``a|b [--option N]``, of alternatives the first, of what may be left out all."""
    return [word.split("|")[0] for word in re.sub(r"[\[\]\"]", " ", text.replace("ARGS=", "ARGS= ")).split()]


def _wrong(words: list[str]) -> str:
    if words[0] != "harness":
        words = words[: words.index("ARGS=")] if "ARGS=" in words else words
        return complaint(words)
    found, takes, passes = _parser(), {"--help"}, False
    for word in words[1:]:
        below = _below(found)
        if below and not word.startswith("-"):
            if word not in below:
                return f"{found.prog} has no {word}"
            found = below[word]
            passes = passes or bool(found.get_default("passes_rest_on"))
            takes |= set(_own(found))
    known = takes | {option.flag for option in OPTIONS} | set(PYTEST) if passes else takes
    return ", ".join(f"it takes no {word}" for word in words if word.startswith("--") and word not in known)


def _below(found: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((dict(a.choices) for a in found._actions if isinstance(a, argparse._SubParsersAction)), {})


def _own(found: argparse.ArgumentParser) -> Iterator[str]:
    for action in found._actions:
        yield from action.option_strings


def _every(found: argparse.ArgumentParser) -> Iterator[str]:
    yield from _own(found)
    for below in _below(found).values():
        yield from _every(below)


@cache
def _parser() -> argparse.ArgumentParser:
    return parser()


@cache
def _ours() -> frozenset[str]:
    """Every option of the command, of the drills, of pytest as we use it, and of the programs that are run by name."""
    named = {option.flag for option in OPTIONS} | set(PYTEST) | THEIRS | set(_every(_parser()))
    for folder in ("tests", "harness"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            if "ArgumentParser(" in source or path.name in ("cli.py", "__main__.py"):
                named |= set(re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", source))
    return frozenset(named)
