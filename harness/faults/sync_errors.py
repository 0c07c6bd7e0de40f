"""``fsync`` fails (``EIO``): nobody knows what of the last writes is on the disk, so none may be acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults.disk_shim import SYNC_ERROR
from harness.faults.shimmed import ShimmedFault


@dataclass(frozen=True)
class SyncErrors(ShimmedFault):
    """Every sync fails until the fault is healed by a restart on a disk that works."""

    kind: ClassVar[str] = "sync_errors"
    restarts: ClassVar[bool] = True
    takes_target_down: ClassVar[bool] = True  # the restart that heals it

    def describe(self) -> str:
        return "fsync fails with EIO"

    def orders(self) -> dict[str, Any]:
        return {"mode": SYNC_ERROR}
