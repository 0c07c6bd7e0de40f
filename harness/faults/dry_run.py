"""What a case would do, to what, said instead of done."""

from __future__ import annotations

from collections.abc import Iterable

from harness.faults import capability
from harness.faults.base import Fault
from harness.faults.composition import Composition
from harness.faults.nemesis import dry_run
from harness.targets.base import Target


def would_be_done(case: str, fault: Fault, load: str, requires: Iterable[str], target: Target | str) -> str:
    """The fault, its target and load, and what is lacking for it, as lines for people.

    A running ``target`` is asked what it can do, and nothing else; of one that would be started (its name in words)
    only this machine's share is known.
    """
    running = None if isinstance(target, str) else target
    name = target if isinstance(target, str) else target.base_url
    lines = [f"{case}: {fault.describe()}", f"  on {name}; {load}"]
    if isinstance(fault, Composition):
        lines += [f"  {line.strip()}" for line in dry_run(fault.steps, name)]
    if running is not None and fault.requires and not running.owned:
        lines.append("  cannot: the target is not claimed (--i-own-this-target)")
    lacking = capability.missing(requires, running)
    lines += [f"  cannot: {what}: {why}" for what, why in lacking.items()]
    if running is None and fault.wants:
        lines.append(f"  started for it with: {', '.join(sorted(fault.wants)).replace('_', ' ')}")
    return "\n".join(lines)
