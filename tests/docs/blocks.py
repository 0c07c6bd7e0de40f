"""The command blocks of a document: what they say, and what they need to run.

Before each fenced ``sh`` block of ``docs/operations`` stands an HTML comment that says how it is tested:

* ``<!-- run -->``: executed as it stands;
* ``<!-- run: engram -->``: executed against a running Engram, which ``$ENGRAM`` names;
* ``<!-- parse: why -->``: every line goes through the real argument parser; ``make docs-commands`` executes it, unless
  it needs a cluster.

``exit N`` in the comment is the exit code its last command must have (0 otherwise), ``instead A -> B`` what is shorter
in the test: text A must stand in the block. Blocks run in the order of the document, on one and the same Engram.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ("docs/operations/dual_memory_rollout.md", "docs/operations/dual_memory_runbook.md")
OTHERS = ("README.md", "docs/soak.md")
_BLOCK = re.compile(r"(?:<!-- (?P<mark>(?:run|parse)[^\n]*?) -->\n\n?)?^```(?:sh|bash)\n(?P<text>.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One block. ``how``: run, parse, or empty where nothing is said."""

    file: str
    line: int
    text: str
    how: str
    needs: str
    code: int
    instead: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return f"{Path(self.file).name}:{self.line}"

    def commands(self, environment: Mapping[str, str] | None = None) -> list[list[str]]:
        """Its lines as words, continuation lines joined, comments left out; ``instead`` where it is to run."""
        text = self.text
        if environment is not None:
            for long, short in self.instead:
                assert long in text, f"{self.name}: nothing is left of {long!r}, which the test shortens"
                text = text.replace(long, short)
            for name, value in environment.items():
                text = re.sub(rf"\${name}\b", value, text)
        lines = text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(file: str) -> list[Block]:
    """The blocks of a document, in order."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        mark = match["mark"] or ""
        how, _, rest = mark.partition(":")
        code = re.search(r"exit (\d+)", rest)
        pairs = re.findall(r"instead (.+?) -> (.+?)(?:;|$)", rest)
        needs = rest.split(";")[0].strip()
        line = text[: match.start("text")].count("\n") + 1
        found.append(Block(file, line, match["text"], how.strip(), needs, int(code[1]) if code else 0, tuple(pairs)))
    for match in re.finditer(r"(?m)^    (?:harness|make|pytest) .*$", text):  # indented, as docs/soak.md writes them
        line = text[: match.start()].count("\n") + 1
        found.append(Block(file, line, match[0].strip(), "", "", 0, ()))
    return found
