"""What a line of a document must be: a command that this project really has, with options it really takes."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from pathlib import Path

from harness.cli import parser
from harness.settings import OPTIONS
from tests.docs.blocks import ROOT

PYTEST = {"-k": 1, "-q": 0, "-n": 1, "-m": 1, "-o": 1, "--junitxml": 1, "-x": 0}
ELSEWHERE = {"kubectl", "export", "docker"}


def complaint(words: list[str]) -> str:
    """What is wrong with a command, empty where nothing is."""
    program = Path(words[0]).name
    if program == "harness":
        return _harness(words[1:])
    if program == "make":
        return _make(words[1:])
    if program in ("pytest", "python") or words[0].endswith("/python"):
        return _pytest(words[1:]) if program == "pytest" else ""
    return "" if program in ELSEWHERE else f"{program} is no command of ours"


def _harness(words: list[str]) -> str:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            arguments, rest = _parser().parse_known_args(words)
    except SystemExit as ended:
        return "" if ended.code == 0 else said.getvalue().strip()
    if not rest:
        return ""
    if getattr(arguments, "passes_rest_on", False):
        return _pytest(rest)
    return f"unknown arguments: {' '.join(rest)}"


@cache
def _parser():  # type: ignore[no-untyped-def]
    return parser()


def _pytest(words: list[str]) -> str:
    takes = {option.flag: 0 if option.switch else 1 for option in OPTIONS} | PYTEST
    place = 0
    while place < len(words):
        flag, equals, _ = words[place].partition("=")
        if flag.startswith("-"):
            if flag not in takes:
                return f"neither pytest nor the drills have {flag}"
            place += 0 if equals else takes[flag]
        elif not (ROOT / flag.split("::")[0]).exists():
            return f"there is no {flag}"
        place += 1
    return "" if place == len(words) else f"{words[-1]} lacks its value"


def _make(words: list[str]) -> str:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and not re.search(rf"^{re.escape(name)}:", text, re.M):
            return f"the Makefile has no target {name}"
        if equals and f"$({name})" not in text:
            return f"the Makefile has no variable {name}"
        if name == "ARGS" and (found := _pytest(value.split('"')[0].split())) and "docs" not in words[0]:
            return found if words[0] in ("drills", "phase0") else ""
    return ""
