"""Whether the baseline shows a steady state: every tolerance met before anything is injected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.judge.checks import Check, answer
from harness.judge.summary import CaseSummary
from harness.model import Verdict
from harness.timeline.record import CaseRecord

# What must be in tolerance. (quantity, arguments, op, bound's name)
TOLERANCES: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("error_rate", {}, "<=", "error_rate"),
    ("latency_ms", {"p": 99.0}, "<=", "recall_p99_ms"),
    ("semantic_lost_ratio", {}, "<=", "semantic_timeout_ratio"),
)


@dataclass(frozen=True)
class SteadyState:
    """What a baseline says: what is out of tolerance, and what it leaves open. Neither: a steady state."""

    broken: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether a longer baseline might still establish it."""
        return bool(self.open) and not self.broken

    @property
    def reasons(self) -> list[str]:
        """Why it is not established; empty where it is."""
        return [*self.open, *self.broken]


def steady_state(summary: CaseSummary) -> SteadyState:
    """Judge the baseline of a record."""
    window = summary.view.windows.get("baseline")
    if window is None:
        return SteadyState(open=("no baseline was recorded",))
    doubt = summary.load_doubt(window)
    broken, left_open = [], [doubt] if doubt else []
    for name, arguments, op, bound in TOLERANCES:
        if name == "semantic_lost_ratio" and summary.record.manifest.get("cohort_rate", 0.0) == 0.0:
            continue
        check = Check("baseline", name, arguments, op, summary.view.limit(bound), bound, "steady state")
        result = answer(summary, check)
        if result.verdict is Verdict.FAIL:
            broken.append(f"out of tolerance before any fault: {result.reason}")
        elif result.verdict is not Verdict.PASS:
            left_open.append(f"not established: {result.reason}")
    return SteadyState(tuple(broken), tuple(left_open))


def steady_state_so_far(record: CaseRecord, now: float) -> SteadyState:
    """The same of a baseline that is still going on, as if it ended at ``now`` (seconds on the monotonic clock)."""
    over = {"event": "baseline_ended", "t": now}
    return steady_state(CaseSummary(replace(record, events=(*record.events, over))))
