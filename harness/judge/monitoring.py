"""Judging looks at a monitoring stack: what each question of ``validate-monitoring`` was answered, as it was recorded.

A question that failed is a finding. One that could not be asked, or is not in the record, is neither answer: without a
finding beside it nothing is decided. Only Grafana may be left out, where the record says why there is none.
"""

from __future__ import annotations

from typing import Any

from harness.judge.quantities import quantity
from harness.judge.view import CaseView
from harness.model import Estimate, Interval, Window, no_estimate

EVENT = "monitoring_validated"
# What every look must have asked; tests hold it against what is asked of a stack.
EXPECTED = (
    "prometheus healthy",
    "target up",
    "scrape fresh",
    "metrics scraped",
    "rules loaded",
    "rules without error",
    "test alert fires",
    "metrics exported",
    "witness: recalls",
    "witness: errors",
    "witness: P99 latency",
)
GRAFANA = "grafana"  # the name it is left out by
GRAFANA_EXPECTED = ("grafana healthy", "dashboard queries answer")
# Answered by what came in time: a machine that lets nobody run makes them fail as well.
TIMED = frozenset({"target up", "scrape fresh", "test alert fires", "witness: P99 latency"})
SCRAPED = "metrics scraped"  # nothing is there to read where the last scrape is too old

Answer = tuple[str, str, str]
"""Check, verdict (``ok``, ``failed``, or neither) and detail."""


@quantity()
def monitoring_findings(view: CaseView, window: Window, check: str | None = None) -> Estimate:
    """What the last look at the monitoring stack in the window found wrong (``check``: by that question alone)."""
    answers = look_in(view, window)
    if answers is None:
        return no_estimate("findings", "nobody looked at the monitoring stack in this window")
    if check is not None:
        answers = [answer for answer in answers if answer[0] == check] or [_missing(check)]
    failed = [answer for answer in answers if answer[1] == "failed"]
    open_ = [
        answer for answer in answers if answer[1] not in ("ok", "failed") and not (check is None and _left(answer))
    ]
    note = "; ".join([*map(_said, failed), *(f"could not be asked: {_said(answer)}" for answer in open_)])
    if open_ and not failed:
        return no_estimate("findings", note)
    count = float(len(failed))
    return Estimate(count, Interval(count, count + len(open_)), "findings", len(answers) - len(open_), None, note)


def look_in(view: CaseView, window: Window | None) -> list[Answer] | None:
    """The answers of the last look that lies in the window, with those that are missing; None where there is none."""
    if window is None:
        return None
    looks = [event for event in _looks(view) if event["asked"] >= window.start and event["t"] <= window.end]
    return _whole(_answers(looks[-1])) if looks else None


def only_timed(view: CaseView, window_name: str) -> bool:
    """Whether whatever failed in a window is a question of what came in time."""
    answers = look_in(view, view.windows.get(window_name)) or []
    failed = {check for check, verdict, _ in answers if verdict == "failed"}
    return failed - {SCRAPED} <= TIMED and (SCRAPED not in failed or "scrape fresh" in failed)


def left_out(view: CaseView) -> list[str]:
    """What was left out of the looks, with the reason."""
    answers = [answer for event in _looks(view) for answer in _answers(event)]
    return list(dict.fromkeys(_said(answer) for answer in answers if _left(answer)))


def as_json(view: CaseView) -> dict[str, Any]:
    """For ``verdict.json``: every answer by window, null where nobody looked."""
    found = {name: look_in(view, view.windows.get(name)) for name in ("during", "after")}
    return {name: answers and [_plain(answer) for answer in answers] for name, answers in found.items()}


def _plain(answer: Answer) -> dict[str, str]:
    return dict(zip(("check", "verdict", "detail"), answer, strict=True))


def _looks(view: CaseView) -> list[dict[str, Any]]:
    return [event for event in view.record.events if event["event"] == EVENT]


def _answers(event: dict[str, Any]) -> list[Answer]:
    return [
        (str(one.get("check", "")), str(one.get("verdict", "")), str(one.get("detail", "")))
        for one in event.get("findings", [])
        if isinstance(one, dict)
    ]


def _whole(answers: list[Answer]) -> list[Answer]:
    """With what should be there and is not."""
    there = {check for check, _, _ in answers}
    wanted = EXPECTED if any(map(_left, answers)) else (*EXPECTED, *GRAFANA_EXPECTED)
    return [*answers, *(_missing(check) for check in wanted if check not in there)]


def _missing(check: str) -> Answer:
    return check, "missing", "is not in the record"


def _left(answer: Answer) -> bool:
    return answer[:2] == (GRAFANA, "skipped") and bool(answer[2])


def _said(answer: Answer) -> str:
    return f"{answer[0]}: {answer[2]}"
