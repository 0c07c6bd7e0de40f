"""When a rollback becomes due: how long the trigger takes to be met by a load that is slow from the first moment on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.clock import FakeClock
from harness.faults.remedy import TRIGGER_PATIENCE, RemedyPlan, RemedyStage
from harness.histogram import Histogram
from harness.rollout.rollback import ImmediateRollback
from harness.scenario.rollout_file import load_plan_file, load_quantities
from harness.scenario.slo import load_objectives
from harness.scenario.watch import Trigger, load_watch, triggers_of

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
PLAN = SCENARIOS / "rollout" / "runbook.toml"
LOOKS = 4  # as the comment of trigger_s in slo.toml derives it
SCALES = (1.0, 10.0, 30.0, 60.0)


def auto_latency() -> Trigger:
    plan = load_plan_file(PLAN, load_quantities(PLAN.with_name("quantities.toml")))
    return next(trigger for trigger in triggers_of(plan, None)[0] if trigger.called("auto_latency"))


EVALUATE_S = load_watch(SCENARIOS / "watch.toml").evaluate_s


@dataclass
class Seen:
    """What a load has seen by ``t``: a hundred recalls a second."""

    t: float
    took_s: float
    elapsed_s: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> int:
        return self.recall_latency.count

    @property
    def recall_latency(self) -> Histogram:
        return Histogram.of_seconds([self.took_s] * round(self.elapsed_s * 100))

    def since(self, earlier: Seen) -> Seen:
        return Seen(self.t, self.took_s, self.t - earlier.t)


@dataclass
class Load:
    """A load whose figures are up to ``lag_s`` old, by turns."""

    clock: FakeClock
    took_s: float
    lags: tuple[float, ...] = (0.0,)
    asked: int = 0

    def live(self) -> Seen:
        self.asked += 1
        return Seen(self.clock.now() - self.lags[self.asked % len(self.lags)], self.took_s)


def waited(took_s: float, scale: float, late_s: float, lags: tuple[float, ...]) -> tuple[bool, float, list[str]]:
    """Whether the trigger was met, after how long, and the events; every look comes ``late_s`` late."""
    clock, events = FakeClock(), []

    def record(event: str, /, **fields: Any) -> None:
        del fields
        events.append(event)

    def wait(seconds: float, what: str) -> None:
        del what
        clock.advance(seconds + late_s)

    plan = RemedyPlan(ImmediateRollback(), auto_latency().at_scale(scale), EVALUATE_S / scale)
    load: Any = Load(clock, took_s, lags)
    stage = RemedyStage(plan, None, load, record, limit_s=1.0, clock=clock)  # type: ignore[arg-type]
    begun = clock.now()
    return stage.wait_until_due(0.0, wait), clock.now() - begun, events


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("lags", [(0.0,), (0.0, 0.1), (0.1, 0.0, 0.05)])
@pytest.mark.parametrize("late_s", [0.0, 1e-6, 0.003, 0.015])
def test_a_breach_from_the_start_is_proven_within_three_looks_of_its_window(
    scale: float, lags: tuple[float, ...], late_s: float
) -> None:
    window_s, look_s = auto_latency().for_s / scale, EVALUATE_S / scale
    met, took_s, events = waited(0.032, scale, late_s, lags)
    assert met
    assert events == ["trigger_met"]
    assert window_s < took_s <= window_s + 3 * (look_s + late_s) + max(lags)


def test_the_bound_of_the_drill_is_the_plans_window_and_four_looks() -> None:
    limit = load_objectives(SCENARIOS / "slo.toml").limits["trigger_s"]
    assert limit.scaled
    assert limit.value == auto_latency().for_s + LOOKS * EVALUATE_S


def test_recalls_below_the_bound_never_make_it_due() -> None:
    met, took_s, events = waited(0.018, 60.0, 0.001, (0.0,))
    assert not met
    assert events == ["trigger_not_met"]
    assert took_s >= TRIGGER_PATIENCE * auto_latency().for_s / 60.0
