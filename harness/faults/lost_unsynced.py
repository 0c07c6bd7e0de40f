"""A power cut: the process dies, and with it every byte of its log that no successful ``fsync`` had covered.

Nothing that was acknowledged may be among them: this is where a service that acknowledges before it syncs is caught,
which a SIGKILL cannot do, as the kernel still writes what a dead process had written.
"""

from __future__ import annotations

import json
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.disk_shim import synced_file
from harness.faults.log_files import wait_until_gone
from harness.faults.presence import Presence
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class LostUnsynced(TargetFault):
    """SIGKILL, then every file is cut back to what was synced of it; started again. No recipe: as with a crash."""

    kind: ClassVar[str] = "lost_unsynced"
    requires: ClassVar[tuple[str, ...]] = ("disk_shim", "restart", "process", "data_dir")
    wants: ClassVar[frozenset[str]] = frozenset({"disk_shim"})
    slot: ClassVar[str] = "process"
    takes_target_down: ClassVar[bool] = True
    longest_hold_s: ClassVar[float] = 2.0

    def describe(self) -> str:
        return "power cut: killed, and what was never synced is gone"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        process = process_of(target)
        if not process.send(signal.SIGKILL):
            raise TargetError("the process was gone already", where=target.base_url)
        wait_until_gone(process)
        lost = _cut_back(target)
        note = target.disk_shim.with_name("power_cut.json")
        note.write_text(json.dumps({"t": time.monotonic(), "lost_bytes": lost}), encoding="utf-8")

    def bring_back(self, target: Target) -> str:
        target.restart(kill=True)
        return f"started again as pid {target.pid}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return ()

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _PowerCut(target)


class _PowerCut(Presence):
    """Effect: it is down, a power cut is noted since the fault was prepared, and no file is longer than was synced."""

    _since = math.inf

    def baseline(self) -> dict[str, Any]:
        self._since = time.monotonic()
        return super().baseline()

    def effective(self) -> Observation:
        found = super().effective()
        beyond = {name: size for name, size in _unsynced(self._target).items() if size > 0}
        try:
            note = self._target.disk_shim.with_name("power_cut.json")
            noted = json.loads(note.read_text(encoding="utf-8"))
            lost, at = noted["lost_bytes"], float(noted["t"])
        except (OSError, ValueError, KeyError):
            lost, at = {}, -math.inf
        if at < self._since:  # none, or one of an earlier fault
            return Observation(False, f"{found.evidence}; nothing was cut back", found.detail)
        text = f"{found.evidence}; {sum(lost.values())} bytes that were never synced are gone"
        return Observation(found.holds and not beyond, text, {**found.detail, "lost_bytes": lost})


def _unsynced(target: Target) -> dict[str, int]:
    try:
        synced = json.loads(synced_file(target.disk_shim).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"the disk shim kept no account: {error}", where=str(target.disk_shim)) from error
    logs = sorted(target.data_dir.glob("log-*.bin"))
    # A file no sync was ever seen of was there before the shim was, and is taken to be whole.
    sizes = {str(path): path.stat().st_size for path in logs}
    return {path: size - int(synced.get(path, size)) for path, size in sizes.items()}


def _cut_back(target: Target) -> dict[str, int]:
    lost: dict[str, int] = {}
    for name, beyond in _unsynced(target).items():
        if beyond > 0:
            with Path(name).open("r+b") as file:
                file.truncate(Path(name).stat().st_size - beyond)
        lost[Path(name).name] = max(0, beyond)
    return lost
