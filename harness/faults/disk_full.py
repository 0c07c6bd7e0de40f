"""The log cannot grow any more: no room on the disk (``RLIMIT_FSIZE``, a limit of the kernel on a file's size)."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import ClassVar

from harness.engram import EngramClient
from harness.errors import UsageError
from harness.faults.base import Observer, TargetFault, process_of
from harness.faults.limits import limit_recipe, set_soft
from harness.faults.log_files import log_file
from harness.faults.presence import WitnessWrite
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class DiskFull(TargetFault):
    """``spare_bytes`` more than the log has now, then writes to it are refused (``EFBIG``)."""

    spare_bytes: int = 0
    kind: ClassVar[str] = "disk_full"
    requires: ClassVar[tuple[str, ...]] = ("process", "data_dir", "host.prlimit")
    slot: ClassVar[str] = "storage.size"
    longest_hold_s: ClassVar[float] = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.spare_bytes < 2**40:
            raise UsageError(f"spare_bytes must be from 0 on, not {self.spare_bytes!r}")

    def describe(self) -> str:
        return f"room for {self.spare_bytes} more bytes of log, then none"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        size = log_file(target).stat().st_size
        set_soft(process_of(target), resource.RLIMIT_FSIZE, size + self.spare_bytes)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (limit_recipe(process_of(target), resource.RLIMIT_FSIZE),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return WitnessWrite(target)
