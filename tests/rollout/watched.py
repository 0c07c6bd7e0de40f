"""A service on a fake clock, as the witnesses of a watch see it: scripted to go bad, and cured by a rollback."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import FakeClock
from harness.judge.triggers import Reading
from harness.rollout.notify import Notice
from harness.rollout.watch import RolledBack, Watch, WatchState
from harness.rollout.witnesses import Source
from harness.scenario.rollout_file import load_plan_file, load_quantities
from harness.scenario.watch import Trigger, WatchRules, load_watch, slower_than, triggers_of

ROOT = Path(__file__).resolve().parents[2]
PLAN = ROOT / "scenarios" / "rollout" / "runbook.toml"
SCALE = 60.0


def rules_and_triggers(scale: float = SCALE, phase: str = "100") -> tuple[WatchRules, tuple[Trigger, ...]]:
    """The project's own, at the scale."""
    plan = load_plan_file(PLAN, load_quantities(PLAN.with_name("quantities.toml")))
    every, _ = triggers_of(plan, plan.phase(phase))
    rules = load_watch(ROOT / "scenarios" / "watch.toml").without_ramp().asked(every).at_scale(scale)
    return rules, tuple(trigger.at_scale(scale) for trigger in every)


@dataclass
class Service:
    """What happens to it between two instants (seconds on the fake clock); a rollback cures it."""

    slow: tuple[float, float] = (math.inf, math.inf)
    failing: tuple[float, float] = (math.inf, math.inf)
    full: tuple[float, float] = (math.inf, math.inf)
    crash_at: float = math.inf
    cured_at: float = math.inf
    blind: tuple[float, float] = (math.inf, math.inf)

    def bad(self, span: tuple[float, float], at: float) -> bool:
        return span[0] <= at < min(span[1], self.cured_at)


@dataclass
class Recalls(Source):
    """Witness recalls of the service: 20 a second, whatever the scale."""

    service: Service
    clock: FakeClock
    limits_ms: tuple[float, ...]
    name: str = "witness recalls"
    trouble: str = ""
    since: float = field(default=0.0)

    def read(self) -> Reading | None:
        now = self.clock.now()
        start, self.since = self.since or now, now
        at = np.arange(start, now, 0.05)
        if self.service.bad(self.service.blind, now) or len(at) == 0:
            self.trouble = "nothing answers"
            return None
        self.trouble = ""
        shares: dict[str, tuple[int, int]] = {}
        spans: dict[str, tuple[float, float]] = {}
        for key, span in [("error_rate", self.service.failing)] + [
            (slower_than(limit), self.service.slow) for limit in self.limits_ms
        ]:
            hit = np.array([self.service.bad(span, float(t)) for t in at])
            shares[key] = (int(hit.sum()), len(at))
            if hit.any():
                spans[key] = (float(at[hit][0]), float(at[hit][-1]))
        return Reading(self.name, start, now, shares, spans)


@dataclass
class Levels(Source):
    """The service's memory and restarts."""

    service: Service
    clock: FakeClock
    name: str = "the service's metrics"
    trouble: str = ""
    crashed: bool = False

    def read(self) -> Reading | None:
        now = self.clock.now()
        crash = not self.crashed and now >= self.service.crash_at
        self.crashed = self.crashed or crash
        memory = 0.95 if self.service.bad(self.service.full, now) else 0.5
        return Reading(self.name, now, now, levels={"crashes": float(crash), "memory_share": memory})


@dataclass
class Scene:
    """A watch over a service, with everything it did."""

    service: Service = field(default_factory=Service)
    scale: float = SCALE
    phase: str = "100"
    dry_run: bool = False
    works: Callable[[int], bool] = lambda tries: True
    facts: Mapping[str, float] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=lambda: FakeClock(1000.0))
    state: WatchState | None = None
    done: list[tuple[float, str]] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def watch(self) -> Watch:
        """A new watch, going on from the state of the one before."""
        self.rules, triggers = rules_and_triggers(self.scale, self.phase)
        self.state = self.state or WatchState("http://t", self.phase, self.clock.now(), "boot")
        sources = [Recalls(self.service, self.clock, self.rules.limits_ms), Levels(self.service, self.clock)]
        return Watch(
            self.rules,
            triggers,
            sources,
            self.state,
            act=self._act,
            tell=lambda notice, page, public: self.told.append(notice),
            say=self._say,
            clock=self.clock,
            facts=dict(self.facts),
            dry_run=self.dry_run,
        )

    def run(self, seconds: float, watch: Watch | None = None) -> Watch:
        """Let time pass, a look every evaluation."""
        watch = watch or self.watch()
        for _ in range(int(seconds / self.rules.evaluate_s)):
            self.clock.advance(self.rules.evaluate_s)
            watch.look()
        return watch

    def _act(self, trigger: Trigger) -> RolledBack:
        self.done.append((self.clock.now(), trigger.name.rpartition(".")[2]))
        good = self.works(len(self.done))
        if good:
            self.service.cured_at = self.clock.now()
        return RolledBack(good, "flags off" if good else "the flag API answered 500")

    def _say(self, event: str, /, text: str = "", **fields: Any) -> None:
        self.said.append(f"{event}: {text}")
