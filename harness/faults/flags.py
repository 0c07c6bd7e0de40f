"""Runtime flags as something to be put back: the exact inverse of setting them is setting what was there."""

from __future__ import annotations

import json
from typing import Any

from harness.faults.base import http_recipe
from harness.faults.recipe import HttpRecipe
from harness.targets.base import Target

# Everything of dual memory, for whoever is in the cohort (rollout runbook 2.1).
CANARY: dict[str, bool | float] = {
    "dual_memory_types": True,
    "blended_recall": True,
    "fan_effect": True,
    "monitoring": True,
}


def flags_recipe(target: Target, before: dict[str, Any]) -> HttpRecipe:
    """Put ``before`` (flag -> value) back.

    Flags outlive a process, but where the process is ours its data go with it, and there is nothing to put back.
    """
    body = json.dumps(before, sort_keys=True)
    return http_recipe(target, "/api/v1/admin/features", body, outlives=True)
