"""What holds for all of our own tests."""

from __future__ import annotations

import os
import signal
import sys


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
