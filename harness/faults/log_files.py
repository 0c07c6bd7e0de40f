"""The files of a target's write-ahead log, and a process that has to be gone before they are touched."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from harness.errors import TargetError
from harness.targets.base import ProcessIdentity, Target

_PATIENCE_S = 5.0
LOCK = "LOCK"  # the server holds it (flock) as long as it runs on these data


def log_file(target: Target) -> Path:
    """The log that is being written. Raises :class:`TargetError` where there is none."""
    logs = sorted(target.data_dir.glob("log-*.bin"))
    if not logs:
        raise TargetError("there is no write-ahead log to act on", where=str(target.data_dir))
    return logs[-1]


def wait_until_gone(process: ProcessIdentity) -> None:
    """Wait for a killed process' end. Raises :class:`TargetError` where it does not come."""
    never, deadline = threading.Event(), time.monotonic() + _PATIENCE_S
    while process.alive():
        if time.monotonic() > deadline:
            raise TargetError(f"process {process.pid} outlives SIGKILL")
        never.wait(0.005)
