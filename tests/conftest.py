"""What holds for all of our own tests."""

from __future__ import annotations

import os
import signal
import sys

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``long`` run where they are asked for, by ``-m`` or by name."""
    if config.option.markexpr or any("::" in argument for argument in config.invocation_params.args):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_configure() -> None:
    """Signals as a terminal leaves them, and compiled modules kept."""
    # A shell starts what runs in the background with Ctrl-C or hang-up ignored, and children inherit that.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    # Hundreds of processes start here. Where an environment forbids __pycache__ (images often do), each would compile
    # all of the harness again, a third of what a short session costs.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
