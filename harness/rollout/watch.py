"""The watch over a rollout: looks, rolls back by itself what needs no human, tells people the rest.

Everything it decides by is in its readings; time, witnesses, the rollback and the telling are handed in, so that two
hundred hours pass in a test as quickly as they are read. Its state is on disk after every look: one that is started
again goes on counting, and carries out again (which is harmless) what it had begun.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.errors import RecordError, RecordTooNew, UsageError
from harness.judge.triggers import Met, TriggerJudge
from harness.rollout.notify import Notice
from harness.rollout.witnesses import Source, WitnessRecalls
from harness.scenario.watch import AUTOMATED, MANUAL, RAMP, STRATEGIC, Trigger, WatchRules
from harness.targets.base import boot_id
from harness.timeline.jsonl import read_json, write_json_atomically

STATE_SCHEMA = 1
_AGAIN = 20  # looks between two complaints about a witness that sees nothing


@dataclass(frozen=True)
class RolledBack:
    """How a rollback ended: whether it was done and seen to act, and in words."""

    done: bool
    what: str


Act = Callable[[Trigger], RolledBack]
Tell = Callable[[Notice, bool, bool], None]
Say = Callable[..., None]


@dataclass
class WatchState:
    """What survives a restart of the watch. ``unseen``: looks in a row, up to now, that a witness did not see;
    ``blind``: all of them.
    """

    target: str
    phase: str
    begun: float
    boot: str
    looks: int = 0
    unseen: dict[str, int] = field(default_factory=dict)
    blind: dict[str, int] = field(default_factory=dict)
    breaches: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    met: dict[str, str] = field(default_factory=dict)
    rollback: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it whole or not at all. Raises :class:`RecordError`."""
        write_json_atomically(path, {"schema": STATE_SCHEMA, **vars(self)})


def load_state(path: Path, target: str, phase: str, now: float) -> WatchState:
    """The state to go on from; a new one where there is none, or where the machine was started again since.

    Raises :class:`UsageError` where it is another watch's, :class:`RecordError` where it cannot be read.
    """
    fresh = WatchState(target, phase, now, boot_id())
    if not path.exists():
        return fresh
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("schema"), int):
        raise RecordError("not the state of a watch", where=str(path), hint="give another --state, or remove it")
    if found.pop("schema") > STATE_SCHEMA:
        raise RecordTooNew("is of a newer version", where=str(path), hint="use a newer harness")
    try:
        kept = WatchState(**found)
    except TypeError as error:
        raise RecordError(f"not the state of a watch: {error}", where=str(path)) from error
    if (kept.target, kept.phase) != (target, phase):
        what = f"it watches {kept.target} in phase {kept.phase}"
        raise UsageError(what, where=str(path), hint="give another --state, or remove it")
    if kept.boot != fresh.boot:  # instants of another boot mean nothing
        kept.boot, kept.breaches, kept.begun = fresh.boot, [], now
    return kept


class Watch:
    """One watch. :meth:`look` once every ``rules.evaluate_s``."""

    def __init__(
        self,
        rules: WatchRules,
        triggers: Sequence[Trigger],
        sources: Sequence[Source],
        state: WatchState,
        *,
        act: Act,
        tell: Tell,
        say: Say,
        clock: Clock,
        facts: dict[str, float] | None = None,
        dry_run: bool = False,
        save: Callable[[WatchState], None] = lambda state: None,
    ) -> None:
        self._rules = rules
        self._triggers = (*triggers, *(rules.triggers if rules.ramp_watch_s > 0 else ()))
        self._judge = TriggerJudge((t for t in self._triggers if not t.attested), min_coverage=rules.min_coverage)
        self._sources = tuple(sources)
        self.state = state
        self._act, self._tell, self._say = act, tell, say
        self._clock = clock
        self._facts = dict(facts or {})
        self._dry_run = dry_run
        self._save = save
        self._judge.resume(state.breaches)
        for source in self._sources:
            source.resume(state.sources.get(source.name, {}))
        if state.rollback.get("status") == "begun":
            self._say("rollback", text="an earlier watch had begun a rollback: it is carried out again")
            self._roll_back_for(str(state.rollback.get("trigger")), str(state.rollback.get("evidence")))

    @property
    def rolled_back(self) -> bool:
        """Whether this watch (or the one before it) rolled back, in whole or in part."""
        return bool(self.state.rollback)

    def run(self, until_s: float, over: threading.Event, *, after_rollback_s: float) -> None:
        """Look until the time is over, ``over`` is set, or a rollback was watched for long enough."""
        while not over.is_set():
            now = self._clock.now()
            back = self.state.rollback
            if back.get("status") == "done" and now - float(back["at"]) >= after_rollback_s:
                return
            if now - self.state.begun >= until_s:
                return
            self._clock.wait(over, self._rules.evaluate_s)
            if not over.is_set():
                self.look()

    def look(self) -> list[Met]:
        """Look once: ask every witness, judge, act, tell, keep the state; answers what was met."""
        found: list[Met] = []
        for source in self._sources:
            reading = source.read()
            self._note_trouble(source)
            if reading is not None:
                found += self._judge.look(reading)
        self.state.looks += 1
        for name, value in sorted(self._facts.items()):
            found += self._attested(name, value)
        for met in self._worth(found):
            self._met(met)
        back = self.state.rollback
        if back.get("status") == "failed":  # the API may answer by now; again until it is done
            self._roll_back_for(str(back["trigger"]), str(back["evidence"]))
        self.keep()
        return found

    def keep(self) -> None:
        """Put the state on disk."""
        self.state.breaches = self._judge.as_json()
        self.state.sources = {source.name: source.remembered() for source in self._sources}
        self._save(self.state)

    def _worth(self, found: Sequence[Met]) -> list[Met]:
        """One per trigger (the longest proof), ramp triggers only in the first hours after the ramp."""
        best: dict[str, Met] = {}
        early = self._clock.now() - self.state.begun <= self._rules.ramp_watch_s
        for met in found:
            if met.trigger.level == RAMP and not early:
                continue
            kept = best.get(met.trigger.name)
            if kept is None or met.lasted_s > kept.lasted_s:
                best[met.trigger.name] = met
        return sorted(best.values(), key=lambda met: (met.trigger.level != AUTOMATED, met.trigger.of_phase))

    def _attested(self, name: str, value: float) -> list[Met]:
        found = []
        for trigger in self._triggers:
            if (
                trigger.attested
                and trigger.called(name)
                and value > trigger.above
                and trigger.name not in self.state.met
            ):
                now = self._clock.now()
                found.append(Met(trigger, "what was attested", now, now, 0.0, f"{name} = {value:g}: {trigger.text}"))
        return found

    def _met(self, met: Met) -> None:
        trigger = met.trigger
        escalation = self._rules.escalation(met.lasted_s)
        level = escalation.level if escalation else ""
        first = trigger.name not in self.state.met
        if first:
            self.state.met[trigger.name] = met.evidence
            text = f"{trigger.level} trigger {trigger.name} is met: {met.evidence}"
            self._say("trigger", text=text, met=_as_json(met))
        if trigger.level == AUTOMATED:
            if first and not self.state.rollback:
                self._automated(met, level)
            elif self.state.rollback.get("status") == "done" and self.state.told.get("after_rollback") != level:
                self.state.told["after_rollback"] = level
                self._notify(
                    met, "the rollback is done and has not cured it: harness rollout rollback full", level, page=True
                )
            return
        if self.state.told.get(trigger.name) != level:
            self.state.told[trigger.name] = level
            self._notify(met, _ADVICE.get(trigger.level, ""), level, page=trigger.level == MANUAL)

    def _automated(self, met: Met, level: str) -> None:
        if self._dry_run:
            self._say("dry_run", text=f"--dry-run: would roll back now ({met.trigger.source})")
            self._notify(met, "--dry-run: nothing was done", level, page=False)
            return
        self._notify(met, "rolling back now, by itself", level, page=True)
        self._roll_back_for(met.trigger.name, met.evidence)

    def _roll_back_for(self, name: str, evidence: str) -> None:
        trigger = next((one for one in self._triggers if one.name == name), None)
        if trigger is None:
            self._say("rollback", text=f"the trigger {name} is no longer in this plan: nothing is rolled back")
            self.state.rollback = {**self.state.rollback, "status": "unknown", "at": self._clock.now()}
            return
        self.state.rollback = {
            "status": "begun",
            "trigger": name,
            "evidence": evidence,
            "tries": int(self.state.rollback.get("tries", 0)) + 1,
            "at": self._clock.now(),
        }
        self.keep()  # before anything is done
        result = self._act(trigger)
        status = "done" if result.done else "failed"
        self.state.rollback |= {"status": status, "what": result.what, "at": self._clock.now()}
        text = result.what if result.done else f"NOT DONE, tried again at the next look: {result.what}"
        self._say("rollback", text=f"rollback: {text}", rollback=dict(self.state.rollback))
        if result.done:
            self._judge.forget()
        self.keep()

    def _notify(self, met: Met, action: str, level: str, *, page: bool) -> None:
        escalation = next((e for e in self._rules.escalations if e.level == level), None)
        trigger = met.trigger
        notice = Notice(
            trigger=trigger.name,
            kind=trigger.level,
            headline=_HEADLINES[trigger.level],
            phase=self.state.phase,
            reason=trigger.text or trigger.source,
            evidence=met.evidence,
            action=action,
            eta="latency within 2 minutes, full stabilisation within 30" if trigger.level == AUTOMATED else "_____",
            level=level or "no level",
            who=escalation.who if escalation else "_____",
            target=self.state.target,
            started=self._clock.wall(),
            now=self._clock.wall(),
        )
        self._tell(notice, page, trigger.level in (AUTOMATED, MANUAL))

    def _note_trouble(self, source: Source) -> None:
        """A witness that sees nothing is said when it begins, now and then, and when it sees again."""
        blind = self.state.unseen.get(source.name, 0)
        if source.trouble:
            if blind % _AGAIN == 0:
                text = f"{source.name}: not seen ({source.trouble}); that is no health"
                self._say("unseen", text=text, source=source.name)
            self.state.unseen[source.name] = blind + 1
            self.state.blind[source.name] = self.state.blind.get(source.name, 0) + 1
        elif blind:
            self._say("seen_again", text=f"{source.name}: seen again after {blind} looks", source=source.name)
            self.state.unseen[source.name] = 0

    def row(self, source: WitnessRecalls, memory_bytes: float) -> dict[str, Any]:
        """The line of the table that an hour (or five minutes after a ramp) gives, with its marks."""
        p99_ms, error_rate, asked = source.row()
        marks = self._rules.marks
        seen = {"recall_p99_ms": p99_ms, "error_rate": error_rate}
        over = [name for name, value in seen.items() if not math.isnan(value) and value > marks.get(name, math.inf)]
        return {**seen, "recalls": asked, "memory_gb": memory_bytes / 2**30, "over": over}


_HEADLINES = {
    AUTOMATED: "Dual Memory Rollback Initiated",
    MANUAL: "Dual Memory: rollback to be decided by the on-call",
    STRATEGIC: "Dual Memory: rollback to be decided by the engineering manager",
    RAMP: "Dual Memory: look at the ramp",
}
_ADVICE = {
    MANUAL: "the on-call decides: harness rollout rollback immediate",
    STRATEGIC: "the engineering manager decides",
    RAMP: "look; harness rollout ramp takes the cohort back",
}


def _as_json(met: Met) -> dict[str, Any]:
    return {
        "trigger": met.trigger.name,
        "level": met.trigger.level,
        "witness": met.witness,
        "since": met.since,
        "at": met.at,
        "lasted_s": met.lasted_s,
        "source": met.trigger.source,
    }
