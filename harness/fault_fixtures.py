"""Fixtures of the faults: ``drill.run(network_latency(latency_ms=40))``.

Each fixture is the fault itself, called with its dose, so that a drill imports nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.faults.base import Fault
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.catalogue import FAMILY_FAULTS
from harness.faults.composition import Composition
from harness.faults.composition import parallel as side_by_side
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.nemesis import load_plan
from harness.faults.no_fault import NoFault
from harness.faults.process_crash import ProcessCrash
from harness.faults.semantic_latency import SemanticLatency


def _fixture(fault: type[Fault]) -> object:
    def found() -> type[Fault]:
        return fault

    found.__doc__ = (fault.__doc__ or fault.kind).strip()
    return pytest.fixture(name=fault.kind)(found)


globals().update({f"fixture_{fault.kind}": _fixture(fault) for fault in FAMILY_FAULTS})


@pytest.fixture
def semantic_latency() -> type[SemanticLatency]:
    """``semantic_latency(latency_ms=50)``: the semantic pathway takes that much longer."""
    return SemanticLatency


@pytest.fixture
def consolidation_failure() -> type[ConsolidationFailure]:
    """``consolidation_failure(fail_rate=0.5)``: that share of consolidation runs fails."""
    return ConsolidationFailure


@pytest.fixture
def binding_corruption() -> type[BindingCorruption]:
    """``binding_corruption(corruption_rate=0.2)``: that share of bindings gets invalid strengths."""
    return BindingCorruption


@pytest.fixture
def process_crash() -> type[ProcessCrash]:
    """``process_crash()``: SIGKILL, then started again on the same data."""
    return ProcessCrash


@pytest.fixture
def no_fault() -> type[NoFault]:
    """``no_fault()``: the control case."""
    return NoFault


@pytest.fixture
def parallel() -> Callable[..., Composition]:
    """``parallel(fault, fault)``: all at once, each seen to act and each healed on its own."""
    return side_by_side


@pytest.fixture
def nemesis(drill: Any) -> Callable[[str], Composition]:
    """``nemesis("dual_memory")``: that plan of ``scenarios/faults/``, drawn with the session's seed."""
    session = drill.session

    def drawn(name: str) -> Composition:
        plan = load_plan(session.settings.scenarios_dir / "faults" / f"{name}.toml")
        return plan.composition(session.settings.seed, round(session.profile.fault_s * 1000))

    return drawn


@pytest.fixture
def alert_limit(drill: Any) -> Callable[..., Any]:
    """``alert_limit("EngramDown", step="firing")``: the longest an alert may take, from its own rule."""
    found: Callable[..., Any] = drill.session.alert_limit
    return found
