"""The panel's quantities: the same answers are none of their business; lost, reordered and drifted ones are."""

from __future__ import annotations

from typing import Any

import pytest

from harness.judge.checks import Check, answer
from harness.judge.summary import CaseSummary
from harness.model import Verdict
from harness.timeline.record import CaseRecord
from harness.timeline.samples import empty_samples

IDS = [f"panel-{number:03d}" for number in range(8)]
SCORES = [1.0 - 0.1 * number for number in range(8)]
EVENTS = {"baseline_started": 0.0, "baseline_ended": 10.0, "fault_in_force": 10.0, "heal_sent": 20.0}


def reading(at: float, ids: list[str], scores: list[float], damaged: tuple[str, ...] = ()) -> dict[str, Any]:
    answers, beside = [ids, IDS, IDS], [scores, SCORES, SCORES]
    return {
        "asked": at,
        "t": at + 0.1,
        "ok": True,
        "answers": answers,
        "scores": beside,
        "read": 20,
        "damaged": list(damaged),
    }


def verdict(quantity: str, op: str, bound: float, *, during: dict[str, Any] | None) -> Verdict:
    """``during`` replaces the readings while dual memory is on; None: the panel was not asked then."""
    before = [reading(float(second), IDS, SCORES) for second in range(1, 9)]
    after = [] if during is None else [{**during, "asked": s, "t": s + 0.1} for s in (11.0, 13.0, 15.0, 17.0)]
    events = tuple({"event": name, "t": at} for name, at in EVENTS.items())
    record = CaseRecord("case", {}, events, empty_samples(), {"panel": (*before, *after)})
    return answer(CaseSummary(record), Check("during", quantity, {}, op, bound, "", "")).verdict


SAME = reading(0.0, IDS, SCORES)
SWAPPED = reading(0.0, [IDS[1], IDS[0], *IDS[2:]], [SCORES[1], SCORES[0], *SCORES[2:]])
SHORTER = reading(0.0, IDS[:4], SCORES[:4])
FAINTER = reading(0.0, IDS, [0.5 * score for score in SCORES])
DAMAGED = reading(0.0, IDS, SCORES, ("panel-017",))


@pytest.mark.parametrize(
    ("quantity", "op", "bound", "during", "wanted"),
    [
        ("panel_memories_damaged", "==", 0, SAME, Verdict.PASS),
        ("panel_memories_damaged", "==", 0, DAMAGED, Verdict.FAIL),
        ("panel_memories_damaged", "==", 0, None, Verdict.INCONCLUSIVE),
        ("panel_orders_changed", "==", 0, SAME, Verdict.PASS),
        ("panel_orders_changed", "==", 0, SWAPPED, Verdict.FAIL),
        ("panel_orders_changed", "==", 0, None, Verdict.INCONCLUSIVE),
        ("panel_deviation", "<=", 0.05, SAME, Verdict.PASS),
        ("panel_deviation", "<=", 0.05, SWAPPED, Verdict.PASS),
        ("panel_deviation", "<=", 0.0001, SHORTER, Verdict.INCONCLUSIVE),
        ("panel_deviation", "<=", 0.05, None, Verdict.INCONCLUSIVE),
    ],
)
def test_what_the_panel_says(quantity: str, op: str, bound: float, during: dict[str, Any], wanted: Verdict) -> None:
    assert verdict(quantity, op, bound, during=during) is wanted


@pytest.mark.parametrize("bad", [SHORTER, FAINTER])
def test_answers_that_are_far_off_are_beyond_five_percent(bad: dict[str, Any]) -> None:
    every = {**bad, "answers": [bad["answers"][0]] * 3, "scores": [bad["scores"][0]] * 3}
    assert verdict("panel_deviation", "<=", 0.05, during=every) is Verdict.FAIL
