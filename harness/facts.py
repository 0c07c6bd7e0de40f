"""What a record says of the software that made it: command, commit, versions; no secrets."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import harness


def command_line() -> str:
    """The command that started this process, without what a URL may hold of a password."""
    words = [re.sub(r"(?<=://)[^/@\s]+@", "***@", word) for word in sys.argv]
    return shlex.join([Path(words[0]).name, *words[1:]]) if words else ""


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit this code is of, ``unknown`` where it is in no repository."""
    root = Path(harness.__file__).resolve().parents[1]
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python, of this harness and of what its figures depend on."""
    found = {"python": platform.python_version(), "engram-harness": harness.__version__}
    for name in ("numpy", "scipy", "locust", "gevent", "httpx", "pytest"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
