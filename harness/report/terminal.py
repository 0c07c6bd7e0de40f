"""The terminal: what is going on while a session runs, and the table at its end.

Everything is written to a given text stream, so that pytest can hand in its own terminal.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.model import number_from_json
from harness.report.tables import worst_reason
from harness.report.words import json_estimate_text, seconds_text

COLOURS: dict[str, str] = {
    "FAIL": "bold white on red",
    "ABORTED": "bold white on magenta",
    "NOT_EXERCISED": "bold black on yellow",
    "INCONCLUSIVE": "bold black on yellow",
    "UNSUPPORTED": "bold white on bright_black",
    "PASS": "bold white on green",
}
_REPAINT_S = 0.2


def final_table(session: dict[str, Any]) -> Table:
    """The session's ``verdict.json`` as a table: verdict, latency, errors, recovery and the worst reason per case."""
    table = Table(box=box.SIMPLE_HEAD, title=_title(session), title_justify="left", expand=False)
    table.add_column("case", overflow="fold", min_width=20)
    table.add_column("verdict", no_wrap=True)
    table.add_column("p99 before", justify="right", no_wrap=True)
    table.add_column("under fault", justify="right", no_wrap=True)
    table.add_column("errors", justify="right", no_wrap=True)
    table.add_column("recovery", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for case in session["cases"]:
        latency = case["degradation"].get("latency_ms(p=99)", {})
        errors = case["degradation"].get("error_rate", {}).get("during", {})
        table.add_row(
            Text(case["name"]),
            Text(f" {case['verdict'].replace('_', ' ')} ", style=COLOURS.get(case["verdict"], "")),
            json_estimate_text(latency.get("baseline", {})),
            json_estimate_text(latency.get("during", {})),
            _percent(errors),
            _recovery(case["recovery_time_s"]),
            Text("" if case["verdict"] == "PASS" else worst_reason(case)),
        )
    return table


def _title(session: dict[str, Any]) -> Text:
    verdict = str(session["verdict"])
    title = Text.assemble(
        (f" {verdict.replace('_', ' ')} ", COLOURS.get(verdict, "")), f" session {session['session']}"
    )
    title.no_wrap = False
    return title


def _percent(share: dict[str, Any]) -> str:
    value = number_from_json(share.get("value"))
    return "no data" if not share.get("samples") or math.isnan(value) else f"{100 * value:.3g} %"


def _recovery(signals: dict[str, Any]) -> str:
    """The recovery of the signal that came back last; a dash where none had left its tolerance."""
    moved = [s for s in signals.values() if s["state"] in ("recovered", "censored")]
    if not moved:
        return "unknown" if any(s["state"] == "unknown" for s in signals.values()) else "–"
    worst = max(moved, key=lambda s: (number_from_json(s["high"]), number_from_json(s["low"])))
    low, high = number_from_json(worst["low"]), number_from_json(worst["high"])
    if math.isinf(high):
        return f"> {seconds_text(low)}"
    return f"{low * 1e3:.0f}–{high * 1e3:.0f} ms" if high < 0.9995 else f"{low:.2f}–{high:.2f} s"


def print_table(session: dict[str, Any], stream: TextIO, width: int | None = None) -> None:
    """Write :func:`final_table` to ``stream``; plain where it is no terminal."""
    shown = width or (None if stream.isatty() else 140)
    Console(file=stream, width=shown, highlight=False, soft_wrap=False).print(final_table(session))


@dataclass
class _State:
    case: str = ""
    number: int = 0
    phase: str = ""


class Progress:
    """Live progress of a session: one line that is repainted on a terminal, one line a phase elsewhere.

    Safe to call from any thread. ``total_cases`` is 0 where not known; ``monotonic`` gives seconds, for tests.
    """

    def __init__(self, total_cases: int, stream: TextIO, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._total = total_cases
        self._stream = stream
        self._monotonic = monotonic
        self._live = stream.isatty()
        self._lock = threading.Lock()
        self._state = _State()
        self._painted_at = -math.inf
        self._painted = False

    def update(
        self,
        case: str,
        phase: str,
        *,
        time_left_s: float = math.nan,
        rate: float = math.nan,
        p99_ms: float = math.nan,
        errors: int | None = None,
    ) -> None:
        """Tell where the session is.

        ``time_left_s`` of the phase, ``rate`` completed per second and ``p99_ms`` of recalls over the last seconds,
        ``errors`` since the case began; NaN (None for errors) where not known.
        """
        with self._lock:
            changed = (case, phase) != (self._state.case, self._state.phase)
            if case != self._state.case:
                self._state.number += 1
            self._state.case, self._state.phase = case, phase
            now = self._monotonic()
            if not changed and (not self._live or now - self._painted_at < _REPAINT_S):
                return
            self._painted_at = now
            self._paint(self._line(time_left_s, rate, p99_ms, errors))

    def note(self, text: str) -> None:
        """Write a line that stays, above the live one."""
        with self._lock:
            self._clear()
            self._stream.write(_one_line(text) + "\n")
            self._stream.flush()

    def finish_case(self, case: str, verdict: str, reason: str = "") -> None:
        """Write the line that a finished case leaves behind."""
        self.note(f"{verdict.replace('_', ' '):<13} {case}{': ' + reason if reason else ''}")

    def close(self) -> None:
        """Take the live line away; idempotent, and a later update paints again."""
        with self._lock:
            self._clear()
            self._stream.flush()

    def _line(self, time_left_s: float, rate: float, p99_ms: float, errors: int | None) -> str:
        state = self._state
        place = f"[{state.number}/{max(self._total, state.number)}] " if self._total else ""
        parts = [f"{place}{state.case}", state.phase]
        if time_left_s > 0:
            parts.append(f"{time_left_s:.0f} s left")
        if rate > 0:
            parts.append(f"{rate:.0f}/s")
        if p99_ms > 0:
            parts.append(f"p99 {p99_ms:.1f} ms")
        if errors is not None:
            parts.append(f"{errors} error{'' if errors == 1 else 's'}")
        return _one_line(" · ".join(parts))

    def _paint(self, line: str) -> None:
        if not self._live:
            self._stream.write(line + "\n")
        else:
            width = max(20, Console(file=self._stream).width - 1)
            # Cut rather than wrap: a wrapped line could not be repainted.
            shown = line if len(line) <= width else line[: width - 1] + "…"
            # What stands in the line already is somebody else's (pytest's name of the file): leave it.
            self._stream.write(("\r\x1b[2K" if self._painted else "\n") + shown)
            self._painted = True
        self._stream.flush()

    def _clear(self) -> None:
        if self._live and self._painted:
            self._stream.write("\r\x1b[2K")
            self._painted = False


def _one_line(text: str) -> str:
    """Without control characters: a target's own words must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
