"""``make docs-commands``: the commands of the operations documents that take minutes, for real, on this machine.

Only those that need no cluster, no Prometheus and no running Engram: the drills and suites, on an embedded target.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.docs.blocks import OPERATIONS, ROOT, blocks_of


def main() -> int:
    """Exits 1 where one of them fails; a drill that a busy machine leaves undecided is said, and is no failure."""
    bad = 0
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    for block in (one for file in OPERATIONS for one in blocks_of(file)):
        if block.how != "parse" or not block.needs.startswith("minutes"):
            continue
        for words in block.commands():
            if any(word.startswith(("TARGET=", "http://")) for word in words):
                continue
            sys.stdout.write(f"== {block.name}: {' '.join(words)}\n")
            sys.stdout.flush()
            code = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
            bad += code not in (0, 4)
            sys.stdout.write(f"== exit {code}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
