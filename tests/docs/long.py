"""``make docs-commands``: the commands of the operations documents that take minutes, for real, on this machine.

Blocks that are only parsed in ``make test``, but for those that need a cluster; what is spoken to is an Engram of ours
(and another beside it as the canary), and ``instead`` of the block says what is shortened. Sessions, soaks and results
go to a folder of their own. Arguments are the names of blocks (``dual_memory_rollout.md:34``); all without any.

However it ends, nothing of it runs on: the Engrams stand in a ledger, which the guardian clears, and the command that
is running is told by the kernel.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from harness.commands.drill import exit_code
from harness.commands.measuring import interrupt_on_sigterm
from harness.faults.ledger import Ledger
from harness.model import Verdict
from harness.targets.embedded import EmbeddedTarget
from tests.docs.blocks import OPERATIONS, ROOT, Block, blocks_of

CONFIG = "[consolidation]\ninterval_seconds = 0.1\n"  # as the profile ci has it
PLACES = {"http://127.0.0.1:7432": "engram", "http://127.0.0.1:7433": "canary"}
NEWEST = {"SOAK": "results/2*", "PAIRS": "results/performance/*_pairs_*"}
GOOD, UNDECIDED = 0, 4
# A command that is told by the kernel when we are gone, however we went (PR_SET_PDEATHSIG, 1, is kept over exec): by
# SIGTERM, at which make ends what it runs and our own commands heal and take down.
_FOLLOWER = """import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(130)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


def long_blocks() -> list[Block]:
    """The blocks this runs."""
    every = (block for file in OPERATIONS for block in blocks_of(file))
    return [block for block in every if block.how == "parse" and not block.needs.startswith("needs a cluster")]


def run(block: Block, desk: Path) -> list[tuple[str, int]]:
    """Run a block's commands one after the other; answers each with its exit code."""
    codes = []
    with ExitStack() as stack:
        urls = {}
        if any(place in block.text for place in PLACES):
            ledger = stack.enter_context(Ledger(Path(tempfile.mkdtemp(dir=desk)) / "ledger.jsonl"))
            for place, name in PLACES.items():
                folder = Path(tempfile.mkdtemp(dir=desk)) / name
                target = EmbeddedTarget(folder, config_text=CONFIG, register=ledger.register_process)
                urls[place] = stack.enter_context(target).base_url
        for number in range(len(block.commands())):
            words = [_placed(word, urls) for word in block.commands(_newest(desk))[number]]
            sys.stdout.write(f"== {block.name}: {' '.join(words)}\n")
            sys.stdout.flush()
            begun = time.monotonic()
            code = _ended(words, desk)
            codes.append((" ".join(words), code))
            sys.stdout.write(f"== exit {code} after {time.monotonic() - begun:.0f} s\n")
    return codes


def _placed(word: str, urls: Mapping[str, str]) -> str:
    for place, url in urls.items():
        word = word.replace(place, url)
    return word


def _newest(desk: Path) -> dict[str, str]:
    """What an earlier command left, by the name a block's ``instead`` gives it."""
    found = {}
    for name, pattern in NEWEST.items():
        paths = sorted(desk.glob(pattern), key=lambda path: path.stat().st_mtime)
        if paths:
            found[name] = str(paths[-1])
    return found


def _ended(words: list[str], desk: Path) -> int:
    """The exit code; pytest and make have none for a session that came out undecided, so its verdict is read."""
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    results = Path(tempfile.mkdtemp(prefix="sessions-", dir=desk))
    ours = words[0] == "harness"
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    if not ours:
        environment["ENGRAM_RESULTS_DIR"] = str(results)
    follower = [sys.executable, "-I", "-S", "-c", _FOLLOWER, str(os.getpid()), *words]
    code = subprocess.run(follower, cwd=desk if ours else ROOT, env=environment, check=False).returncode
    verdicts = [Verdict(json.loads(file.read_text())["verdict"]) for file in results.glob("*/verdict.json")]
    if ours or code == GOOD or not verdicts:
        return code
    return exit_code(1, Verdict.worst(verdicts))


def main() -> int:
    """Exits 1 where one of them fails; what a busy machine leaves undecided is said, and is no failure."""
    interrupt_on_sigterm()
    if "MAKELEVEL" in os.environ:  # make, killed, would leave us behind
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    wanted = sys.argv[1:]
    blocks = [block for block in long_blocks() if not wanted or block.name in wanted]
    with tempfile.TemporaryDirectory(prefix="docs-commands-") as folder:
        (Path(folder) / "results").mkdir()
        found = [(block, text, code) for block in blocks for text, code in run(block, Path(folder))]
    for block, text, code in found:
        word = "as it must" if code == block.code else "undecided" if code == UNDECIDED else "FAILED"
        sys.stdout.write(f"{word:10}  exit {code}  {block.name}  {text}\n")
    return int(not found or any(code not in (block.code, UNDECIDED) for block, _, code in found))


if __name__ == "__main__":
    sys.exit(main())
