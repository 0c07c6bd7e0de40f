"""Recall quality of a recorded case: the panel's answers against the truth, and the cohorts' answers to each other.

The truth is a brute force over what was acknowledged (:mod:`harness.timeline.answers`). A question is asked with the
whole memory (``exact``), part of it (``partial``) or a noisy copy (``noisy``).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.judge import quality
from harness.judge.arms import Arm
from harness.judge.intervals import Floats
from harness.judge.quality import per_question
from harness.judge.view import CaseView, answered, latency_ms, recalls
from harness.model import Cue, Estimate, Interval, Outcome, Window, no_estimate
from harness.timeline.answers import NONE
from harness.timeline.samples import Samples

THRESHOLD = 0.5  # recall's default: nearer memories only are to be returned (ENGRAM.md, section 1)
_TIE = 1e-4  # cosines that five decimals of a component cannot tell apart
_PAIRS = 4  # answers of each cohort to one question that are compared with each other
CUES = {"exact": int(Cue.EXACT), "partial": int(Cue.PARTIAL), "noisy": int(Cue.NOISY)}
POOR = (int(Cue.PARTIAL), int(Cue.NOISY))


def question_of(space: npt.NDArray[np.int64], item: npt.NDArray[np.int64], cue: npt.NDArray[np.int64]) -> Floats:
    """One number a question."""
    found: Floats = (space.astype(np.int64) * 2**36 + item.astype(np.int64) * 8 + cue.astype(np.int64)).astype(float)
    return found


def cohort_masks(view: CaseView, samples: Samples) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(control, canary): by user, as errors name no cohort."""
    canary = np.isin(samples["user"], view.canary_users)
    return ~canary, canary


def arms_of(view: CaseView, samples: Samples, values: Floats) -> tuple[Arm, Arm]:
    """Both cohorts of one case as arms, by user and in time order (samples are ordered by intended instant)."""
    masks = cohort_masks(view, samples)
    control, canary = (
        Arm(
            name,
            samples["user"][keep].astype(np.int64),
            np.asarray(values[keep], dtype=np.float64),
            samples["intended"][keep].astype(np.float64),
        )
        for name, keep in zip(("control", "canary"), masks, strict=True)
    )
    return control, canary


def latency_arms(view: CaseView, window: Window) -> tuple[Arm, Arm]:
    """Recall latency from the intended start, in ms, of the control and the canary."""
    samples = recalls(view.within(window))
    return arms_of(view, samples, latency_ms(samples))


def error_arms(view: CaseView, window: Window) -> tuple[Arm, Arm]:
    """1.0 for each recall that failed, of the control and the canary."""
    samples = recalls(view.within(window))
    return arms_of(view, samples, (samples["outcome"] != int(Outcome.OK)).astype(np.float64))


@dataclass(frozen=True)
class Panel:
    """The panel's answers in a window, one entry an answer."""

    view: CaseView
    samples: Samples
    items: npt.NDArray[np.int64]

    @cached_property
    def questions(self) -> Floats:
        """Which question each answer is to."""
        return question_of(*(self.samples[name].astype(np.int64) for name in ("space", "item", "cue")))

    @cached_property
    def canary(self) -> npt.NDArray[np.bool_]:
        """Which answers are the canary's."""
        return cohort_masks(self.view, self.samples)[1]

    def of(self, cohort: str | None, cues: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Answers of a cohort (None: of both) to questions with one of these cues."""
        keep = np.isin(self.samples["cue"], cues)
        return keep if cohort is None else keep & (self.canary if cohort == "canary" else ~self.canary)


def panel_of(view: CaseView, window: Window | None) -> Panel:
    """The panel's answers in a window of a case."""
    samples, answers = answered(recalls(view.within(window))), view.record.answers
    _, here, there = np.intersect1d(samples["sequence"], answers["sequence"], assume_unique=False, return_indices=True)
    return Panel(view, samples[here], answers["items"][there].astype(np.int64))


def cues_of(cue: str | None) -> tuple[int, ...]:
    """The cues a name stands for; None for all of them. Raises ``KeyError`` for an unknown one."""
    return tuple(CUES.values()) if cue is None else (CUES[cue],)


def recall_values(panel: Panel, keep: npt.NDArray[np.bool_], k: int, *, meant: bool) -> tuple[Floats, Floats]:
    """(questions, share of the true ``k`` nearest that came back), one entry an answer with a truth.

    ``meant``: nearest to the memory that the cue was made from, not to the cue itself.
    """
    truth = panel.view.record.truth
    known = {(int(row["space"]), int(row["item"]), int(row["cue"])): (row["items"], row["nearness"]) for row in truth}
    questions, values = [], []
    rows = zip(panel.samples[keep], panel.items[keep], panel.questions[keep], strict=True)
    for sample, items, question in rows:
        cue = int(Cue.EXACT) if meant else int(sample["cue"])
        found = known.get((int(sample["space"]), int(sample["item"]), cue))
        if found is None:
            continue
        share = _share_found(found[0], found[1], items[:k], k)
        if not math.isnan(share):
            questions.append(question)
            values.append(share)
    return np.array(questions), np.array(values)


def _share_found(nearest: npt.NDArray[np.int64], nearness: Floats, items: npt.NDArray[np.int64], k: int) -> float:
    """What lies within a tie of the k-th counts as one of the k."""
    near = nearness >= THRESHOLD
    wanted = min(k, int(near.sum()))
    if not wanted:
        return math.nan
    good = nearest[nearness >= max(float(nearness[wanted - 1]), THRESHOLD) - _TIE]
    return min(wanted, int(np.isin(items[items != NONE], good).sum())) / wanted


def overlaps(
    control: Panel, keep: npt.NDArray[np.bool_], canary: Panel, other: npt.NDArray[np.bool_], k: int
) -> Floats:
    """Mean overlap of the first ``k`` results, one number for each question both were asked."""
    left, right = (_by_question(panel, mask) for panel, mask in ((control, keep), (canary, other)))
    found = []
    for question in sorted(left.keys() & right.keys()):
        pairs = itertools.product(left[question][:_PAIRS], right[question][:_PAIRS])
        shares = [quality.answer_overlap(a, b, k) for a, b in pairs]
        known = [share for share in shares if not math.isnan(share)]
        if known:
            found.append(sum(known) / len(known))
    return np.array(found)


def _by_question(panel: Panel, keep: npt.NDArray[np.bool_]) -> dict[float, list[list[int]]]:
    found: dict[float, list[list[int]]] = {}
    for question, items in zip(panel.questions[keep].tolist(), panel.items[keep].tolist(), strict=True):
        found.setdefault(question, []).append([item for item in items if item != NONE])
    return found


def result_counts(samples: Samples, cues: tuple[int, ...]) -> dict[int, float]:
    """Mean number of results of each question with one of these cues."""
    asked = answered(recalls(samples))
    asked = asked[np.isin(asked["cue"], cues)]
    numbers = question_of(*(asked[name].astype(np.int64) for name in ("space", "item", "cue")))
    return per_question(numbers, asked["results"].astype(np.float64))


def mean_estimate(questions: Floats, values: Floats, what: str, unit: str = "ratio") -> Estimate:
    """A mean over questions (each question's own mean first), by bootstrap."""
    if not len(values):
        return no_estimate(unit, f"no {what} in this window")
    means = np.array(list(per_question(questions, values).values()))
    if len(means) < quality.FEWEST_QUESTIONS:
        return no_estimate(unit, f"{len(means)} questions only: {what}")
    centre = float(means.mean())
    ends = quality.mean_bounds(means)
    return Estimate(centre, Interval(min(ends.low, centre), max(ends.high, centre)), unit, len(values))
