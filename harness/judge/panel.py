"""What the panel's answers say: is everything there, is it in the same order, how far is it from what it was."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from harness.judge.intervals import exactly, mean
from harness.judge.quantities import quantity
from harness.judge.view import CaseView
from harness.model import Estimate, Window, no_estimate

_Answer = tuple[tuple[str, ...], tuple[float, ...]]


@quantity()
def panel_memories_damaged(view: CaseView, window: Window) -> Estimate:
    """Memories stored before the run and touched by nobody that were gone, or held something else."""
    readings = _readings(view, window)
    read = sum(int(reading["read"]) for reading in readings)
    if not read:
        return no_estimate("memories", "the panel was not read in this window")
    return exactly(len({one for reading in readings for one in reading["damaged"]}), read, "memories", "panel reads")


@quantity()
def panel_orders_changed(view: CaseView, window: Window) -> Estimate:
    """Answers of the panel whose memories came in another order than the baseline's."""
    usual = _usual(view)
    if not usual:
        return no_estimate("answers", "the panel was not asked before the change")
    answers = _answers(view, window)
    if not answers:
        return no_estimate("answers", "the panel was not asked in this window")
    changed = sum(answer[0] != usual[question][0] for question, answer in answers)
    return exactly(changed, len(answers), "answers", "panel answers")


@quantity()
def panel_deviation(view: CaseView, window: Window) -> Estimate:
    """How far the panel's answers are from the baseline's, on the mean: memories not shared, and scores apart.

    Of each answer, the larger of the share of memories that only one side has and of the mean relative difference of
    the scores of those both have.
    """
    usual = _usual(view)
    answers = _answers(view, window)
    if not usual or not answers:
        return no_estimate("ratio", "the panel was not asked before the change or not in this window")
    apart = np.array([_apart(answer, usual[question]) for question, answer in answers])
    questions = np.array([question for question, _ in answers], dtype=np.int64)
    return mean(apart, "ratio", questions)


def _apart(now: _Answer, usual: _Answer) -> float:
    both = set(now[0]) & set(usual[0])
    most = max(len(now[0]), len(usual[0]))
    missing = 1.0 - len(both) / most if most else 0.0
    old, new = dict(zip(*usual, strict=False)), dict(zip(*now, strict=False))
    scores = [abs(new[one] - old[one]) / abs(old[one]) for one in both if one in new and old.get(one)]
    return max(missing, float(np.mean(scores)) if scores else 0.0)


def _readings(view: CaseView, window: Window) -> list[dict[str, Any]]:
    return [
        reading
        for reading in view.record.stream("panel")
        if reading.get("ok") and window.start <= float(reading["asked"]) and float(reading["t"]) <= window.end
    ]


def _answers(view: CaseView, window: Window) -> list[tuple[int, _Answer]]:
    found = []
    for reading in _readings(view, window):
        for question, (ids, scores) in enumerate(zip(reading["answers"], reading["scores"], strict=True)):
            known = tuple(float(score) for score in scores if score is not None)
            found.append((question, (tuple(ids), known if len(known) == len(ids) else ())))
    return found


def _usual(view: CaseView) -> dict[int, _Answer]:
    """Each question's most frequent answer before the change."""
    window = view.windows.get("baseline")
    if window is None:
        return {}
    counted: dict[int, Counter[_Answer]] = {}
    for question, answer in _answers(view, window):
        counted.setdefault(question, Counter())[answer] += 1
    return {question: counter.most_common(1)[0][0] for question, counter in counted.items()}
