"""Faults side by side, one after the other, and as the nemesis draws them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.drilling import Drill
from harness.faults.composition import Composition
from harness.faults.composition import parallel as side_by_side
from harness.faults.nemesis import load_plan


@pytest.fixture
def parallel() -> Callable[..., Composition]:
    """``parallel(fault, fault)``: all at once, each seen to act and each healed on its own."""
    return side_by_side


@pytest.fixture
def nemesis(drill: Drill) -> Callable[[str], Composition]:
    """``nemesis("dual_memory")``: that plan of ``scenarios/faults/``, drawn with the session's seed."""
    session = drill.session

    def drawn(name: str) -> Composition:
        plan = load_plan(session.settings.scenarios_dir / "faults" / f"{name}.toml")
        return plan.composition(session.settings.seed, round(session.profile.fault_s * 1000))

    return drawn
