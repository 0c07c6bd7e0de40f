"""Plans: every criterion of both documents is there, and what is wrong in a plan is named by file, line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import ConfigError, UsageError
from harness.rollout.plan import load_plan, plan_names
from harness.settings import scenarios_folder

SHARED = scenarios_folder() / "rollout"


def _changed(tmp_path: Path, before: str, after: str, name: str = "runbook") -> Path:
    text = (SHARED / f"{name}.toml").read_text(encoding="utf-8")
    assert text.count(before) >= 1
    path = tmp_path / "plan.toml"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return path


def test_both_plans_load_with_all_their_phases() -> None:
    assert plan_names() == ("runbook", "task015")
    assert [p.name for p in load_plan("runbook").phases] == ["0", "shadow", "5", "25", "50", "75", "100"]
    assert [p.cohort_rate for p in load_plan("runbook").phases] == [0, 0, 0.05, 0.25, 0.5, 0.75, 1]
    assert [p.name for p in load_plan("task015").phases] == [
        *("shadow", "internal", "canary", "5", "25", "50", "100", "optimisation"),
    ]
    held = {p.name: p.minimum_duration_s for p in load_plan("task015").phases}
    assert {held[name] for name in ("5", "25", "50", "100")} == {48 * 3600.0}
    assert load_plan("task015").phase("internal").semantic_weight == 0.10


def test_phases_are_found_by_name_alias_and_percentage() -> None:
    plan = load_plan()
    assert plan.phase("canary") is plan.phase("5 %") is plan.phase("Phase_2")
    with pytest.raises(UsageError, match="no phase '33'"):
        plan.phase("33")


def test_a_query_names_both_labels_of_the_canary() -> None:
    criterion = load_plan().phase("5").criterion("p99_slo")
    assert criterion is not None and 'cohort=~"canary|treatment"' in criterion.query
    assert 'cohort=~"control"' in criterion.quantity.query_for("control")


def test_triggers_of_blended_phases_include_the_plans() -> None:
    plan = load_plan()
    assert "all.abort.auto_latency" in {t.id for t in plan.triggers_of(plan.phase("25"))}
    assert "all.abort.auto_latency" not in {t.id for t in plan.triggers_of(plan.phase("shadow"))}


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (
            '{ quantity = "soak_crashes", op = "=="',
            '{ quantity = "soak_crash", op = "=="',
            "'soak_crash' is no quantity",
        ),
        ('op = "<", bound = 0.10, text = "P99 latency stable', 'op = "=<", bound = 0.1, text = "P', "is not one of"),
        ('against = "0", op = "<", bound = 0.02', 'against = "9", op = "<", bound = 0.02', "'9' is not one of"),
        ('{ quantity = "crashes", op = "==", bound = 0, text', '{ quantity = "crashes", op = "==", text', "required"),
        (', source = "runbook 0.3" }', " }", "this key is required"),
        ("cohort_rate = 0.05", "cohort_rate = 5", "outside"),
        ('aliases = ["4b", "phase_4b"]', 'aliases = ["4a"]', "names two phases"),
        ("[phases.shadow.criteria]", "[phases.shadow.criterions]", "required"),
        ('to = "shadow"', 'to = "somewhere"', "'somewhere' is not one of"),
    ],
)
def test_a_bad_plan_is_named_by_line_and_key(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    path = _changed(tmp_path, before, after)
    with pytest.raises(ConfigError, match=complaint) as error:
        load_plan(path)
    assert str(path) in str(error.value)


def test_the_line_of_a_criterion_is_the_line_it_stands_in(tmp_path: Path) -> None:
    path = _changed(tmp_path, '{ quantity = "soak_cpu"', '{ quantity = "soak_gpu"')
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "soak_gpu" in text)
    with pytest.raises(ConfigError, match=f"plan.toml:{line}: phases.0.criteria.soak_cpu.quantity"):
        load_plan(path)


def test_plan_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "plan", "--phase", "canary", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["name"] == "5" and value["criteria"][0]["source"].startswith("runbook 2.4")
    assert main(["rollout", "plan", "--plan", "task015"]) == 0
    assert "Memory leak" in capsys.readouterr().out
    assert main(["rollout", "plan", "--phase", "33"]) == 3
    assert "one of 0, shadow, 5" in capsys.readouterr().err
    assert main(["rollout", "plan", "--plan", "nonsense"]) == 3
