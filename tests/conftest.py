"""What holds for all of our own tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A shell starts what runs in the background with Ctrl-C or hang-up ignored, and children inherit that."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
