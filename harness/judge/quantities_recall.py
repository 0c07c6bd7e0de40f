"""The measurable quantities of recall quality: ``outcome.during.recall_at_k(k=10, cue="partial")`` and its siblings."""

from __future__ import annotations

import numpy as np

from harness.judge import answers
from harness.judge.answers import POOR, cues_of, mean_estimate, panel_of, question_of, recall_values
from harness.judge.quality import compare_overlap, compare_robustness, paired, per_question
from harness.judge.quantities import quantity
from harness.judge.shares import clustered_share
from harness.judge.view import CaseView, answered, attempted, blocks, recalls
from harness.model import Estimate, Flag, Window, no_estimate


@quantity()
def recall_at_k(
    view: CaseView, window: Window, k: int = 10, cue: str | None = None, cohort: str | None = None, truth: str = "cue"
) -> Estimate:
    """Share of the true k nearest memories that recalls of the panel returned (``cue``: exact, partial, noisy).

    ``truth``: nearest to the ``cue`` itself, or to the ``memory`` that it was made from.
    """
    panel = panel_of(view, window)
    questions, values = recall_values(panel, panel.of(cohort, cues_of(cue)), k, meant=truth == "memory")
    return mean_estimate(questions, values, "answers with a known truth")


@quantity()
def topk_overlap(view: CaseView, window: Window, k: int = 10, cue: str | None = None) -> Estimate:
    """Share of the control's first k results that the canary returned to the same questions (runbook 2.6: > 85 %)."""
    panel = panel_of(view, window)
    cues = cues_of(cue)
    found = answers.overlaps(panel, panel.of("control", cues), panel, panel.of("canary", cues), k)
    change = compare_overlap(found).change
    return change if change.samples else no_estimate("ratio", compare_overlap(found).note)


@quantity()
def partial_cue_gain(view: CaseView, window: Window, of: str = "results", k: int = 10) -> Estimate:
    """How much more the canary returns for partial and noisy cues (runbook 2.6: > 20 %); 0.2 is 20 % more.

    ``of``: ``results`` counts memories, as the runbook does; ``truth`` counts those nearest to the memory asked for.
    """
    if of == "results":
        samples = answered(recalls(view.within(window)))
        masks = answers.cohort_masks(view, samples)
        old, new = (answers.result_counts(samples[keep], POOR) for keep in masks)
    else:
        panel = panel_of(view, window)
        sides = (recall_values(panel, panel.of(c, POOR), k, meant=True) for c in ("control", "canary"))
        old, new = (per_question(questions, values) for questions, values in sides)
    found = compare_robustness(*paired(old, new))
    return found.change if found.change.samples else no_estimate("ratio", found.note)


@quantity()
def result_count(view: CaseView, window: Window, cue: str | None = None, cohort: str | None = None) -> Estimate:
    """Mean number of memories an answered recall returned."""
    asked = answered(recalls(view.within(window)))
    if cohort is not None:
        control, canary = answers.cohort_masks(view, asked)
        asked = asked[canary if cohort == "canary" else control]
    if cue is not None:
        asked = asked[np.isin(asked["cue"], cues_of(cue))]
    numbers = question_of(*(asked[name].astype(np.int64) for name in ("space", "item", "cue")))
    return mean_estimate(numbers, asked["results"].astype(np.float64), "answered recalls", "memories")


@quantity()
def convergent_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of blended recalls in which both pathways agreed on at least one memory (runbook 2.6: > 30 %)."""
    tried = attempted(view.within(window))
    return clustered_share(tried["convergent"] > 0, blocks(tried), "blended recalls")


@quantity()
def pattern_completion_ratio(view: CaseView, window: Window) -> Estimate:
    """Share of blended recalls that pattern completion filled up (runbook 2.6: < 10 %, not overused)."""
    tried = attempted(view.within(window))
    completed = (tried["flags"] & int(Flag.PATTERN_COMPLETED)) != 0
    return clustered_share(completed, blocks(tried), "blended recalls")
