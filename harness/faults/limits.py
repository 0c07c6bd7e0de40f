"""Resource limits of another process, set and put back (``prlimit``)."""

from __future__ import annotations

import resource

from harness.errors import TargetError
from harness.faults.recipe_local import LimitRecipe
from harness.targets.base import ProcessIdentity


def limit_recipe(process: ProcessIdentity, which: int) -> LimitRecipe:
    """The recipe that puts the limit back as it is now. Raises :class:`TargetError`."""
    try:
        soft, hard = resource.prlimit(process.pid, which)
    except (OSError, ValueError) as error:
        raise TargetError(f"the limits of process {process.pid} cannot be read: {error}") from error
    return LimitRecipe(process, which, soft, hard)


def set_soft(process: ProcessIdentity, which: int, soft: int) -> None:
    """Set the soft limit, which the process may not raise by accident and we can. Raises :class:`TargetError`."""
    try:
        _, hard = resource.prlimit(process.pid, which)
        if not process.alive():
            raise TargetError(f"process {process.pid} is gone")
        resource.prlimit(process.pid, which, (soft if hard < 0 else min(soft, hard), hard))
    except (OSError, ValueError) as error:
        raise TargetError(f"the limit of process {process.pid} cannot be set: {error}") from error
