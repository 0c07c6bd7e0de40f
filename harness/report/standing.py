"""How something that stays up is doing: a line that is repainted on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_EVERY_S = 10.0


@dataclass(frozen=True)
class Standing:
    """One look. NaN (None for errors) where there is no load; ``trouble`` is what is wrong beside Engram itself."""

    up_s: float
    engram: str
    storing: bool = False
    rate_ops_per_s: float = math.nan
    p99_ms: float = math.nan
    errors: int | None = None
    alerts: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def well(self) -> bool:
        """Whether there is nothing to worry about."""
        return self.engram == "healthy" and not self.trouble

    def line(self) -> str:
        """For people; without control characters, whatever a service said."""
        minutes, seconds = divmod(int(self.up_s), 60)
        parts = [f"up {minutes // 60}:{minutes % 60:02d}:{seconds:02d}", f"Engram {self.engram}"]
        if self.storing:
            parts.append("storing the load's memories")
        if not math.isnan(self.rate_ops_per_s):
            parts.append(f"{self.rate_ops_per_s:.0f}/s")
        if self.p99_ms > 0:
            parts.append(f"recall p99 {self.p99_ms:.1f} ms")
        if self.errors is not None:
            parts.append(f"{self.errors} error{'' if self.errors == 1 else 's'}")
        if self.alerts:
            parts.append(f"firing: {', '.join(self.alerts)}")
        if self.trouble:
            parts.append(self.trouble)
        return "".join(c if c.isprintable() else " " for c in " · ".join(parts))


class StandingDisplay:
    """Shows it on ``stream``; ``monotonic`` gives seconds, for tests."""

    def __init__(self, stream: TextIO, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._live = Live(console=Console(file=stream), auto_refresh=False) if stream.isatty() else None
        self._last: tuple[str, bool, str, tuple[str, ...]] | None = None
        self._written = -math.inf
        if self._live is not None:
            self._live.start()

    def show(self, standing: Standing) -> None:
        """Repaint; where nothing can be repainted, write a line when something changed or ten seconds have passed."""
        if self._live is not None:
            self._live.update(Text(standing.line(), style="" if standing.well else "bold red"), refresh=True)
            return
        now, state = self._monotonic(), (standing.engram, standing.storing, standing.trouble, standing.alerts)
        if state == self._last and now - self._written < PLAIN_EVERY_S:
            return
        self._last, self._written = state, now
        self._stream.write(standing.line() + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the last line standing; idempotent."""
        if self._live is not None:
            self._live.stop()
