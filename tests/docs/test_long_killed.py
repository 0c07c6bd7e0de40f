"""``make docs-commands``, killed with SIGKILL: its Engrams and the command it was running end with it."""

from __future__ import annotations

from pathlib import Path

from tests.killed import family, killed, until

BLOCK = """import sys
from pathlib import Path
from tests.docs.blocks import Block
from tests.docs.long import run
run(Block("a.md", 1, "sleep 3600  # at http://127.0.0.1:7432", "parse", "an hour", 0, ()), Path(sys.argv[1]))
"""


def _commands(mark: str) -> list[str]:
    found = []
    for pid in family(mark):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " "))
        except OSError:
            continue  # it ended meanwhile
    return found


def test_nothing_of_it_runs_on(tmp_path: Path) -> None:
    mark = f"FAMILY_MARK={tmp_path}"

    def running() -> bool:
        said = _commands(mark)
        engrams = sum("harness.reference" in command and "--port" in command for command in said)
        return engrams >= 2 and any(command.startswith("sleep 3600") for command in said)

    with killed(tmp_path, ["-c", BLOCK, str(tmp_path)], running):
        until(lambda: not family(mark), f"something of it still runs: {_commands(mark)}")
