"""The regressions a rehearsal can be asked to inject: defects of the reference, by what an operator would call them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.rollout.plan import Phase, Plan


@dataclass(frozen=True)
class Regression:
    """A kind of regression: the reference's defects that make it, and what it stands for."""

    kind: str
    defects: tuple[str, ...]
    meaning: str


KINDS = {
    r.kind: r
    for r in (
        Regression("latency-15", ("canary_slower=0.15",), "blended recalls take 15 % longer"),
        Regression("latency-30", ("canary_slower=0.30",), "blended recalls take 30 % longer"),
        Regression("latency-x6", ("canary_slower=5",), "blended recalls take six times as long"),
        Regression("errors", ("errors_one_cohort=0.003",), "0.3 % of the canary's recalls fail"),
        Regression("overlap", ("quality_overlap=0.3",), "the canary's answers share 0.7 of control's"),
        Regression("robustness", ("partial_cue_no_gain",), "partial cues return no more than before"),
        Regression("timeouts", ("semantic_late=0.25",), "25 % of semantic pathways are late"),
        Regression("coherence", ("coherence_low=0.7",), "concepts hardly hold together"),
        Regression("leak", ("leak_bytes=65536",), "every request leaks 64 KiB"),
        Regression("consolidation", ("consolidation_fails=0.3",), "30 % of consolidation runs fail"),
        Regression("crash", ("crash_after=8",), "the process ends without a word"),
        Regression("flags", ("flag_ignored",), "flag changes are accepted and change nothing"),
        Regression("metrics", ("metrics_gone",), "the dual-memory metrics are gone"),
        Regression("confidence", ("canary_unsure=0.2",), "the canary is 20 % less sure of its answers"),
        Regression("confidence-gone", ("confidence_gone",), "answers bear no confidence"),
        Regression("cohort", ("cohort_skew=0.4",), "the cohort holds 40 % of the users it should"),
    )
}


@dataclass(frozen=True)
class Injected:
    """A regression in a phase."""

    phase: Phase
    regression: Regression


def parse_regression(text: str, plan: Plan) -> Injected:
    """``PHASE:KIND``. Raises :class:`UsageError` for anything else."""
    name, separator, kind = text.partition(":")
    if not separator:
        raise UsageError(f"--inject-regression {text!r} is no PHASE:KIND", hint=f"KIND is one of {', '.join(KINDS)}")
    phase = plan.phase(name)
    if kind not in KINDS:
        raise UsageError(f"there is no regression {kind!r}", hint=f"one of {', '.join(KINDS)}")
    return Injected(phase, KINDS[kind])
