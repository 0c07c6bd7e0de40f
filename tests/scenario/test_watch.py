"""The rules of the watch: read as they stand, refused with file, line and key where they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.scenario.rollout_file import load_plan_file, load_quantities
from harness.scenario.watch import RAMP, fact_of, load_watch, slower_than, triggers_of

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "scenarios" / "watch.toml"
PLAN = ROOT / "scenarios" / "rollout" / "runbook.toml"


def plan_triggers(phase: str | None):  # type: ignore[no-untyped-def]
    plan = load_plan_file(PLAN, load_quantities(PLAN.with_name("quantities.toml")))
    return triggers_of(plan, plan.phase(phase) if phase else None)


def test_the_runbooks_automated_triggers_are_watched_with_their_source() -> None:
    found = {t.name.rpartition(".")[2]: t for t in plan_triggers(None)[0]}
    latency, errors = found["auto_latency"], found["auto_errors"]
    assert (latency.level, latency.share, latency.for_s) == ("automated", (slower_than(20.0), 0.01), 900.0)
    assert (errors.share, errors.for_s) == (("error_rate", 0.01), 600.0)
    assert found["auto_crash"].share is None
    assert found["auto_memory"].above == 0.9
    assert found["manual_consolidation"].share == ("consolidation_failure_rate", pytest.approx(0.1))
    assert found["manual_pages"].attested
    assert all(t.source for t in found.values())


def test_what_takes_a_comparison_is_left_to_the_gate_and_named() -> None:
    watched, left = plan_triggers("5")
    assert {one.id.rpartition(".")[2] for one in left} >= {"latency", "accuracy"}
    assert not any(t.attested and t.level == "automated" for t in watched)


def test_a_phase_adds_its_own_triggers_that_lead_where_it_says() -> None:
    watched, _ = plan_triggers("25")
    own = next(t for t in watched if t.called("slo_latency"))
    assert own.of_phase
    assert not next(t for t in watched if t.called("auto_latency")).of_phase


def test_durations_scale_and_bounds_do_not() -> None:
    rules = load_watch(RULES)
    scaled = rules.at_scale(60.0)
    assert scaled.evaluate_s == rules.evaluate_s / 60
    assert scaled.min_coverage == rules.min_coverage
    assert scaled.triggers[0].for_s == rules.triggers[0].for_s / 60
    assert {t.level for t in rules.triggers} == {RAMP}
    assert rules.without_ramp().triggers == ()
    assert [rules.escalation(s).level for s in (0.0, 899.0, 900.0, 1e6)] == [  # type: ignore[union-attr]
        "Level 1",
        "Level 1",
        "Level 2",
        "Level 3",
    ]


# Trigger of watch.toml -> target of the plan's phase 25, and how the two quantities name the same thing.
RAMP_OF_PLAN = {
    "ramp_latency": ("p99_spike", "recall_over_15ms", "recall_within_slo"),  # over 5 % is under 95 % within
    "ramp_errors": ("errors", "error_rate", "error_rate"),
    "ramp_breaker": ("breaker", "breaker_state", "breaker_open"),
    "ramp_memory": ("memory", "memory_share", "memory_share"),
}
MARKS_OF_PLAN = {"recall_p99_ms": "p99", "error_rate": "errors"}
# What the plan names and the watch has not, with the reason.
NOT_MARKED = {"memory": "the hourly table shows gigabytes, and its 80 % is a trigger of the ramp"}


def test_the_ramps_triggers_are_those_the_plan_names_for_the_same_section() -> None:
    phase = load_plan_file(PLAN, load_quantities(PLAN.with_name("quantities.toml"))).phase("25")
    planned = {target.id.rpartition(".")[2]: target for target in phase.monitoring_targets}
    ramp = {trigger.name: trigger for trigger in load_watch(RULES).triggers}
    assert planned.keys() == {name for name, _, _ in RAMP_OF_PLAN.values()}
    assert ramp.keys() == RAMP_OF_PLAN.keys()
    for name, (target, signal, quantity) in RAMP_OF_PLAN.items():
        one, other = ramp[name], planned[target]
        assert (one.signal, other.quantity.name) == (signal, quantity)
        assert one.for_s == other.alert_for_s, name
        bound = 1.0 - other.alert_bound if quantity == "recall_within_slo" else other.alert_bound
        assert one.above == pytest.approx(bound), name


def test_the_hourly_tables_marks_are_what_the_plan_watches_hourly() -> None:
    phase = load_plan_file(PLAN, load_quantities(PLAN.with_name("quantities.toml"))).phase("100")
    hourly = {t.id.rpartition(".")[2]: t.alert_bound for t in phase.monitoring_targets if "hourly" in t.text}
    assert hourly.keys() == {*MARKS_OF_PLAN.values(), *NOT_MARKED}
    assert load_watch(RULES).marks == {name: hourly[target] for name, target in MARKS_OF_PLAN.items()}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("evaluate_s = 30.0", "evaluate_s = 0", "evaluate_s"),
        ("evaluate_s = 30.0", "evaluate_seconds = 30.0", "evaluate_s"),
        ('signal = "breaker_state"', 'signal = "mood"', "mood"),
        ("above = 0.05", "above = 1.5", "above"),
        ("after_s = 900.0", 'after_s = "soon"', "after_s"),
        ("[ramp.latency]", "[ramp.latency]\nmore = 1", "more"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, named: str) -> None:
    text = RULES.read_text()
    assert old in text
    path = tmp_path / "watch.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=named) as told:
        load_watch(path)
    assert str(path) in str(told.value)


def test_facts() -> None:
    assert fact_of("manual_pages=6") == ("manual_pages", 6.0)
    assert fact_of("all.abort.manual_pages=0.5") == ("all.abort.manual_pages", 0.5)
    for text in ("manual_pages", "=6", "pages=six", "pages=nan", "pages=1=2"):
        with pytest.raises(UsageError):
            fact_of(text)
