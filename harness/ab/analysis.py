"""The comparison of two arms as a whole: every metric against its limit, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.ab.evidence import Evidence
from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from harness.judge import runbook
from harness.judge.arms import Arm, unfit
from harness.judge.compare import (
    compare_error_rate,
    compare_mean,
    compare_quantile,
    compare_share,
    compare_throughput,
)
from harness.judge.comparison import RUNBOOK, Comparison, undecided
from harness.judge.error_evidence import ErrorEProcess, first_errors
from harness.judge.intervals import Floats
from harness.judge.power import (
    RUNBOOK_MINIMUM,
    detectable_quantile_change,
    requests_for_quantile,
    tail_weight,
)
from harness.judge.quality import compare_overlap, compare_recall_at_k, compare_robustness
from harness.judge.sample_ratio import sample_ratio_check
from harness.judge.sequential import ALPHA, METHOD, SequentialQuantile
from harness.judge.sides import mean_side
from harness.model import Verdict
from harness.scenario.slo import Objectives

Q = 0.99
WATCHED = "watched"
STRETCH_S = 60.0  # errors are bet on minute by minute
_ONE_LOOK = "throughput, quality and the split of users have no bounds that hold at every look: judge them once"


@dataclass(frozen=True)
class Analysis:
    """All comparisons, and what the sample could have seen."""

    source: str
    method: str
    rows: tuple[Comparison, ...]
    power: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the rows."""
        return Verdict.worst(row.verdict for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 nothing worse than allowed, 1 something is, 4 cannot tell."""
        codes = {Verdict.FAIL: EXIT_FAILED, Verdict.PASS: EXIT_OK}
        return codes.get(self.verdict, EXIT_UNDECIDED)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "schema": 1,
            "source": self.source,
            "method": self.method,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "power": list(self.power),
            "notes": list(self.notes),
            "rows": [row.as_json() for row in self.rows],
        }


def analyse(evidence: Evidence, limits: Objectives, method: str) -> Analysis:
    """Compare everything the evidence holds. Limits by name, as in ``scenarios/ab.toml``."""
    judges = {RUNBOOK: _runbook_rows, WATCHED: _watched_rows}
    rows = judges.get(method, _rows)(evidence, limits)
    if not rows:
        rows = [undecided("everything", "the input holds nothing that can be compared")]
    notes = [*evidence.notes, *([_ONE_LOOK] if method == WATCHED else [])]
    return Analysis(evidence.source, method, tuple(rows), tuple(_power(evidence, limits)), tuple(notes))


def _watched_rows(evidence: Evidence, limits: Objectives) -> list[Comparison]:
    """What may be looked at again and again while the record grows; both together cry wolf in 5 % of runs at most."""
    rows = []
    at = _limit_reader(limits)
    if evidence.latency is not None and not evidence.series:
        # Its alpha is for both sides, so that of harm is half of it, as that of the errors is.
        process = SequentialQuantile(Q, at("p99_increase"), at("p99_floor_ms"), ALPHA)
        rows.append(process.look(*evidence.latency).named("P99 recall latency"))
    if evidence.errors is not None:
        rows.append(_watched_errors(*evidence.errors))
    return rows


def _watched_errors(control: Arm, canary: Arm) -> Comparison:
    process = ErrorEProcess(ALPHA / 2)
    why = unfit(control, canary, constant_is_unfit=False)
    if not why and (control.at is None or canary.at is None):
        why = "nothing tells when the requests were made, and so in which order errors came"
    if why:
        return undecided(process.metric, why, method=METHOD)
    for errors in first_errors(control, canary, STRETCH_S):
        process.update(errors.canary, errors.control, errors.share)
    return process.answer()


def _rows(evidence: Evidence, limits: Objectives) -> list[Comparison]:
    rows = []
    at = _limit_reader(limits)
    if evidence.split is not None:
        rows.append(sample_ratio_check(*evidence.split))
    if evidence.latency is not None:
        margin, floor = at("p99_increase"), at("p99_floor_ms")
        if evidence.series:
            rows.append(compare_mean(*evidence.latency, margin, floor, metric="P99 latency, mean of the series"))
        else:
            rows.append(compare_quantile(*evidence.latency, Q, margin, floor).named("P99 recall latency"))
    if evidence.errors is not None:
        rows.append(compare_error_rate(*evidence.errors, at("error_rate_increase")))
    if evidence.rates is not None:
        old, new = (part.tolist() for part in evidence.rates)
        rows.append(compare_throughput(old, new, at("throughput_decrease"), metric="recalls served"))
    rows += _quality_rows(evidence, limits)
    return rows


def _quality_rows(evidence: Evidence, limits: Objectives) -> list[Comparison]:
    if not evidence.recorded:
        return []
    at = _limit_reader(limits)
    nothing = np.zeros(0)
    overlaps = evidence.overlaps if evidence.overlaps is not None else nothing
    recalled = evidence.recalled if evidence.recalled is not None else nothing
    old, new = evidence.poor_cues if evidence.poor_cues is not None else (nothing, nothing)
    rows = [
        compare_overlap(overlaps, at("topk_overlap")),
        compare_recall_at_k(recalled, at("recall_at_k"), metric="recall@10, whole cues"),
        compare_robustness(old, new, at("robustness_gain"), metric="results for partial and noisy cues"),
    ]
    shares = (
        ("convergent recalls", evidence.convergent, ">", "convergent_ratio"),
        ("pattern completion", evidence.completed, "<", "pattern_completion_ratio"),
        ("semantic timeouts", evidence.late, "<", "semantic_timeout_ratio"),
    )
    for metric, arm, op, name in shares:
        if arm is None:
            rows.append(undecided(metric, "the canary made no blended recall", limit=at(name), op=op))
        else:
            rows.append(compare_share(metric, arm, op, at(name)))
    return rows


def _runbook_rows(evidence: Evidence, limits: Objectives) -> list[Comparison]:
    """The runbook's ways: Welch and Cohen's d on latencies, figures as they stand for the rest."""
    rows = []
    at = _limit_reader(limits)
    figures: list[tuple[str, Floats, Floats, float, str, str, str]] = []
    if evidence.latency is not None:
        old, new = evidence.latency
        rows.append(runbook.compare_means(old, new, metric="recall latency (Welch)"))
        rows.append(
            runbook.compare_figures("P99 recall latency", _p99(old), _p99(new), at("p99_increase"), "<", "ratio", "ms")
        )
    if evidence.errors is not None:
        old, new = evidence.errors
        figures.append(("error rate", old.values, new.values, 100 * at("error_rate_increase"), "<", "pp", "ratio"))
    if evidence.rates is not None:
        figures.append(("recalls served", *evidence.rates, -at("throughput_decrease"), ">", "ratio", "ratio"))
    if evidence.poor_cues is not None:
        figures.append(
            ("results for partial and noisy cues", *evidence.poor_cues, at("robustness_gain"), ">", "ratio", "memories")
        )
    for metric, left, right, limit, op, unit, shown in figures:
        rows.append(runbook.compare_figures(metric, _mean(left), _mean(right), limit, op, unit, shown))
    return rows


def _p99(one: Arm) -> float:
    return float(np.quantile(one.values, Q)) if one.count else math.nan


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _limit_reader(limits: Objectives) -> Callable[[str], float]:
    return lambda name: limits.limits[name].value


def _power(evidence: Evidence, limits: Objectives) -> list[str]:
    """What this sample can see at all, and what would decide; said beside the verdicts and not after them."""
    if evidence.latency is None or evidence.series:
        return []
    old, new = evidence.latency
    margin = limits.limits["p99_increase"].value
    weight = tail_weight(old.values, Q)
    if math.isnan(weight) or not new.count:
        return ["the control's sample is too small to say what could be seen"]
    effect = design_effect_of(old)
    per_canary = old.count / new.count
    needed = requests_for_quantile(Q, margin, weight, design_effect=effect, control_per_canary=max(per_canary, 1e-9))
    seen = detectable_quantile_change(Q, min(old.count, new.count), weight, design_effect=effect)
    lines = [
        f"canary {new.count:,} requests of {new.user_count:,} users, control {old.count:,} of {old.user_count:,}; "
        f"users' likeness makes a request worth 1/{effect:.1f}",
        f"with so many a P99 change of {seen:+.0%} would be seen (alpha 0.05, power 0.80)",
    ]
    if needed is not None:
        lines.append(f"identical arms prove a margin of {margin:.0%} with about {needed:,} canary requests")
    if min(old.count, new.count) < RUNBOOK_MINIMUM:
        lines.append(f"below the runbook's minimum of {RUNBOOK_MINIMUM:,} queries per cohort")
    return lines


def design_effect_of(one: Arm) -> float:
    """How many requests count as one, for the tail beyond the P99; 1 where requests are independent."""
    beyond = (one.values > np.quantile(one.values, Q)).astype(np.float64)
    share = float(beyond.mean())
    spread = mean_side(Arm(one.name, one.users, beyond, one.at)).spread
    if not spread.known or not 0 < share < 1:
        return 1.0
    return max(1.0, spread.variance / (share * (1 - share) / one.count))
