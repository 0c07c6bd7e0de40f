"""Fixtures of the rollback drills: ``drill.run(recall_latency(latency_ms=30), then=roll_back.immediate())``."""

from __future__ import annotations

from typing import Any

import pytest

from harness.faults.global_latency import RecallLatency
from harness.rollout.rollback import DataRollback, FullRollback, ImmediateRollback, PartialRollback

# The milestone before dual memory, as a configuration: what a full rollback of the embedded target restarts with.
PREVIOUS = "[service]\nmilestone = 16\n\n[features]\ndual_memory_types = false\nmonitoring = true\n"


class Rollbacks:
    """The runbook's four ways back."""

    def immediate(self) -> ImmediateRollback:
        """Flags off."""
        return ImmediateRollback()

    def partial(self, rate: float) -> PartialRollback:
        """The cohort down to ``rate``."""
        return PartialRollback(rate)

    def full(self) -> FullRollback:
        """The previous milestone."""
        return FullRollback(config_text=PREVIOUS)

    def data(self) -> DataRollback:
        """A backup taken before the fault, put back with dual memory off."""
        return DataRollback()


@pytest.fixture
def roll_back() -> Rollbacks:
    """The ways back, by name."""
    return Rollbacks()


@pytest.fixture
def recall_latency() -> type[Any]:
    """``recall_latency(latency_ms=30)``: every blended recall takes that much longer."""
    return RecallLatency
