"""The watch as a process, over a real reference that goes bad at a scripted moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rollout.watched_live import LATE_S, LOOK_S, SCENES, Scene, filling, reference, short_then_long, watching

SCALE = 180.0  # `make watches` goes through the same scenes at 60


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_rolls_back_once_the_window_has_passed_and_never_for_less(scene: Scene, tmp_path: Path) -> None:
    window_s, look_s = scene.window_s / SCALE, LOOK_S / SCALE
    short_s, seen = short_then_long(scene, tmp_path, SCALE)
    assert short_s < window_s <= seen.lasted_s
    assert window_s <= seen.after_s <= window_s + look_s + LATE_S
    assert seen.exit_code == 1
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["rollback"]["trigger"].endswith(scene.trigger)
    assert list(state["met"]) == [state["rollback"]["trigger"]]


def test_memory_beyond_its_bound_rolls_back_at_the_next_look_and_none_below(tmp_path: Path) -> None:
    last, seen = filling(tmp_path, 60.0)
    assert 0.5 < last <= 0.9  # it grew before our eyes, and nothing was done
    assert seen.after_s <= LOOK_S / 60.0 + LATE_S
    assert seen.exit_code == 1


def test_a_crash_is_seen_and_a_missing_prometheus_is_said(tmp_path: Path) -> None:
    words = ("--i-own-this-target", "--prometheus-url", "http://127.0.0.1:1")
    with (
        reference(tmp_path) as target,
        watching(tmp_path, target.base_url, *words) as watch,
        target.client() as client,
    ):
        assert "Prometheus: not seen" in watch.wait_for("unseen")["text"]
        target.restart(kill=True)
        assert watch.wait_for("trigger")["met"]["trigger"].endswith("auto_crash")
        watch.wait_for("rollback")
        assert client.features()["blended_recall"] is False
        assert watch.end() == 1
