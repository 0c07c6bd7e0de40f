"""How sure the service was of its answers to the panel's questions, from a phase's recorded runs.

What counts is the confidence of the answer as a whole (``recall_confidence``), as Task 015's A/B framework observes
``response.confidence``; in the reference it is that of the surest memory of the answer. A record of before there was
one, or of a build that gives none, has no confidence, which is no data. Where some answers bear one and others do not,
those that do are no sample of the others, so the evidence is broken.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.judge.intervals import Floats
from harness.judge.phase_runs import PhaseRun, PhaseRuns, in_cohort, questions
from harness.judge.quality import per_question
from harness.judge.view import answered, recalls
from harness.timeline.samples import Samples, pick

Ints = npt.NDArray[np.int64]


def confidences(runs: PhaseRuns, cohort: str) -> dict[int, float]:
    """The mean confidence of the answers to each question of the panel, of one cohort (empty: of both)."""
    asked: list[Ints] = []
    found: list[Floats] = []
    for run in runs.runs:
        samples, values = _of_run(run, cohort)
        known = np.isfinite(values)
        asked.append(questions(pick(samples, known)))
        found.append(values[known])
    return per_question(np.concatenate(asked), np.concatenate(found)) if asked else {}


def none_recorded(runs: PhaseRuns) -> str:
    """Why there is no confidence at all, or nothing."""
    if any(bool(np.isfinite(run.record.answers["confidence"]).any()) for run in runs.runs):
        return ""
    if any(len(run.record.answers) for run in runs.runs):
        return "no answer bears a confidence, or they were recorded before confidences were kept"
    return "no answers to a panel of questions were kept"


def holes(runs: PhaseRuns) -> str:
    """Why the confidences that there are stand for no whole, or nothing: answers without one, answers not kept."""
    for run in runs.runs:
        if not len(run.record.answers):
            return f"{run.name}: it kept no answers, as the other runs did"
        lost = _not_kept(run)
        if lost:
            return f"{run.name}: {lost:,} answers to questions of the panel were not kept"
        for cohort in ("canary", "control"):
            bare = ~np.isfinite(_of_run(run, cohort)[1])
            if bare.any():
                return f"{run.name}: {int(bare.sum()):,} of {len(bare):,} answers of the {cohort} bear no confidence"
    return ""


def _of_run(run: PhaseRun, cohort: str) -> tuple[Samples, Floats]:
    """The answered recalls of a run's window whose answers were kept, and their confidences."""
    samples, answers = in_cohort(run, answered(recalls(run.requests)), cohort), run.record.answers
    _, here, there = np.intersect1d(samples["sequence"], answers["sequence"], return_indices=True)
    return samples[here], answers["confidence"][there].astype(np.float64)


def _not_kept(run: PhaseRun) -> int:
    """Answered recalls that asked a question of the panel and left no answer; version 1 kept none without a memory."""
    samples, answers = answered(recalls(run.requests)), run.record.answers
    kept = np.isin(samples["sequence"], answers["sequence"])
    asked = questions(samples)
    return int((np.isin(asked, asked[kept]) & ~kept).sum())
