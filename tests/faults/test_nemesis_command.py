"""``harness nemesis``: shows without doing, refuses what is not ours, and leaves nothing in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.jsonl import read_lines
from tests.faults.conftest import active


def test_a_dry_run_does_nothing(target: EmbeddedTarget, capsys: pytest.CaptureFixture[str], state_dir: Path) -> None:
    assert main(["nemesis", "dual_memory", "--dry-run", "--seconds", "20", "--target", target.base_url]) == 0
    said = capsys.readouterr().out
    assert "6 faults; nothing is done" in said
    assert said.count(target.base_url) == 6
    assert active(target) == []
    assert main(["nemesis", "dual_memory", "--dry-run", "--seconds", "20", "--json"]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [step["at_ms"] for step in steps] == sorted(step["at_ms"] for step in steps)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dual_memory"], "there is no target"),
        (["dual_memory", "--dry-run", "--seed", "many"], "not a number"),
        (["dual_memory", "--dry-run", "--seconds", "0"], "above 0"),
        (["crashes", "--dry-run", "--seconds", "1"], "no room"),
        (["no_such_plan", "--dry-run"], "cannot read"),
    ],
)
def test_unusable_input_is_exit_3(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nemesis", *arguments]) == 3
    assert says in capsys.readouterr().err


def test_a_target_nobody_claimed_is_left_alone(target: EmbeddedTarget, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nemesis", "dual_memory", "--target", target.base_url]) == 3
    assert "--i-own-this-target" in capsys.readouterr().err
    assert active(target) == []


def test_what_the_target_cannot_do_is_said_before_anything_goes_in(
    target: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nemesis", "crashes", "--target", target.base_url, "--i-own-this-target", "--seconds", "60"]
    assert main([*words, "--results-dir", str(tmp_path)]) == 3
    assert "restart" in capsys.readouterr().err
    (ledger,) = tmp_path.glob("*/nemesis/ledger.jsonl")
    assert ledger.read_text() == ""


def test_a_schedule_is_run_and_recorded(
    target: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nemesis", "dual_memory", "--target", target.base_url, "--i-own-this-target", "--seconds", "5"]
    code = main([*words, "--seed", "3", "--results-dir", str(tmp_path)])
    said = capsys.readouterr().out
    assert active(target) == []
    assert "all healed" in said
    assert code in (0, 1), "1 where a busy machine hid an effect"
    (ledger,) = tmp_path.glob("*/nemesis/ledger.jsonl")
    entries = [line["entry"] for line in read_lines(ledger)]
    assert entries.count("intent") == entries.count("healed") >= 1
