"""A composed fault: evidence of every part, by its own observer and by its effect; the effect signal of one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.judge.effects import effect_signal, evidence
from harness.judge.view import CaseView
from tests.cases import build

SLOW = {"kind": "semantic_latency", "latency_ms": 50.0}


def view(steps: list[dict[str, Any]], seen: list[int]) -> CaseView:
    record = build().record
    fault = {"kind": "composition", "name": "parallel", "steps": steps}
    parts = tuple({"t": 1.0, "event": "part_effective_observed", "part": n, "evidence": "seen"} for n in seen)
    return CaseView(replace(record, manifest={**record.manifest, "fault": fault}, events=(*record.events, *parts)))


def test_every_part_must_be_seen() -> None:
    steps: list[dict[str, Any]] = [{"fault": SLOW}, {"fault": {"kind": "flag_flapping"}, "at_ms": 100, "hold_ms": 100}]
    assert all(piece.seen for piece in evidence(view(steps, [0, 1])))
    (missing,) = evidence(view(steps, [0]))
    assert missing.seen is False
    assert "part 1: flag_flapping" in missing.detail


def test_a_part_in_force_throughout_must_show_in_its_effect() -> None:
    strong = {"fault": {"kind": "binding_corruption", "corruption_rate": 0.5}}
    (missing,) = evidence(view([strong], [0]))
    assert missing.seen is False
    assert "by its effect" in missing.detail


@pytest.mark.parametrize(("step", "has"), [({"fault": SLOW}, True), ({"fault": SLOW, "hold_ms": 100}, False)])
def test_the_effect_signal_is_that_of_a_part_in_force_throughout(step: dict[str, Any], has: bool) -> None:
    signal = effect_signal(view([step], [0]))
    assert (signal is not None) is has
