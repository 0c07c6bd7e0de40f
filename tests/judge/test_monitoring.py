"""Looks at a monitoring stack, judged: a finding fails by its own words, and what could not be asked is no pass."""

from __future__ import annotations

from typing import Any

import pytest

from harness.judge.case import CaseJudgement, judge_case, verdict_json
from harness.judge.monitoring import EVENT, EXPECTED, GRAFANA_EXPECTED
from harness.model import Verdict
from tests.cases import START, build, check

ABSENT = {"check": "grafana", "verdict": "skipped", "detail": "there is none beside the target embedded"}
CHECKS = (check("during", "monitoring_findings", "==", 0), check("after", "monitoring_findings", "==", 0))
DURING, AFTER = 22.0, 34.0
Answers = list[dict[str, str]]


def answers(*, grafana: bool = False, without: str = "", **changed: tuple[str, str]) -> Answers:
    """All well, but for what ``changed`` says (by a check's name with underscores)."""
    names = [*EXPECTED, *(GRAFANA_EXPECTED if grafana else ())]
    found = [{"check": name, "verdict": "ok", "detail": "as it must be"} for name in names if name != without]
    for one in found:
        verdict, detail = changed.pop(one["check"].replace(": ", "_").replace(" ", "_"), ("ok", one["detail"]))
        one |= {"verdict": verdict, "detail": detail}
    assert not changed
    return found if grafana else [*found, ABSENT]


def look(at: float, findings: Answers) -> tuple[float, dict[str, Any]]:
    return at, {"event": EVENT, "asked": START + at - 2.0, "findings": findings}


def judged(during: Answers | None, after: Answers | None = None, **knobs: Any) -> CaseJudgement:
    looks = [look(DURING, during)] if during is not None else []
    looks.append(look(AFTER, after if after is not None else answers()))
    knobs = {"kind": "no_fault", "checks": CHECKS, "manifest": {"monitoring": {"patience_s": 30.0}}, **knobs}
    return judge_case(build(extra_events=tuple(looks), **knobs).record)


def test_a_stack_that_works_passes_and_what_was_left_out_is_said() -> None:
    found = judged(answers())
    assert (found.verdict, found.reasons) == (Verdict.PASS, ())
    assert [c.detail for c in found.conditions if c.name == "monitoring"] == [
        "looked at; left out: grafana: there is none beside the target embedded"
    ]
    told = verdict_json(found)["monitoring"]
    assert told["during"] == told["after"] == answers()
    whole = judged(answers(grafana=True), answers(grafana=True))
    assert whole.verdict is Verdict.PASS
    assert [c.detail for c in whole.conditions if c.name == "monitoring"] == ["looked at, all of it"]


@pytest.mark.parametrize("name", [*EXPECTED, *GRAFANA_EXPECTED])
def test_every_finding_fails_by_its_name_and_words(name: str) -> None:
    key = name.replace(": ", "_").replace(" ", "_")
    found = judged(answers(grafana=True, **{key: ("failed", "it says 4 of 9")}), answers(grafana=True))
    assert found.verdict is Verdict.FAIL
    assert found.reasons == (
        f"during.monitoring_findings = 1 findings [1, 1] of 13 samples, must be == 0: {name}: it says 4 of 9",
    )


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("verdict", ["unasked", "skipped", "", "fine"])
def test_what_could_not_be_asked_is_undecided(name: str, verdict: str) -> None:
    key = name.replace(": ", "_").replace(" ", "_")
    found = judged(answers(**{key: (verdict, "nobody answered")}))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"{name}: nobody answered" in found.reasons[0]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_not_in_the_record_is_undecided(name: str) -> None:
    found = judged(answers(without=name))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"could not be asked: {name}: is not in the record" in found.reasons[0]


@pytest.mark.parametrize(
    ("during", "why"),
    [
        ([], "prometheus healthy: is not in the record"),
        ([{"check": "prometheus", "verdict": "unasked", "detail": "connection refused"}], "connection refused"),
        ([*answers()[:-1], {**ABSENT, "detail": ""}], "grafana: "),
        ([*answers()[:-1], {**ABSENT, "verdict": "unasked", "detail": "401"}], "grafana: 401"),
        (answers()[:-1], "grafana healthy: is not in the record"),
        (None, "nobody looked at the monitoring stack in this window"),
    ],
    ids=["empty", "no prometheus", "left out without a reason", "grafana refuses", "grafana not told", "no look"],
)
def test_a_look_without_answers_is_undecided(during: Answers | None, why: str) -> None:
    found = judged(during)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert why in " ".join(found.reasons)


def test_a_finding_outweighs_what_could_not_be_asked() -> None:
    found = judged(answers(target_up=("failed", "is down"), witness_errors=("unasked", "no answer in 5 s")))
    assert found.verdict is Verdict.FAIL
    assert "target up: is down; could not be asked: witness: errors: no answer in 5 s" in found.reasons[0]


def test_a_case_in_which_nobody_looked_is_undecided() -> None:
    record = build(kind="no_fault", manifest={"monitoring": {}}, checks=(check("during", "error_rate", "<=", 0.1),))
    found = judge_case(record.record)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reasons == ("monitoring: nobody looked at the monitoring stack",)


def test_one_question_alone() -> None:
    down = answers(target_up=("failed", "is down"))
    asserted = check("during", "monitoring_findings", "==", 1, check="target up")
    assert judged(down, checks=(asserted,)).verdict is Verdict.PASS
    assert judged(answers(), checks=(asserted,)).verdict is Verdict.FAIL
    assert judged(answers(without="target up"), checks=(asserted,)).verdict is Verdict.INCONCLUSIVE
    other = check("during", "monitoring_findings", "==", 0, check="grafana")
    assert judged(answers(), checks=(other,)).verdict is Verdict.INCONCLUSIVE, "asked for alone, it is not left out"


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ({"witness_P99_latency": ("failed", "under-reports")}, Verdict.INCONCLUSIVE),
        ({"scrape_fresh": ("failed", "5 s old"), "metrics_scraped": ("failed", "none")}, Verdict.INCONCLUSIVE),
        ({"metrics_scraped": ("failed", "renamed")}, Verdict.FAIL),
        ({"witness_P99_latency": ("failed", "under-reports"), "rules_loaded": ("failed", "none")}, Verdict.FAIL),
    ],
    ids=["latency", "scrapes late", "a name", "rules as well"],
)
def test_a_starved_machine_excuses_only_what_came_late(wrong: dict[str, tuple[str, str]], verdict: Verdict) -> None:
    found = judged(answers(**wrong), host_late_ms=200.0)
    assert found.verdict is verdict, found.reasons
    assert judged(answers(**wrong)).verdict is Verdict.FAIL
