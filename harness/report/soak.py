"""A soak's directory, read and judged: the same for the engine while it runs, ``harness judge`` and the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import RecordError
from harness.judge.soak_abort import AbortWatch, Met
from harness.judge.soak_criteria import judge_soak
from harness.judge.soak_durability import ReadBackTally
from harness.judge.soak_series import SoakSeries
from harness.judge.soak_verdict import SoakFacts, SoakJudgement
from harness.model import SCHEMA_VERSION, json_number
from harness.scenario.soak import SoakScenario, soak_from_json
from harness.timeline.jsonl import write_json_atomically
from harness.timeline.soak_record import EVENTS, INTERVALS, NO_RECORD, READ_BACK, Lines, read_manifest

Event = dict[str, Any]
LEAST_INTERVAL_S = 0.25  # of real time: an fsync and a scrape take what they take
INTERRUPTED = "interrupted"  # the reason of a stop by Ctrl-C
_MOST_EXPECTED = 1_000_000


@dataclass
class SoakRecord:
    """Everything recorded so far, in the form it is judged from."""

    folder: Path
    manifest: dict[str, Any]
    scenario: SoakScenario
    series: SoakSeries
    watch: AbortWatch
    tally: ReadBackTally
    events: list[Event]
    torn_lines: int = 0

    def add(self, record: dict[str, Any]) -> Met | None:
        """Take one interval in; answers the abort trigger newly met, if one is."""
        closed = self.series.add(record)
        return self.watch.look(self.series, window_closed=closed)

    def read_back(self, row: dict[str, Any]) -> None:
        """Take one row of the read-back in."""
        self.tally.add(row, self.series.time_scale)

    def facts(self, *, running: bool = False) -> SoakFacts:
        """What the criteria must know besides the series."""
        ended, reason = ("running", "") if running else _ending(self.events)
        capabilities = _last(self.events, "target_ready").get("capabilities", [])
        cpus = int(self.manifest.get("machine", {}).get("cpus") or 1)
        return SoakFacts(self.scenario, frozenset(capabilities), cpus, ended, reason, self.torn_lines)

    @property
    def never_began(self) -> bool:
        """Whether an unusable environment or input ended it before its load began: nothing was tested.

        Not where a person or a kill did.
        """
        stops = [event for event in self.events if event.get("event") == "stopped"]
        begun = any(event.get("event") == "segment_started" for event in self.events)
        return bool(stops) and not begun and stops[-1].get("reason") != INTERRUPTED

    def judge(self, *, running: bool = False) -> SoakJudgement:
        """Judge it; ``running``: more will come."""
        return judge_soak(self.series, self.tally, self.watch, self.facts(running=running))


def read_soak(folder: Path, *, closing: bool = True) -> SoakRecord:
    """Read a soak's directory; torn lines are left out and counted.

    ``closing``: nothing more will come, so open windows are closed. Raises :class:`RecordError`.
    """
    manifest = read_manifest(folder)
    scenario, series = _begun(folder, manifest)
    events, intervals, rows = Lines(folder / EVENTS), Lines(folder / INTERVALS), Lines(folder / READ_BACK)
    record = SoakRecord(folder, manifest, scenario, series, AbortWatch(scenario.aborts), ReadBackTally(), list(events))
    waiting = sorted(
        (e for e in record.events if isinstance(e.get("at_s"), int | float)), key=lambda e: float(e["at_s"])
    )
    with intervals.taken():
        _take_in(record, intervals, waiting)
    if closing:
        series.finish()
        record.watch.look(series, window_closed=False)
    with rows.taken():
        for row in rows:
            record.read_back(row)
    record.torn_lines = events.torn + intervals.torn + rows.torn
    return record


def _take_in(record: SoakRecord, intervals: Lines, waiting: list[Event]) -> None:
    """Take intervals and the events between them in. Raises ValueError where time does not run forwards."""
    position, before = 0, 0.0
    for interval in intervals:
        from_s, to_s = float(interval["from_s"]), float(interval["to_s"])
        if not before <= from_s <= to_s < math.inf:
            raise ValueError(f"an interval from {from_s:g} to {to_s:g} s behind one from {before:g} s")
        before = from_s
        while position < len(waiting) and float(waiting[position]["at_s"]) <= from_s:
            record.series.event(waiting[position])
            position += 1
        record.add(interval)
    for event in waiting[position:]:
        record.series.event(event)


def _begun(folder: Path, manifest: dict[str, Any]) -> tuple[SoakScenario, SoakSeries]:
    """Scenario and empty series as the manifest says. Raises :class:`RecordError` where it does not say."""
    try:
        plan = manifest["plan"]
        if not (1 <= plan["time_scale"] < math.inf and 0 < plan["duration_s"] < math.inf):
            raise ValueError(f"a soak of {plan['duration_s']} s at a time scale of {plan['time_scale']}")
        scenario = soak_from_json(plan["scenario"])
        series = SoakSeries(
            time_scale=float(plan["time_scale"]),
            window_s=scenario.record.window_s,
            warm_up_s=scenario.record.warm_up_h * 3600.0,
            duration_s=float(plan["duration_s"]),
            expected=_expected(scenario, float(plan["duration_s"]), float(plan["time_scale"])),
        )
    except NO_RECORD as error:
        raise RecordError(
            f"the manifest's plan cannot be read ({type(error).__name__}: {error})", where=str(folder / "manifest.json")
        ) from error
    return scenario, series


def _expected(scenario: SoakScenario, duration_s: float, time_scale: float) -> int:
    """How many intervals a whole run records, and some for gaps and cut ones."""
    interval_s = max(scenario.record.interval_s, LEAST_INTERVAL_S * time_scale)
    return min(_MOST_EXPECTED, int(1.05 * duration_s / interval_s) + 64)


def _last(events: list[Event], name: str) -> Event:
    return next((e for e in reversed(events) if e.get("event") == name), {})


def _ending(events: list[Event]) -> tuple[str, str]:
    """How the last segment ended; one that was killed wrote nothing of it."""
    for event in reversed(events):
        name = event.get("event")
        if name in ("soak_ended", "aborted", "stopped"):
            return str(name), str(event.get("reason", ""))
        if name == "segment_started":
            return "killed", "the harness was killed, or the machine went down"
    return "killed", "it never began to record"


def soak_verdict_json(record: SoakRecord, judgement: SoakJudgement) -> dict[str, Any]:
    """``verdict.json`` of a soak: a case like any other, with its criteria."""
    series = record.series
    plan = record.manifest["plan"]
    return {
        "schema": SCHEMA_VERSION,
        "name": record.folder.name,
        "kind": "soak",
        "verdict": judgement.verdict.value,
        "reasons": list(judgement.reasons),
        "criteria": [result.as_json() for result in judgement.results],
        "abort_triggers": [
            {"name": m.trigger.name, "at_s": m.at_s, "detail": m.detail, "source": m.trigger.source}
            for m in judgement.aborts.met.values()
        ],
        "time_scale": plan["time_scale"],
        "seed": plan["seed"],
        "duration_s": plan["duration_s"],
        "observed_s": series.observed_s,
        "gaps": [{"start_s": gap.start_s, "end_s": gap.end_s} for gap in series.gaps],
        "restarts": [{"at_s": r.at_s, "by_the_harness": r.ours} for r in series.restarts],
        "torn_lines": record.torn_lines,
        "latency_ms": {
            name: {"count": h.count, **{f"p{p:g}": json_number(h.percentile(p) * 1e3) for p in (50, 95, 99, 99.9)}}
            for name, h in sorted(series.latency.items())
        },
        # What every case's verdict has, for readers of sessions.
        "conditions": [],
        "checks": [],
        "degradation": {},
        "recovery_time_s": {},
        "acknowledged_memories": {
            "checked": record.tally.checked,
            "lost": record.tally.lost,
            "stale": record.tally.stale,
            "corrupted": record.tally.corrupted,
        },
        "samples": {name: h.count for name, h in sorted(series.latency.items())},
        "fault": {},
        "evidence": [],
        "attempt": 1,
    }


def write_soak_verdict(record: SoakRecord, judgement: SoakJudgement) -> dict[str, Any]:
    """Write the soak's ``verdict.json`` and its session's; the same files always give the same bytes.

    Answers the soak's own.
    """
    verdict = soak_verdict_json(record, judgement)
    session = record.folder.parent
    write_json_atomically(record.folder / "verdict.json", verdict)
    write_json_atomically(
        session / "verdict.json",
        {
            "schema": SCHEMA_VERSION,
            "session": session.resolve().name,
            "verdict": verdict["verdict"],
            "cases": [verdict],
        },
    )
    return verdict
