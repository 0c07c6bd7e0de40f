"""The disk has become read-only: every write to a file is refused with ``EROFS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults.disk_shim import READ_ONLY
from harness.faults.shimmed import ShimmedFault


@dataclass(frozen=True)
class ReadOnlyDisk(ShimmedFault):
    """Reads go on; a write must be refused, not lost."""

    kind: ClassVar[str] = "read_only_disk"
    restarts: ClassVar[bool] = True
    takes_target_down: ClassVar[bool] = True  # the restart that heals it

    def describe(self) -> str:
        return "disk read-only"

    def orders(self) -> dict[str, Any]:
        return {"mode": READ_ONLY}
