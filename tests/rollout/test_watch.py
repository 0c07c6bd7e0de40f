"""The watch on a fake clock: rolls back when it must, never when it must not, and survives what it must survive."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RecordError, RecordTooNew, UsageError
from harness.judge.triggers import Reading, TriggerJudge
from harness.rollout.notify import Notice, Notifier, pagerduty, slack, status_page
from harness.rollout.watch import WatchState, load_state
from harness.scenario.watch import AUTOMATED, slower_than
from tests.rollout.watched import SCALE, Scene, Service, rules_and_triggers

RECORDED = Path(__file__).parent / "healthy_looks.json"
# What goes bad, and the window (s of full scale) of the trigger that is for it.
BAD = {
    "auto_latency": ("slow", 900.0),
    "auto_errors": ("failing", 600.0),
    "auto_memory": ("full", 0.0),
}


@pytest.mark.parametrize("trigger", BAD)
@pytest.mark.parametrize("begin", [1010.0, 1010.21, 1010.49])
def test_rolls_back_within_one_look_after_the_window(trigger: str, begin: float) -> None:
    what, window_s = BAD[trigger]
    scene = Scene(Service(**{what: (begin, math.inf)}))
    scene.run(60.0)
    assert len(scene.done) == 1
    at, name = scene.done[0]
    assert name == trigger
    assert begin + window_s / SCALE <= at <= begin + window_s / SCALE + scene.rules.evaluate_s + 0.1
    assert any("Rollback Initiated" in notice.headline for notice in scene.told)


@pytest.mark.parametrize("trigger", ["auto_latency", "auto_errors"])
@pytest.mark.parametrize("begin", np.linspace(1010.0, 1010.5, 6))
def test_never_rolls_back_for_a_shorter_breach(trigger: str, begin: float) -> None:
    what, window_s = BAD[trigger]
    scene = Scene(Service(**{what: (begin, begin + window_s / SCALE - 0.1)}))
    scene.run(90.0)
    assert scene.done == []
    assert not any(notice.kind == AUTOMATED for notice in scene.told)


def test_a_crash_rolls_back_at_the_next_look() -> None:
    scene = Scene(Service(crash_at=1010.2))
    scene.run(30.0)
    assert [name for _, name in scene.done] == ["auto_crash"]
    assert scene.done[0][0] <= 1010.2 + scene.rules.evaluate_s


def test_manual_and_strategic_triggers_tell_and_do_nothing() -> None:
    facts = {"manual_pages": 6.0, "manual_reports": 3.0, "strategic_cost": 0.6}
    scene = Scene(Service(), facts=facts)
    scene.run(10.0)
    assert scene.done == []
    assert {notice.trigger.rpartition(".")[2] for notice in scene.told} == {"manual_pages", "strategic_cost"}
    assert all("decide" in notice.headline for notice in scene.told)


def test_a_manual_breach_climbs_the_levels_of_escalation() -> None:
    # Slow beyond 15 ms but not 20 is what only the on-call may decide: said at 30 minutes, level 3 by then.
    scene = Scene(Service(), phase="100")
    watch = scene.watch()
    judge_ms = slower_than(15.0)
    for source in watch._sources:
        if source.name == "witness recalls":
            source.limits_ms = (15.0,)  # type: ignore[attr-defined]
    scene.service.slow = (1005.0, math.inf)
    scene.run(60.0, watch)
    assert judge_ms in {slower_than(ms) for ms in scene.rules.limits_ms}
    assert [n.level for n in scene.told if n.trigger.endswith("manual_latency")] == ["Level 3"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing() -> None:
    scene = Scene(Service(failing=(1010.0, math.inf)), dry_run=True)
    scene.run(60.0)
    assert scene.done == []
    assert sum("would roll back now" in said for said in scene.said) == 1


def test_a_rollback_that_fails_is_tried_again_until_it_is_done_and_only_then_over() -> None:
    scene = Scene(Service(failing=(1010.0, math.inf)), works=lambda tries: tries >= 3)
    watch = scene.run(60.0)
    assert len(scene.done) == 3
    assert watch.state.rollback["status"] == "done"
    assert watch.state.rollback["tries"] == 3
    assert sum("NOT DONE" in said for said in scene.said) == 2


def test_a_rollback_that_does_not_cure_is_told() -> None:
    scene = Scene(Service(failing=(1010.0, math.inf)))
    watch = scene.watch()
    scene.run(25.0, watch)
    assert len(scene.done) == 1
    scene.service.cured_at = math.inf
    scene.service.failing = (scene.clock.now(), math.inf)
    scene.run(25.0, watch)
    assert len(scene.done) == 1
    assert any("has not cured it" in notice.action for notice in scene.told)


def test_a_watch_that_is_started_again_goes_on_counting_and_finishes_what_was_begun() -> None:
    scene = Scene(Service(failing=(1010.0, math.inf)))
    scene.run(15.0)
    assert scene.done == []
    watch = scene.run(20.0)  # another watch, from the state of the first
    assert len(scene.done) == 1
    assert scene.done[0][0] <= 1020.0 + 2 * scene.rules.evaluate_s
    watch.state.rollback["status"] = "begun"  # killed half-way
    scene.watch()
    assert len(scene.done) == 2
    assert any("carried out again" in said for said in scene.said)


def test_a_blind_witness_is_said_and_is_no_health() -> None:
    scene = Scene(Service(blind=(1010.0, 1030.0)))
    watch = scene.run(60.0)
    assert scene.done == []
    assert 2 <= sum("that is no health" in said for said in scene.said) <= 3
    assert any("seen again" in said for said in scene.said)
    assert watch.state.unseen["witness recalls"] == 0
    assert watch.state.blind["witness recalls"] in (40, 41)  # what was not seen does not become seen later


def test_no_rollback_in_two_hundred_healthy_hours() -> None:
    """Looks of a healthy reference, recorded; drawn again in stretches of ten minutes, so that bad moments stay."""
    recorded = json.loads(RECORDED.read_text())
    looks, seen = recorded["looks"], recorded["every_s"]
    _, triggers = rules_and_triggers(1.0)
    judge = TriggerJudge((t for t in triggers if t.level == AUTOMATED and not t.attested), min_coverage=0.8)
    rng = np.random.default_rng(20)
    stretch = max(1, round(600.0 / seen))
    at, hours = 0.0, 0
    while at < 200 * 3600.0:
        first = int(rng.integers(0, len(looks) - stretch))
        for look in looks[first : first + stretch]:
            shares = {key: tuple(value) for key, value in look["shares"].items()}
            met = judge.look(Reading("recorded", at, at + seen, shares, levels=look["levels"]))
            assert met == [], met[0].evidence
            at += seen
        hours += 1
    assert hours > 1000
    assert max(look["shares"][slower_than(20.0)][0] for look in looks) > 0  # it was not too good to be true


def test_recorded_looks_would_roll_back_if_they_were_worse() -> None:
    """The same looks with a twentieth of the recalls slow: what passes above can fail."""
    recorded = json.loads(RECORDED.read_text())
    _, triggers = rules_and_triggers(1.0)
    judge = TriggerJudge(t for t in triggers if t.level == AUTOMATED and not t.attested)
    key, seen, met = slower_than(20.0), recorded["every_s"], []
    for number, look in enumerate(recorded["looks"]):
        hits, trials = look["shares"][key]
        worse = {key: (min(trials, hits + math.ceil(trials / 10)), trials)}
        met += judge.look(Reading("recorded", number * seen, (number + 1) * seen, worse))
    assert {m.trigger.name.rpartition(".")[2] for m in met} >= {"auto_latency"}


def test_state_is_written_whole_and_only_its_own_watch_goes_on_from_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = WatchState("http://a", "25", 5.0, "boot", looks=3, told={"x": "Level 1"})
    state.save(path)
    kept = load_state(path, "http://a", "25", 100.0)
    assert kept.looks == 3
    assert kept.told == {"x": "Level 1"}
    assert kept.begun == 100.0  # of another boot: its instants mean nothing
    with pytest.raises(UsageError, match="another --state"):
        load_state(path, "http://a", "50", 100.0)
    path.write_text('{"schema": 99}')
    with pytest.raises(RecordTooNew):
        load_state(path, "http://a", "25", 100.0)
    path.write_text('{"schema": 1, "target": 3}')
    with pytest.raises(RecordError):
        load_state(path, "http://a", "25", 100.0)


def _notice(**changes: str) -> Notice:
    names = ("trigger", "kind", "headline", "phase", "reason", "evidence", "action", "eta", "level", "who", "target")
    values = dict.fromkeys((*names, "started", "now"), "said")
    return Notice(**{**values, "kind": "automated", "reason": 'so "quoted"', **changes})


def test_templates_give_payloads_that_are_json_and_a_status_page() -> None:
    notice = _notice()
    assert 'so "quoted"' in slack(notice)["blocks"][0]["text"]["text"]
    assert pagerduty(notice)["payload"]["severity"] == "critical"
    assert "**Status:** Identified" in status_page(notice)
    assert "_____" in status_page(_notice(evidence=""))


def test_a_failing_webhook_is_said_without_its_address() -> None:
    said: list[str] = []
    secret = "http://127.0.0.1:1/services/T0/B0/very-secret"
    notifier = Notifier(
        said.append, environment={"SLACK_WEBHOOK_URL": secret, "PAGERDUTY_ROUTING_KEY": "pd-secret-key"}
    )
    notifier._pagerduty = "http://127.0.0.1:1/enqueue"
    went = notifier.tell(_notice(), page=True, public=False)
    assert went == ["Slack: failed", "PagerDuty: failed"]
    assert "secret" not in " ".join(said)
    printed: list[str] = []
    Notifier(printed.append, environment={}).tell(_notice(), page=True, public=True)
    assert any("SLACK_WEBHOOK_URL is not set" in line for line in printed)
    assert any("status page" in line for line in printed)
