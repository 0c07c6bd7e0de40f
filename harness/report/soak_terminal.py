"""A soak on the terminal: a panel that is repainted, or plain lines where there is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.judge.soak_verdict import CriterionResult, SoakJudgement, clock_text
from harness.model import Verdict, number_from_json
from harness.report.terminal import COLOURS
from harness.report.words import interval_text, with_unit

_PLAIN_EVERY_S = 60.0


class Status(Protocol):
    """What the engine tells (:class:`harness.soak.engine.SoakStatus`)."""

    @property
    def phase(self) -> str: ...
    @property
    def at_s(self) -> float: ...
    @property
    def left_s(self) -> float: ...
    @property
    def rate_ops_per_s(self) -> float: ...
    @property
    def p99_ms(self) -> float: ...
    @property
    def error_rate(self) -> float: ...
    @property
    def rss_mb(self) -> float: ...
    @property
    def judgement(self) -> SoakJudgement | None: ...


class SoakDisplay:
    """Shows a soak's status on ``stream``; safe to close twice."""

    def __init__(
        self,
        stream: TextIO,
        total_s: float,
        *,
        every_s: float = _PLAIN_EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._total_s = total_s
        self._every_s = every_s
        self._monotonic = monotonic
        self._said_at = -math.inf
        self._phase = ""
        self._standing = ""
        self._live: Live | None = None
        if stream.isatty():
            self._live = Live(console=Console(file=stream), auto_refresh=False, transient=True)
            self._live.start()

    def show(self, status: Status) -> None:
        """Repaint, or write a line when a minute has passed or something changed."""
        if self._live is not None:
            self._live.update(self._panel(status), refresh=True)
            return
        standing = status.judgement.standing if status.judgement else ""
        now = self._monotonic()
        changed = status.phase != self._phase or standing != self._standing
        if not changed and now - self._said_at < self._every_s:
            return
        self._said_at, self._phase, self._standing = now, status.phase, standing
        self._stream.write(plain_line(status, standing) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Take the panel away; idempotent."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _panel(self, status: Status) -> Group:
        done = self._total_s - status.left_s
        head = Text(plain_line(status, status.judgement.standing if status.judgement else ""))
        bar = ProgressBar(total=max(self._total_s, 1e-9), completed=max(0.0, done), width=60)
        parts: list[Text | ProgressBar | Table] = [head, bar]
        if status.judgement is not None:
            parts.append(criteria_table(status.judgement.results, running=True))
        return Group(*parts)


def plain_line(status: Status, standing: str) -> str:
    """One line: phase, time left, rate, P99, errors, RSS, and where the criteria stand."""
    parts = [f"soak {status.phase}"]
    if status.left_s > 0:
        parts.append(f"{clock_text(status.left_s)} left")
    if status.rate_ops_per_s > 0:
        parts.append(f"{status.rate_ops_per_s:,.0f}/s")
    if status.p99_ms > 0:
        parts.append(f"P99 {status.p99_ms:.1f} ms")
    if not math.isnan(status.error_rate):
        parts.append(f"errors {status.error_rate:.3%}")
    if status.rss_mb > 0:
        parts.append(f"RSS {status.rss_mb:.0f} MB")
    if standing:
        parts.append(standing)
    return " · ".join(parts)


def criteria_table(results: tuple[CriterionResult, ...], *, running: bool = False) -> Table:
    """The criteria with their values, bounds and verdicts."""
    table = Table(box=None, pad_edge=False)
    for name in ("criterion", "verdict", "value", "bound", "why"):
        table.add_column(name, overflow="fold")
    for result in results:
        word = state_word(result, running=running)
        table.add_row(
            Text(result.label),
            Text(word, style=COLOURS.get(word, "")),
            Text(value_text(result)),
            Text(bound_text(result)),
            Text(result.reason),
        )
    return table


def state_word(result: CriterionResult, *, running: bool) -> str:
    """The verdict; while it runs, what is not decided is ``open``."""
    return "open" if running and result.verdict is Verdict.INCONCLUSIVE else result.verdict.value


def value_text(result: CriterionResult) -> str:
    """Value with interval; shares as per cent."""
    estimate = result.estimate
    if not estimate.samples or math.isnan(estimate.value):
        return "no data"
    if estimate.unit.startswith("ratio"):
        unit = "%" + estimate.unit.removeprefix("ratio")
        low, high = 100 * estimate.interval.low, 100 * estimate.interval.high
        return f"{with_unit(100 * estimate.value, unit)} {interval_text(low, high)}".strip()
    return f"{with_unit(estimate.value, estimate.unit)} {interval_text(*_ends(result))}".strip()


def _ends(result: CriterionResult) -> tuple[float, float]:
    return result.estimate.interval.low, result.estimate.interval.high


def bound_text(result: CriterionResult) -> str:
    """``< 10 %/h``, ``> 99 %``, ``0``."""
    if result.unit.startswith("ratio"):
        text = with_unit(100 * result.bound, "%" + result.unit.removeprefix("ratio"))
    else:
        text = with_unit(result.bound, result.unit)
    if result.bound == 0:
        return text
    return f"{'<' if result.below else '≥'} {text}"


def verdict_text(verdict: dict[str, Any]) -> str:
    """The end of a soak: go or no-go, and a line a criterion."""
    lines = [f"{GO[Verdict(verdict['verdict'])]} ({verdict['verdict']})"]
    for row in verdict["criteria"]:
        lines.append(f"  {row['verdict']:<13} {row['label']:<28} {row_value(row):<34} {row['reason']}".rstrip())
    lines += [f"  ABORT         {met['name']}: {met['detail']}" for met in verdict["abort_triggers"]]
    return "\n".join(lines)


def row_value(row: dict[str, Any]) -> str:
    """A criterion's value and interval out of ``verdict.json``."""
    value = number_from_json(row["value"])
    if not row["samples"] or math.isnan(value):
        return "no data"
    low, high = (number_from_json(row["interval"][end]) for end in ("low", "high"))
    unit, factor = row["unit"], 1.0
    if unit.startswith("ratio"):
        unit, factor = "%" + unit.removeprefix("ratio"), 100.0
    return f"{with_unit(factor * value, unit)} {interval_text(factor * low, factor * high)}".strip()


GO: dict[Verdict, str] = {
    Verdict.PASS: "GO",
    Verdict.FAIL: "NO-GO",
    Verdict.ABORTED: "NO DECISION",
    Verdict.NOT_EXERCISED: "NO DECISION",
    Verdict.INCONCLUSIVE: "NO DECISION",
    Verdict.UNSUPPORTED: "NO DECISION",
}
