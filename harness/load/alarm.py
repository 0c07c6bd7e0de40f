"""Waking greenlets at exact instants.

Slots wait in the order of the schedule, so their instants never decrease and one timer serves them all. libev sleeps
in whole milliseconds; a timerfd, armed with the absolute instant, does not. Only the load process imports this.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import deque

import gevent
from gevent.hub import get_hub

_CLOCK_MONOTONIC = 1
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Wakes the greenlets that wait in it, each at its instant of ``time.monotonic()``."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, gevent.Greenlet]] = deque()
        self._hub = get_hub()
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _Itimerspec(0, 0, 0, 0)
        self._reference = ctypes.byref(self._spec)
        self._watcher = self._hub.loop.io(self._fd, 1)
        self._watcher.start(self._ring)

    def wait_until(self, instant: float) -> None:
        """Give way until ``instant`` (or until :meth:`release_after` lets everybody go).

        Instants must be handed in in order, which the shared schedule sees to.
        """
        waiting = self._waiting
        waiting.append((instant, gevent.getcurrent()))
        if len(waiting) == 1:
            self._arm(instant)
        self._hub.switch()

    def release_after(self, instant: float) -> None:
        """Wake at once everybody who waits for an instant later than ``instant``."""
        kept = [entry for entry in self._waiting if entry[0] <= instant]
        freed = [entry for entry in self._waiting if entry[0] > instant]
        self._waiting = deque(kept)
        self._arm(kept[0][0] if kept else 0.0)
        for _, sleeper in freed:
            self._hub.loop.run_callback(sleeper.switch)

    def close(self) -> None:
        """Stop ringing and give the timer back."""
        self._watcher.stop()
        self._watcher.close()
        os.close(self._fd)

    def _ring(self) -> None:
        now = time.monotonic()
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            sleeper = waiting.popleft()[1]
            # Called in the hub: the greenlet runs at once, until it gives way to the hub again.
            sleeper.switch()
            now = time.monotonic()
            waiting = self._waiting
        self._arm(waiting[0][0] if waiting else 0.0)

    def _arm(self, instant: float) -> None:
        """Set the timer; 0 disarms it. An instant in the past rings at once. Setting it clears its last ringing."""
        whole = int(instant)
        self._spec.value_s = whole
        self._spec.value_ns = int((instant - whole) * 1e9)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._reference, None)
