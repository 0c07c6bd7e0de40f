"""The log is deleted while it is open: the process writes on into a file without a name, which its end would free.

The same file keeps a name of ours meanwhile, so that healing gives back exactly what was deleted, and what was written
to it since.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.log_files import log_file
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import RelinkRecipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target


@dataclass(frozen=True)
class DeletedLog(TargetFault):
    """The name is gone, the open file is not."""

    kind: ClassVar[str] = "deleted_log"
    requires: ClassVar[tuple[str, ...]] = ("process", "data_dir")
    slot: ClassVar[str] = "storage.name"
    longest_hold_s: ClassVar[float] = 15.0

    def describe(self) -> str:
        return "log deleted while it is open"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        recipe = _recipe(target)
        try:
            Path(recipe.spare).hardlink_to(recipe.path)
            Path(recipe.path).unlink()
        except OSError as error:
            raise TargetError(f"the log cannot be deleted: {error.strerror}", where=recipe.path) from error

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        return (_recipe(target),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Names(target, Path(_recipe(target).path))


class _Names(Observer):
    """Whether the process has the log open, and whether the file of that name is the one it has open."""

    def __init__(self, target: Target, path: Path) -> None:
        self._target = target
        self._path = path

    def baseline(self) -> dict[str, Any]:
        if not self._same():
            raise TargetError("the target does not have its log open", where=str(self._path))
        return {"log": str(self._path)}

    def effective(self) -> Observation:
        named = self._path.exists()
        text = "its name is there" if named else "its name is gone, the process writes on"
        return Observation(not named and self._target.alive(), text)

    def healed(self) -> Observation:
        same = self._same() or self._path.exists()
        return Observation(same, "the log has its name" if same else "its name is still gone")

    def _same(self) -> bool:
        folder = Path(f"/proc/{process_of(self._target).pid}/fd")
        try:
            wanted = self._path.stat()
            return any(os.path.samestat(wanted, entry.stat()) for entry in folder.iterdir() if entry.exists())
        except OSError:
            return False


def _recipe(target: Target) -> RelinkRecipe:
    path = log_file(target)
    return RelinkRecipe(str(path), str(path.with_name(f"engram-harness-kept-{path.name}")))
