"""A pytest plugin (``-p tests.defects.idle_injectors``): every injector answers as if it had acted, and does nothing.

No drill may pass under it: a fault that never happened earns no credit.
"""

from __future__ import annotations

from typing import Any

from harness.faults.catalogue import FAULTS


def _idle(*_: Any) -> None:
    """Nothing."""


def pytest_configure() -> None:
    for fault in FAULTS:
        fault.inject_into = _idle  # type: ignore[method-assign]
        fault.act = lambda *_: _idle  # type: ignore[method-assign]
