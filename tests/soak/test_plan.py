"""What a soak is asked to do: durations, profiles, scenarios, fault schedules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import ConfigError, HarnessError, UsageError
from harness.scenario.soak import load_soak, soak_from_json
from harness.soak.plan import make_plan, parse_duration, plan_from_json
from harness.soak.schedule import load_schedule, schedule
from tests.soak.synthetic import ROOT

PHASE0 = ROOT / "scenarios" / "soak" / "phase0.toml"
DAILY = ROOT / "scenarios" / "soak" / "faults" / "daily.toml"


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("20m", 1200), ("90s", 90), ("1.5h", 5400), ("45", 45), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-3h", "0", "3 weeks", "nan", "1e3s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


def test_the_default_is_a_day_at_the_workloads_rate() -> None:
    plan = make_plan(PHASE0, seed=0xDEADBEEF)
    assert (plan.duration_s, plan.time_scale, plan.workload.arrival.mean_rate) == (86400.0, 1.0, 1000.0)
    assert (plan.interval_s, plan.final_window_s) == (15.0, 60.0)
    assert "interval_seconds = 300.0" in plan.engram_toml()
    assert "blended_recall = false" in plan.engram_toml()


def test_a_time_scale_divides_every_wait_but_what_cannot_be_shortened() -> None:
    plan = make_plan(PHASE0, seed=1, duration="24h", time_scale=480.0, rate_ops_per_s=50.0)
    assert plan.real_duration_s == 180.0
    assert plan.interval_s == 0.25
    assert "interval_seconds = 0.625" in plan.engram_toml()
    assert plan.workload.arrival.mean_rate == 50.0


def test_a_plan_survives_its_manifest() -> None:
    plan = make_plan(PHASE0, seed=3, faults="daily", defects=("leak_bytes=1",))
    assert plan.faults
    assert plan_from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_a_scenario_survives_its_manifest() -> None:
    soak = load_soak(PHASE0)
    assert soak_from_json(json.loads(json.dumps(soak.as_json()))) == soak


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[criteria.leak]", "[criteria.leek]", "no such criterion"),
        ("bound = 0.60", "bond = 0.60", "required"),
        ("poll_s = 5.0", "poll_s = -1", "outside"),
        ('signal = "crash"', 'signal = "smell"', "not one of"),
        ('method = "trend"', 'method = "hope"', "not one of"),
        ("above = 0.01", "above = 0.01\nbelow = 3", "unknown key"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = PHASE0.read_text()
    assert old in text
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        load_soak(broken)
    assert f"{broken}:" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "nope"},
        {"time_scale": 0.5},
        {"duration": "1s", "time_scale": 100.0},
        {"rate_ops_per_s": float("nan")},
        {"faults": "daily", "target": "http://127.0.0.1:1"},
        {"faults": "none-such"},
        {"processes": 0},
        {"processes": 65},
        {"claimed": True},
        {"target": "embeded"},
        {"target": "ftp://127.0.0.1"},
        {"target": "http://"},
        {"rate_ops_per_s": 1e9},
        {"nodes": 10**20},
        {"target": "http://127.0.0.1:1", "defects": ("leak_bytes",)},
    ],
    ids=str,
)
def test_unusable_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(HarnessError) as caught:
        make_plan(PHASE0, seed=1, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 3


def test_a_key_in_the_url_of_the_target_is_refused_before_anything_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in ("http://me:hush@127.0.0.1:1", "http://127.0.0.1:1/?key=hush", "http://me:hush@127.0.0.1:99999"):
        assert main(["soak", "--target", url, "--results-dir", str(tmp_path / "results")]) == 3
        said = "".join(capsys.readouterr())
        assert "127.0.0.1" in said
        assert "hush" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [["--rate", "5"], ["--duration", "3h"], ["--seed", "1"], ["--target", "http://127.0.0.1:1"], ["--defect", "x"]],
    ids=" ".join,
)
def test_what_was_planned_is_not_planned_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["soak", "--resume", str(tmp_path), *words]) == 3
    assert f"{words[0]} contradicts --resume" in capsys.readouterr().err


def test_a_fault_schedule_follows_its_seed() -> None:
    plan = load_schedule(DAILY)
    one, other = schedule(plan, 1, 86400.0), schedule(plan, 2, 86400.0)
    assert one == schedule(plan, 1, 86400.0) != other
    for found in (one, other):
        assert 3 <= len(found) <= 12
        assert found[0].at_s >= 5400
        ends = [p.at_s + p.hold_s for p in found]
        assert all(end < step.at_s for end, step in zip(ends, found[1:], strict=False))
        assert ends[-1] < 86400.0


def test_a_schedule_of_two_faults_at_once_is_refused(tmp_path: Path) -> None:
    both = tmp_path / "both.toml"
    both.write_text(DAILY.read_text().replace("max_concurrent = 1", "max_concurrent = 2"))
    with pytest.raises(UsageError, match="one fault at a time"):
        load_schedule(both)
