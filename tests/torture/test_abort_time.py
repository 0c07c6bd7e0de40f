"""A few aborts, one of each way of healing, and what the table makes of good and bad ones; all is ``make aborts``."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HealFailed
from harness.faults import injection
from harness.faults.global_latency import RecallLatency
from harness.faults.recipe import Recipe, apply
from tests.faults.family import Case
from tests.torture.abort_time import (
    IN_FORCE,
    IN_PLACE,
    NEVER,
    RESTART,
    UNSEEN,
    Abort,
    abort,
    aborts,
    classes,
    document,
    shortfalls,
    table,
)

PLACED = Abort("semantic_latency", IN_FORCE, IN_PLACE, 0.2, 0.25, 0.25, "")
STARTED = Abort("double_crash", UNSEEN, RESTART, 0.2, 0.3, 0.7, "")


def test_a_few_aborts_are_healed_and_leave_nothing(tmp_path: Path) -> None:
    found = list(aborts(3, 11, tmp_path, ("recall_latency", "bad_configuration")))
    assert [one.fault for one in found] == ["recall_latency", "bad_configuration", "bad_configuration"]
    assert [one.left for one in found] == [""] * 3
    went_in = [one for one in found if one.phase != NEVER]
    assert [one.how for one in went_in] == [
        RESTART if one.fault == "bad_configuration" else IN_PLACE for one in went_in
    ]
    assert all(0 <= one.begun_s <= one.undone_s <= one.healed_s for one in went_in)


def test_a_heal_that_fails_is_no_fault_that_did_not_go_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([HealFailed("the target takes no heal")])

    def refused_once(recipe: Recipe) -> str:
        for refusal in refusals:
            raise refusal
        return apply(recipe)

    monkeypatch.setattr(injection, "apply", refused_once)
    monkeypatch.setattr(injection, "_RETRY_S", 60.0)  # beyond the deadline: one try
    with Case(tmp_path) as case:
        found = abort(RecallLatency(40.0), case, 0.5)
        assert found.phase != NEVER
        assert found.healed_s == math.inf
        assert found.left.startswith("not healed: the target takes no heal")
        assert "HttpRecipe" in found.left, "it is still there"
        assert shortfalls([PLACED, found])[0].startswith("recall_latency left not healed")
        assert abort(RecallLatency(40.0), case, 0.5).left == "", "healed meanwhile, for the trials to come"


def test_the_start_of_the_target_is_told_apart() -> None:
    rows = table([PLACED, STARTED, replace(STARTED, fault="log_damage")]).splitlines()
    assert (
        rows[2]
        == "| semantic_latency | in place | 1 | 0 | 0 | 1 | 0 | 0.200 | 0.250 | 0.250 | - | 0.250 | 0.250 | 0.250 |"
    )
    assert rows[3].endswith(
        "| by a restart | 1 | 0 | 1 | 0 | 0 | 0.200 | 0.300 | 0.300 | 0.400 | 0.700 | 0.700 | 0.700 |"
    )
    assert [row.split(" | ")[0] for row in rows[5:]] == ["| **in place**", "| **by a restart**", "| **all**"]


def test_a_kind_that_was_ever_healed_by_a_restart_is_one_of_those() -> None:
    spared = replace(STARTED, how=IN_PLACE)
    assert classes([spared, STARTED, PLACED]) == {"double_crash": RESTART, "semantic_latency": IN_PLACE}


def test_what_is_late_or_left_or_never_went_in_falls_short() -> None:
    assert shortfalls([PLACED, STARTED]) == []
    late = replace(STARTED, healed_s=1.2)
    assert shortfalls([PLACED, late]) == ["all healed p99 1.20 s is above 1 s"]
    assert shortfalls([PLACED, replace(STARTED, left="a rule")]) == ["double_crash left a rule"]
    assert shortfalls([replace(PLACED, phase=NEVER)]) == ["no fault went in"]
    assert "Not as it must be: all healed p99 1.20 s" in document([late], 1, 1, 60.0, "Commit abc.")
    good = document([PLACED, STARTED], 2, 7, 60.0, "Commit abc.")
    assert "`make aborts TRIALS=2` (seed 7, 1 min, 30.0 s a trial). Commit abc." in good
    assert "nothing was left" in good
