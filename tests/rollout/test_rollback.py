"""The ways back by hand: verified, harmless twice, and honest about a half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.clock import FakeClock
from harness.commands.rollout_watch import actor
from harness.targets.attached import AttachedTarget
from harness.targets.embedded import EmbeddedTarget
from tests.reference.server import VECTORS
from tests.rollout.stub import Answer, Engram, serving
from tests.rollout.watched import rules_and_triggers

CONFIG = "[features]\nblended_recall = true\nfan_effect = true\n[consolidation]\ninterval_seconds = 0.05\n"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("ENGRAM_API_KEY", raising=False)


@pytest.fixture(scope="module")
def engram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTarget]:
    """A reference with memories, blended for half of the users."""
    with EmbeddedTarget(tmp_path_factory.mktemp("engram"), config_text=CONFIG, start_timeout_s=60.0) as target:
        with target.client() as client:
            for number, vector in enumerate(VECTORS):
                client.remember(f"witness note {number}", memory_id=f"m{number}", embedding=vector)
        yield target


@pytest.fixture
def running(engram: EmbeddedTarget) -> EmbeddedTarget:
    """The same, with its first flags."""
    with engram.client() as client:
        client.set_features(
            dual_memory_types=True, blended_recall=True, fan_effect=True, monitoring=True, cohort_sampling_rate=0.5
        )
    return engram


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def back(capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str, *words: str) -> tuple[int, dict[str, Any], str]:
    extra = ["--target", url, "--i-own-this-target", "--results-dir", str(tmp_path / "results"), "--json"]
    code, out, err = command(capsys, "rollout", *words, *extra)
    return code, json.loads(out) if out else {}, err


def flags(target: EmbeddedTarget) -> dict[str, Any]:
    with target.client() as client:
        return client.features()


def held(target: EmbeddedTarget) -> tuple[dict[str, Any], list[Any]]:
    """All that a rollback could leave in half: flags and memories."""
    with target.client() as client:
        return client.features(), json.loads(client.export())["memories"]


def test_immediate_is_seen_and_harmless_twice(
    running: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        code, said, _ = back(capsys, tmp_path, running.base_url, "rollback", "immediate")
        assert (code, said["done"]) == (0, True)
        assert "0 of 40 witness recalls are blended" in said["steps"][-1]["evidence"]
    assert flags(running)["blended_recall"] is False
    assert flags(running)["fan_effect"] is False
    recorded = sorted((tmp_path / "results").glob("*/rollback/timeline.jsonl"))
    assert len(recorded) == 2
    assert "rollback_observed" in recorded[0].read_text()


def test_ramp_and_partial_are_seen_in_the_split(
    running: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, rate in ((("ramp", "0.25"), 0.25), (("rollback", "partial", "0.05"), 0.05)):
        code, said, _ = back(capsys, tmp_path, running.base_url, *words, "--within", "5")
        assert code == 0, said
        assert "[" in said["steps"][-1]["evidence"]
        assert flags(running)["cohort_sampling_rate"] == rate


def test_data_comes_back_as_backed_up(
    running: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "backup.json"
    code, out, _ = command(capsys, "rollout", "backup", "--target", running.base_url, "--output", str(file), "--json")
    assert (code, json.loads(out)["memories"]) == (0, len(VECTORS))
    with running.client() as client:
        client.delete("m0")
        client.remember("not what it was", memory_id="m1")
        client.chaos_binding_corrupt(0.5)
    for _ in range(2):
        code, said, _ = back(capsys, tmp_path, running.base_url, "rollback", "data", "--backup", str(file))
        assert code == 0, said
    kept = sorted((tmp_path / "results").glob("*/rollback/before.json"))
    contents = {m["id"]: m["content"] for m in json.loads(kept[0].read_text())["memories"]}
    assert contents["m1"] == "not what it was"  # what the first of the two undid is not gone for good
    assert "m0" not in contents
    with running.client() as client:
        found = client.memory("m1")
        assert found is not None and found["content"] == "witness note 1"
        assert client.memory("m0") is not None
        client.chaos_binding_restore()
    assert flags(running)["dual_memory_types"] is False


NO_BACKUPS = {
    "version": ('{"version": 2, "memories": []}', "the backup is of version 2, and this harness reads 1"),
    "nothing": ("", "this is no backup"),
    "json": ("[1]", "this is no backup"),
    "missing": (None, "the backup cannot be read: No such file or directory"),
}


@pytest.mark.parametrize("how", NO_BACKUPS)
def test_what_is_no_backup_changes_nothing(
    running: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    file = tmp_path / "backup.json"
    text, said = NO_BACKUPS[how]
    if text is not None:
        file.write_text(text)
    before = held(running)
    code, _, err = back(capsys, tmp_path, running.base_url, "rollback", "data", "--backup", str(file))
    assert code == 3
    assert f"{file}: {said}" in err
    assert held(running) == before
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "other"}, "the backup is of kind"),
        ({"count": 1}, "as many memories"),
        ({"memories": []}, "as many memories"),
    ],
)
def test_a_backup_that_the_service_refuses_changes_nothing_and_says_so(
    running: EmbeddedTarget,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    said: str,
) -> None:
    file = tmp_path / "backup.json"
    command(capsys, "rollout", "backup", "--target", running.base_url, "--output", str(file))
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    before = held(running)
    code, found, _ = back(capsys, tmp_path, running.base_url, "rollback", "data", "--backup", str(file))
    assert code == 1
    assert said in found["steps"][-1]["why"]
    assert held(running) == before


def test_nothing_is_done_to_a_target_that_is_not_claimed(
    running: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = flags(running)
    for words in (
        ("rollout", "rollback", "immediate"),
        ("rollout", "ramp", "0.1"),
        ("rollout", "watch"),
        ("flags", "set", "blended_recall", "false"),
    ):
        code, _, err = command(capsys, *words, "--target", running.base_url)
        assert (code, "--i-own-this-target" in err) == (3, True)
    assert flags(running) == before


def test_flags_are_set_read_back_and_seen(running: EmbeddedTarget, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--target", running.base_url)
    code, out, _ = command(
        capsys, "flags", "set", "blended_recall", "false", *where, "--i-own-this-target", "--watch", "0.5", "--json"
    )
    said = json.loads(out)
    assert (code, said["effect"]["state"], said["before"]) == (0, "seen", True)
    assert said["p99"][0]["recalls"] > 0
    code, out, _ = command(capsys, "flags", "get", "blended_recall", *where, "--json")
    assert (code, json.loads(out)) == (0, {"blended_recall": False})
    for words in (("set", "nonsense", "true"), ("set", "cohort_sampling_rate", "true"), ("get", "nonsense")):
        claim = ["--i-own-this-target"] if words[0] == "set" else []
        assert command(capsys, "flags", *words, *where, *claim)[0] == 3


# what no healthy service does


def half(engram: Engram, changes: dict[str, Any]) -> Answer:
    """Takes the first flag and dies over the second."""
    name = next(iter(changes))
    engram.flags[name] = changes[name]
    return 500, {"error": {"code": "internal", "message": "half-way"}}


def test_a_flag_api_that_answers_500_half_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engram = Engram()
    engram.post = half
    with serving(engram) as url:
        code, said, _ = back(capsys, tmp_path, url, "rollback", "immediate", "--within", "0")
    assert code == 1
    why = said["steps"][-1]["why"]
    assert "done: blended_recall = false" in why
    assert "not done: fan_effect = true (wanted false)" in why
    assert "500" in why
    assert len(engram.posts) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("flags", "set", "blended_recall", "false"),
        ("rollout", "ramp", "0.1"),
        ("rollout", "rollback", "partial", "0.1"),
    ],
)
def test_a_flag_api_that_takes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    engram = Engram()
    engram.post = lambda self, changes: (500, {"error": {"code": "internal", "message": "out of order"}})
    before = dict(engram.flags)
    with serving(engram) as url:
        code, out, err = command(capsys, *words, "--target", url, "--i-own-this-target")
        assert code == 1
        assert "not done: " in out + err
        assert "the flag API answered: " in out + err and "500" in out + err
        assert engram.flags == before
        engram.post = Engram.obey
        assert command(capsys, "rollout", "rollback", "immediate", "--target", url, "--i-own-this-target")[0] == 0
    assert engram.flags["fan_effect"] is False  # nothing that the first left behind was in its way


def test_a_watch_whose_rollback_ends_half_way_says_which_half_and_goes_on(tmp_path: Path) -> None:
    engram = Engram()
    engram.post = half
    said: list[str] = []
    clock = FakeClock()
    rules, triggers = rules_and_triggers()
    errors = next(trigger for trigger in triggers if trigger.name.endswith("auto_errors"))
    with serving(engram) as url:
        target = AttachedTarget(url, claimed=True)
        act = actor(target, None, rules, clock, lambda event, /, **fields: said.append(event))
        found = act(errors)
        assert not found.done
        assert "done: blended_recall = false; not done: fan_effect = true (wanted false)" in found.what
        assert said[-1] == "rollback_failed"
        engram.post = Engram.obey  # it is tried again at the next look, whole
        assert act(errors).done
    assert (engram.flags["blended_recall"], engram.flags["fan_effect"]) == (False, False)


def test_a_500_that_comes_after_the_change_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def late(engram: Engram, changes: dict[str, Any]) -> Answer:
        engram.flags.update(changes)
        return 500, {}

    engram = Engram()
    engram.post = late
    with serving(engram) as url:
        code, said, _ = back(capsys, tmp_path, url, "rollback", "immediate")
    assert (code, said["done"]) == (0, True)


def test_flags_that_are_shown_and_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engram = Engram()
    engram.metadata = lambda self, user: {"cohort": "canary", "pathway": "blended"}
    with serving(engram) as url:
        code, said, _ = back(capsys, tmp_path, url, "rollback", "immediate", "--within", "0.2")
        assert code == 1
        assert "40 of 40 witness recalls are still answered by the blended pathway" in said["steps"][-1]["evidence"]
        claim = ("--i-own-this-target", "--watch", "0", "--within", "0.2")
        code, _, err = command(capsys, "flags", "set", "blended_recall", "false", "--target", url, *claim)
        assert (code, "not seen to act" in err) == (1, True)


def test_a_replica_that_was_not_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = iter(range(10**6))
    engram = Engram()
    engram.metadata = lambda self, user: {
        "cohort": "canary",
        "pathway": "blended" if next(asked) % 5 == 0 else "episodic",
    }
    with serving(engram) as url:
        code, said, _ = back(capsys, tmp_path, url, "rollback", "immediate", "--within", "0.2")
    assert code == 1
    assert "8 of 40" in said["steps"][-1]["evidence"]


def test_a_split_that_is_not_the_one_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engram = Engram()  # says canary to everybody
    with serving(engram) as url:
        code, said, _ = back(capsys, tmp_path, url, "ramp", "0.25", "--within", "0")
    assert code == 1
    assert "asked for 25.0%" in said["steps"][-1]["evidence"]


def test_what_cannot_be_seen_is_undecided_or_unsupported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engram = Engram()
    engram.metadata = lambda self, user: {"cohort": None, "pathway": None}
    with serving(engram) as url:
        code, _, err = back(capsys, tmp_path, url, "rollback", "immediate")
    assert (code, "recall.metadata" in err) == (3, True)
    assert engram.flags["blended_recall"] is True


def test_bad_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("ramp", "1.5"), ("ramp", "nan"), ("rollback", "immediate", "--within", "-1")):
        assert back(capsys, tmp_path, "http://127.0.0.1:1", *words)[0] == 3


def test_full_needs_the_milestone_to_change(
    running: EmbeddedTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = running.base_url
    code, said, _ = back(capsys, tmp_path, url, "rollback", "full", "--by", "true", "--within", "0.2")
    assert code == 1
    assert "milestone 17, not 16" in said["steps"][-1]["evidence"]
    code, said, _ = back(capsys, tmp_path, url, "rollback", "full", "--by", "false")
    assert code == 1
    assert "exited with 1" in said["steps"][-1]["why"]
