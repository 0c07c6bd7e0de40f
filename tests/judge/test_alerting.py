"""An alert's times: exact where it was seen, open where it never came, unknown where nobody looked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.judge import alerting
from harness.judge.view import CaseView
from harness.model import Window
from harness.timeline.record import CaseRecord
from harness.timeline.samples import empty_samples

NAME = "EngramDown"
EVENTS = (("inject_acked", 10.0), ("heal_sent", 20.0), ("heal_acked", 20.1))


def view(states: str, *, events: tuple[tuple[str, float], ...] = EVENTS, name: str = NAME) -> CaseView:
    """A letter per second from 0 on: i(nactive), p(ending), f(iring), x (Prometheus did not answer)."""
    words: dict[str, dict[str, str]] = {"i": {}, "p": {NAME: "pending"}, "f": {NAME: "firing"}}
    readings: list[dict[str, Any]] = [
        {"asked": t + 0.0, "t": t + 0.1, "ok": state != "x", **({"states": words[state]} if state != "x" else {})}
        for t, state in enumerate(states)
    ]
    return CaseView(
        CaseRecord(
            name="case",
            manifest={"alert": {"name": name, "fires_s": 5.0}},
            events=tuple({"event": event, "t": t} for event, t in events),
            samples=empty_samples(),
            streams={"alerts": tuple(readings)},
        )
    )


def test_pending_firing_resolved() -> None:
    seen = view("i" * 12 + "p" * 3 + "f" * 8 + "i" * 5)
    pending, firing, resolved = (alerting.alert_time(seen, step) for step in alerting.STEPS)
    assert (pending.interval.low, pending.value) == pytest.approx((1.0, 2.1))
    assert (firing.interval.low, firing.value) == pytest.approx((4.0, 5.1))
    assert (resolved.interval.low, resolved.value) == pytest.approx((1.9, 3.0))


def test_what_never_came_is_open_above() -> None:
    never = alerting.alert_time(view("i" * 30), "firing")
    assert never.interval.high == math.inf
    assert never.interval.low == pytest.approx(19.0)
    assert "was not firing" in never.note
    stuck = alerting.alert_time(view("i" * 12 + "f" * 18), "resolved")
    assert stuck.interval.high == math.inf


def test_an_alert_that_comes_back_was_not_resolved() -> None:
    again = alerting.alert_time(view("i" * 12 + "f" * 10 + "i" * 3 + "f" + "i" * 4), "resolved")
    assert again.interval.low >= 4.0


def test_no_answer_is_no_state() -> None:
    assert not alerting.alert_time(view("x" * 30), "firing").known
    assert not alerting.active_ratio(view("x" * 30), Window("baseline", 0.0, 9.0)).known
    dark = alerting.alert_time(view("i" * 11 + "x" * 6 + "f" * 13), "firing")
    assert dark.interval.low == pytest.approx(0.0)  # it may have fired at any moment of the silence
    assert dark.value == pytest.approx(7.1)


def test_resolved_needs_that_it_fired_and_was_healed() -> None:
    assert not alerting.alert_time(view("i" * 30), "resolved").known
    assert not alerting.alert_time(view("i" * 12 + "f" * 18, events=EVENTS[:1]), "resolved").known
    assert not alerting.alert_time(view("f" * 30), "exploded").known


def test_another_alert_is_not_this_one() -> None:
    assert alerting.alert_time(view("i" * 12 + "f" * 18, name="Other"), "firing").interval.high == math.inf


def test_active_in_a_window() -> None:
    seen = view("i" * 5 + "p" * 5 + "i" * 20)
    assert alerting.active_ratio(seen, Window("baseline", 0.0, 10.0)).value == pytest.approx(0.5)
    assert alerting.active_ratio(seen, Window("after", 20.0, 29.0)).value == 0.0
    assert alerting.as_json(view("i" * 12 + "f" * 8 + "i" * 9))["time_s"]["firing"] == pytest.approx(2.1)
    assert alerting.as_json(view("i" * 30))["time_s"]["firing"] is None
