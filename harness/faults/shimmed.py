"""What the faults of the disk shim share: orders go in and out through its control file."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults import disk_shim
from harness.faults.base import Observer, TargetFault
from harness.faults.presence import WitnessWrite
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import WriteRecipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


class ShimmedFault(TargetFault):
    """A disk that misbehaves as the shim makes it. ``restarts``: a log it has broken is whole only after a restart."""

    requires: ClassVar[tuple[str, ...]] = ("disk_shim", "restart", "process")
    wants: ClassVar[frozenset[str]] = frozenset({"disk_shim"})
    slot: ClassVar[str] = "storage.disk"
    longest_hold_s: ClassVar[float] = 6.0
    restarts: ClassVar[bool] = False

    def orders(self) -> dict[str, Any]:
        """What the shim is told."""
        raise NotImplementedError

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        try:
            disk_shim.order(target.disk_shim, **self.orders())
        except OSError as error:
            raise TargetError(f"the disk shim takes no orders: {error}", where=str(target.disk_shim)) from error

    def differs(self, target: Target, client: EngramClient) -> str:
        try:
            found = json.loads(target.disk_shim.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TargetError(f"the disk shim's orders cannot be read: {error}", where=str(target.disk_shim)) from error
        return "" if found == self.orders() else f"the disk shim was told {found}, not {self.orders()}"

    def bring_back(self, target: Target) -> str:
        if not self.restarts:
            return ""
        target.restart()
        return f"started again as pid {target.pid}, as a log that could not be synced is not to be trusted"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (WriteRecipe(str(target.disk_shim), disk_shim.HEALTHY),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return WitnessWrite(target)
