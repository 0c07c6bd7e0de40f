"""No criterion of the two documents is dropped: a list made by hand from their text, section by section."""

from __future__ import annotations

import re

import pytest

from harness.rollout.plan import load_plan
from tests.rollout.documents import CHECKLISTS, CRITERIA, TRIGGERS


@pytest.mark.parametrize("name", ["runbook", "task015"])
def test_every_criterion_of_the_document_is_in_the_plan(name: str) -> None:
    plan = load_plan(name)
    found = {c.id: c for phase in plan.phases for c in phase.criteria} | {c.id: c for c in plan.validation}
    wanted = CRITERIA[name]
    assert len(wanted) == len({key for key, _, _ in wanted})
    for key, section, words in wanted:
        criterion = found.get(key)
        assert criterion is not None, f"{key} ({section}: {words}) was dropped"
        assert section in criterion.source, f"{key} names {criterion.source}, not {section}"
        missing = [w for w in words.split() if w.lower() not in criterion.text.lower()]
        assert not missing, f"{key}: {criterion.text!r} lacks {missing}"


@pytest.mark.parametrize("name", ["runbook", "task015"])
def test_every_trigger_of_the_document_is_in_the_plan(name: str) -> None:
    plan = load_plan(name)
    found = {t.id: t for t in (*plan.triggers, *(t for phase in plan.phases for t in phase.abort_triggers))}
    for key, section, op, bound, for_s in TRIGGERS[name]:
        trigger = found.get(key)
        assert trigger is not None, f"{key} ({section}) was dropped"
        assert section in trigger.source
        assert (trigger.op, trigger.bound, trigger.for_s) == (op, bound, for_s), key


@pytest.mark.parametrize("name", ["runbook", "task015"])
def test_every_checklist_has_all_its_items(name: str) -> None:
    plan = load_plan(name)
    found = {c.name: len(c.items) for c in plan.checklists.values()}
    found |= {f"phase {p.name}": len(p.checklist) for p in plan.phases if p.checklist}
    assert found == CHECKLISTS[name]


def test_every_source_names_a_document_and_a_line() -> None:
    for plan in map(load_plan, ("runbook", "task015")):
        for phase in plan.phases:
            for thing in (*phase.criteria, *phase.abort_triggers, *phase.slos, *phase.drills, *phase.checklist):
                assert re.search(r"(runbook|Task 015).*\[\w+\.toml:\d+\]$", thing.source), thing.source


def test_known_troubles_have_symptoms_as_queries_and_actions_as_steps() -> None:
    issues = {issue.id: issue for issue in load_plan("task015").issues}
    assert set(issues) == {"high_concept_formation", "poor_recall_quality", "memory_leak"}
    assert all(len(issue.actions) == 4 and len(issue.symptoms) == 3 for issue in issues.values())
    assert "deriv(process_resident_memory_bytes" in issues["memory_leak"].symptoms[0].query
