"""Fixtures of the fault catalogue's families: ``drill.run(network_latency(latency_ms=40))``.

Each fixture is the fault itself, called with its dose, so that a drill imports nothing.
"""

from __future__ import annotations

import pytest

from harness.faults.base import Fault
from harness.faults.catalogue import FAMILY_FAULTS


def _fixture(fault: type[Fault]) -> object:
    def found() -> type[Fault]:
        return fault

    found.__doc__ = (fault.__doc__ or fault.kind).strip()
    return pytest.fixture(name=fault.kind)(found)


globals().update({f"fixture_{fault.kind}": _fixture(fault) for fault in FAMILY_FAULTS})
