"""The triggers of a rollout and what follows from them: TOML, every bound with its source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.scenario.document import Table, read_document
from harness.scenario.rollout import Phase, Plan
from harness.scenario.rollout import Trigger as PlanTrigger

AUTOMATED, MANUAL, STRATEGIC, RAMP = LEVELS = ("automated", "manual", "strategic", "ramp")
# Signals that are a share of events: share -> the bound itself; a percentile is a share over a limit in ms.
SHARES = ("error_rate", "recall_p99_ms", "recall_over_15ms", "consolidation_failure_rate")
GAUGES = ("crashes", "memory_share", "breaker_state")
P99_SHARE = 0.01


@dataclass(frozen=True)
class Trigger:
    """``signal`` above ``above`` without a break for ``for_s`` seconds.

    ``attested``: only people can say it (``--fact NAME=VALUE``). ``of_phase``: it leads back to where the phase says,
    others turn the blend off.
    """

    name: str
    level: str
    signal: str
    above: float
    for_s: float
    source: str
    attested: bool = False
    text: str = ""
    of_phase: bool = False

    @property
    def share(self) -> tuple[str, float] | None:
        """The share of events it is about, by its key in a reading, and the share it must not pass; None for a level.

        "P99 above 20 ms" is "more than 1 % of recalls take longer than 20 ms".
        """
        if self.signal == "recall_p99_ms":
            return slower_than(self.above), P99_SHARE
        if self.signal == "recall_over_15ms":
            return slower_than(15.0), self.above
        return (self.signal, self.above) if self.signal in SHARES else None

    def called(self, name: str) -> bool:
        """Whether it is called that, in full or by the last part of its name (``auto_latency``)."""
        return name in (self.name, self.name.rpartition(".")[2])

    def at_scale(self, time_scale: float) -> Trigger:
        """The trigger under a time scale."""
        return replace(self, for_s=self.for_s / time_scale)


def slower_than(limit_ms: float) -> str:
    """The key of the share of recalls that take longer than that."""
    return f"slower_than_{limit_ms:g}ms"


@dataclass(frozen=True)
class Escalation:
    """Who is told, from so long into a breach on."""

    after_s: float
    level: str
    who: str
    says: str
    source: str


@dataclass(frozen=True)
class WatchRules:
    """Everything the watch goes by. Seconds are divided by the time scale; rates and shares are not."""

    triggers: tuple[Trigger, ...]
    escalations: tuple[Escalation, ...]
    marks: dict[str, float]
    evaluate_s: float
    scrape_s: float
    witness_per_s: float
    min_coverage: float
    unreachable_s: float
    ramp_watch_s: float
    ramp_every_s: float
    hourly_for_s: float
    hour_s: float
    file: str
    limits_ms: tuple[float, ...] = (15.0,)

    def without_ramp(self) -> WatchRules:
        """The rules where nothing was ramped: no 5-minute table, no ramp triggers."""
        return replace(self, ramp_watch_s=0.0, triggers=())

    def asked(self, triggers: Iterable[Trigger]) -> WatchRules:
        """The rules with the limits that the shares of slow recalls are needed for."""
        every = (*triggers, *self.triggers)
        limits = {t.above for t in every if t.signal == "recall_p99_ms"}
        return replace(self, limits_ms=tuple(sorted(limits | {15.0})))

    def at_scale(self, time_scale: float) -> WatchRules:
        """The rules under a time scale."""
        seconds = {
            name: getattr(self, name) / time_scale
            for name in (
                "evaluate_s",
                "scrape_s",
                "unreachable_s",
                "ramp_watch_s",
                "ramp_every_s",
                "hourly_for_s",
                "hour_s",
            )
        }
        return replace(
            self,
            triggers=tuple(trigger.at_scale(time_scale) for trigger in self.triggers),
            escalations=tuple(replace(e, after_s=e.after_s / time_scale) for e in self.escalations),
            **seconds,
        )

    def escalation(self, breach_s: float) -> Escalation | None:
        """The highest level that a breach of that length has reached."""
        reached = [e for e in self.escalations if breach_s >= e.after_s]
        return max(reached, key=lambda e: e.after_s) if reached else None


def load_watch(path: Path) -> WatchRules:
    """Read the file. Raises :class:`~harness.errors.ConfigError` naming file, line and key."""
    document = read_document(path)
    evaluation = document.table("evaluation")
    ramp = document.table("ramp")
    marks = document.table("marks", required=False)
    found = WatchRules(
        triggers=tuple(_ramp_trigger(name, ramp.table(name)) for name in ramp),
        escalations=_escalations(document, path),
        marks={name: marks.number(name, low=0.0) for name in marks},
        evaluate_s=evaluation.number("evaluate_s", low=1.0, high=600.0),
        scrape_s=evaluation.number("scrape_s", low=1.0, high=3600.0),
        witness_per_s=evaluation.number("witness_per_s", low=0.01, high=1000.0),
        min_coverage=evaluation.number("min_coverage", low=0.1, high=1.0),
        unreachable_s=evaluation.number("unreachable_s", low=1.0),
        ramp_watch_s=evaluation.number("ramp_watch_h", low=0.0) * 3600.0,
        ramp_every_s=evaluation.number("ramp_every_s", low=1.0),
        hourly_for_s=evaluation.number("hourly_for_h", low=0.0) * 3600.0,
        hour_s=3600.0,
        file=str(path),
    )
    for table in (evaluation, ramp, document):
        table.finish()
    return found


def _ramp_trigger(name: str, table: Table) -> Trigger:
    signal = table.text("signal", choices=(*SHARES, *GAUGES))
    found = Trigger(
        f"ramp_{name}",
        RAMP,
        signal,
        table.number("above", low=0.0),
        table.number("for_s", low=0.0),
        table.text("source"),
    )
    if signal in SHARES and signal != "recall_p99_ms" and found.above >= 1.0:
        raise table.fail("above", f"{found.above:g} is no share below 1")
    table.finish()
    return found


_SIGNALS = {
    "all_recall_p99_ms": "recall_p99_ms",
    "recall_p99_ms": "recall_p99_ms",
    "error_rate": "error_rate",
    "crashes": "crashes",
    "memory_share": "memory_share",
    "consolidation_failure_ratio": "consolidation_failure_rate",
}
_COMPLEMENTS = {"consolidation_success": "consolidation_failure_rate"}


def triggers_of(plan: Plan, phase: Phase | None) -> tuple[tuple[Trigger, ...], tuple[PlanTrigger, ...]]:
    """The triggers in force in a phase (the plan's alone where none is given), and those a watch cannot look at.

    What only people can say is attested; an automated trigger on what takes a comparison or a trend is left to
    ``harness rollout gate``, and is answered second.
    """
    every = plan.triggers if phase is None else plan.triggers_of(phase)
    watched: list[Trigger] = []
    left: list[PlanTrigger] = []
    for one in every:
        found = _watched(one, of_phase=phase is not None and one in phase.abort_triggers)
        if found is None:
            left.append(one)
        else:
            watched.append(found)
    return tuple(watched), tuple(left)


def _watched(one: PlanTrigger, *, of_phase: bool) -> Trigger | None:
    name, signal, above = one.quantity.name, "", one.bound
    if one.op in (">", ">=") and name in _SIGNALS:
        signal = _SIGNALS[name]
    elif one.op in ("<", "<=") and name in _COMPLEMENTS:
        signal, above = _COMPLEMENTS[name], 1.0 - one.bound
    if signal:
        return Trigger(one.id, one.kind, signal, above, one.for_s, one.source, False, one.text, of_phase)
    if one.kind == AUTOMATED:
        return None
    # What somebody says is a number held against the bound; a plain yes is 1.
    bound = one.bound if one.op == ">" else 0.5
    return Trigger(one.id, one.kind, one.id, bound, 0.0, one.source, True, one.text, of_phase)


def _escalations(document: Table, path: Path) -> tuple[Escalation, ...]:
    values: Any = document.raw("escalation", [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise document.fail("escalation", "must be a list of tables, [[escalation]]")
    found = []
    for value in values:
        table = Table(value, str(path), {}, ("escalation",))
        texts = {key: table.text(key) for key in ("level", "who", "says", "source")}
        found.append(Escalation(after_s=table.number("after_s", low=0.0), **texts))
        table.finish()
    return tuple(sorted(found, key=lambda e: e.after_s))


_FACT = re.compile(r"([a-z0-9][a-z0-9_.]*)=(-?\d+(?:\.\d+)?)")


def fact_of(text: str) -> tuple[str, float]:
    """``manual_pages=6`` as name and number. Raises :class:`~harness.errors.UsageError`."""
    match = _FACT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no fact", hint="as in manual_pages=6")
    return match[1], float(match[2])
