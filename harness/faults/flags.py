"""Runtime flags as something to be put back: the exact inverse of setting them is setting what was there."""

from __future__ import annotations

import json
from typing import Any

from harness.engram.transport import API_KEY_VARIABLE
from harness.faults.recipe import HttpRecipe
from harness.targets.base import Target


def flags_recipe(target: Target, before: dict[str, Any]) -> HttpRecipe:
    """Put ``before`` (flag -> value) back.

    Flags outlive a process, but where the process is ours its data go with it, and there is nothing to put back.
    """
    body = json.dumps(before, sort_keys=True)
    return HttpRecipe("POST", f"{target.claimed_url}/api/v1/admin/features", body, API_KEY_VARIABLE, target.process)
