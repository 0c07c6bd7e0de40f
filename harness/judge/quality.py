"""Recall quality of two arms for the same questions: overlap, gain on poor cues, confidence; and recall@k of one.

The question (which memory, asked with which cue) is the unit: both arms answer the same ones, and a paired bootstrap
over questions bounds the mean (STATISTICS.md, "recall robustness, top-k overlap").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.judge.comparison import Comparison, decide, sample_to_decide, undecided
from harness.judge.intervals import Floats, binomial_interval
from harness.model import NO_INTERVAL, Estimate, Interval, Verdict

ALPHA = 0.05
FEWEST_QUESTIONS = 10
_RESAMPLES = 4000
_SAME = 1e-6  # what a confidence kept in 32 bits cannot tell apart
_SEED = 20_251_120  # the same evidence gives the same bytes


def answer_overlap(control: Sequence[int], canary: Sequence[int], k: int) -> float:
    """Share of the control's first ``k`` results that are among the canary's first ``k``; NaN where it has none."""
    wanted = set(control[:k])
    return len(wanted & set(canary[:k])) / len(wanted) if wanted else math.nan


def recall_at_k(truth: Sequence[int], answer: Sequence[int], k: int) -> float:
    """Share of the true ``k`` nearest that are among the first ``k`` results; NaN without a truth."""
    return answer_overlap(truth, answer, k)


def compare_overlap(
    overlaps: npt.ArrayLike, limit: float = 0.85, *, metric: str = "top-k overlap", alpha: float = ALPHA
) -> Comparison:
    """Mean overlap of the two arms' answers to the same questions (rollout runbook 2.6: > 85 %), one number a question.

    A mean of shares lies in [0, 1]. Where all are the same number a bootstrap sees no spread, so they are counted as
    hits and misses then, which spreads the most a share can.
    """
    values = np.asarray(overlaps, dtype=np.float64)
    if why := _unfit(values, within=(0.0, 1.0)):
        return undecided(metric, why, limit=limit, op=">", needed=FEWEST_QUESTIONS, needed_unit="questions")
    return _mean_against(metric, values, ">", limit, alpha)


def compare_recall_at_k(
    found: npt.ArrayLike, limit: float, *, metric: str = "recall@k", alpha: float = ALPHA
) -> Comparison:
    """Mean share of the true answers that came back, one number a question, against a limit from below."""
    return compare_overlap(found, limit, metric=metric, alpha=alpha)


def compare_robustness(
    control: npt.ArrayLike,
    canary: npt.ArrayLike,
    gain: float = 0.20,
    *,
    metric: str = "robustness for partial cues",
    alpha: float = ALPHA,
) -> Comparison:
    """Whether the canary returns more for poor cues: ratio of means over the same questions (runbook 2.6: > +20 %).

    ``control[i]`` and ``canary[i]`` are what each arm returned to question ``i`` (results, or true results). The lower
    bound of the gain decides. Cohen's d of the paired differences stands in the note (the runbook wants d > 0.5).
    """
    old, new = np.asarray(control, dtype=np.float64), np.asarray(canary, dtype=np.float64)
    if why := _no_pairs(old, new, within=(0.0, math.inf)):
        return undecided(metric, why, limit=gain, op=">", needed=FEWEST_QUESTIONS, needed_unit="questions")
    if old.sum() <= 0:
        return undecided(metric, "the control returned nothing at all: no ratio to it", limit=gain, op=">")
    if bool((old == old[0]).all()) and bool((new == new[0]).all()):
        return undecided(metric, "every answer is as long as every other: nothing was measured", limit=gain, op=">")
    value = float(new.sum() / old.sum()) - 1
    ends, wide = _ratio_bootstrap(old, new, (alpha, alpha / 2))
    verdict = decide(ends, ">", gain)
    spread = float((new - old).std(ddof=1))
    effect = float((new - old).mean()) / spread if spread > 0 else math.inf
    said = f"Cohen's d {effect:.2f}"
    sides = [_mean_estimate(side, alpha, "memories") for side in (old, new)]
    return _answered(metric, sides[0], sides[1], value, (ends, wide), len(old), gain, verdict, said)


def compare_confidence(
    control: npt.ArrayLike,
    canary: npt.ArrayLike,
    margin: float = 0.05,
    *,
    metric: str = "confidence of answers",
    alpha: float = ALPHA,
) -> Comparison:
    """Whether the canary is less sure of its answers (Task 015, ``AB_TEST_RECALL_QUALITY``): 0.05 is 5 % less.

    ``control[i]`` and ``canary[i]`` are the mean confidence of each arm's answers to question ``i``, in [0, 1]; ratio
    of means over the same questions, by paired bootstrap, and the upper bound of the decrease decides. Where the ratio
    is the same for all a bootstrap sees no spread: one that differs, at worst by all of it, may have been missed.
    """
    old, new = np.asarray(control, dtype=np.float64), np.asarray(canary, dtype=np.float64)
    if why := _no_pairs(old, new, within=(0.0, 1.0)):
        return undecided(metric, why, limit=margin, needed=FEWEST_QUESTIONS, needed_unit="questions")
    if old.sum() <= 0:
        return undecided(metric, "the control is sure of nothing at all: no ratio to it", limit=margin)
    if np.ptp(old) < _SAME and np.ptp(new) < _SAME and abs(old[0] - new[0]) < _SAME:
        return undecided(metric, "every answer is as sure as every other: nothing was measured", limit=margin)
    value = 1 - float(new.sum() / old.sum())
    if float(np.ptp(new - (1 - value) * old)) < _SAME:
        missed = [1 - a ** (1 / len(old)) for a in (alpha, alpha / 2)]
        ends, wide = (Interval(value - share, value + share) for share in missed)
    else:
        ends, wide = (Interval(-e.high, -e.low) for e in _ratio_bootstrap(old, new, (alpha, alpha / 2)))
    verdict = decide(ends, "<", margin)
    sides = [_mean_estimate(side, alpha, "") for side in (old, new)]
    return _answered(metric, sides[0], sides[1], value, (ends, wide), len(old), margin, verdict, op="<")


def per_question(questions: npt.ArrayLike, values: npt.ArrayLike) -> dict[int, float]:
    """The mean of the answers to each question, by its number."""
    asked, index = np.unique(np.asarray(questions, dtype=np.int64), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64), minlength=len(asked))
    means = sums / np.bincount(index, minlength=len(asked))
    return dict(zip(asked.tolist(), means.tolist(), strict=True))


def paired(control: Mapping[int, float], canary: Mapping[int, float]) -> tuple[Floats, Floats]:
    """The values of the questions that both arms were asked, in the same order."""
    both = sorted(control.keys() & canary.keys())
    return np.array([control[n] for n in both]), np.array([canary[n] for n in both])


def _no_pairs(control: Floats, canary: Floats, within: tuple[float, float]) -> str:
    """Why the two arms' values are no evidence question by question; empty where they are."""
    if len(control) != len(canary):
        return f"{len(control)} and {len(canary)} answers make no pairs"
    return _unfit(control, within=within) or _unfit(canary, within=within)


def _mean_against(metric: str, values: Floats, op: str, limit: float, alpha: float) -> Comparison:
    estimate = _mean_estimate(values, alpha, "ratio")
    wide = mean_bounds(values, alpha / 2)
    verdict = decide(estimate.interval, op, limit)
    nothing = Estimate(math.nan, NO_INTERVAL, "ratio", 0)
    return _answered(metric, nothing, estimate, estimate.value, (estimate.interval, wide), len(values), limit, verdict)


def _answered(
    metric: str,
    control: Estimate,
    canary: Estimate,
    value: float,
    ends: tuple[Interval, Interval],
    questions: int,
    limit: float,
    verdict: Verdict,
    said: str = "",
    op: str = ">",
) -> Comparison:
    held = verdict is Verdict.INCONCLUSIVE
    needed = sample_to_decide(questions, value, ends[0], limit) if held else None
    note = f"about {needed:,} questions would decide (there are {questions})" if needed else ""
    return Comparison(
        metric,
        control,
        canary,
        Estimate(value, ends[0], "ratio", questions),
        ends[1],
        limit,
        op,
        verdict,
        "absolute limit",
        needed,
        "questions",
        "; ".join(filter(None, [said, note])),
    )


def _unfit(values: Floats, within: tuple[float, float]) -> str:
    if len(values) < FEWEST_QUESTIONS:
        return f"{len(values)} questions; below {FEWEST_QUESTIONS} nothing is said"
    if not bool(np.isfinite(values).all()):
        return "answers that are no finite numbers"
    if bool((values < within[0]).any()) or bool((values > within[1]).any()):
        return f"values outside [{within[0]:g}, {within[1]:g}]"
    return ""


def _mean_estimate(values: Floats, alpha: float, unit: str) -> Estimate:
    return Estimate(float(values.mean()), mean_bounds(values, alpha), unit, len(values))


def mean_bounds(values: Floats, alpha: float = ALPHA) -> Interval:
    """One-sided bounds of a mean: bootstrap (BCa up to 2,000 values); without any spread, as hits and misses."""
    n, centre = len(values), float(values.mean())
    if bool((values == values[0]).all()):
        # No spread to resample: at worst a share is all or nothing.
        if 0 <= centre <= 1:
            ends = binomial_interval(math.floor(centre * n + 1e-9), n, alpha)
            return Interval(min(ends.low, centre), max(ends.high, centre))
        # One that differs may have been missed with this share; by how much, at worst by all of it.
        missed = 1 - alpha ** (1 / n)
        return Interval(centre * (1 - missed), centre * (1 + missed))
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=1 - 2 * alpha,
        n_resamples=_RESAMPLES,
        method="BCa" if n <= 2000 else "percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def _ratio_bootstrap(old: Floats, new: Floats, alphas: tuple[float, ...]) -> list[Interval]:
    """Percentile bounds of ``sum(new) / sum(old) - 1`` over resampled questions."""
    rng = np.random.default_rng(_SEED)
    ratios = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        pick = rng.integers(0, len(old), len(old))
        total = old[pick].sum()
        ratios[index] = new[pick].sum() / total - 1 if total > 0 else math.inf
    return [Interval(*(float(np.quantile(ratios, p)) for p in (a, 1 - a))) for a in alphas]
