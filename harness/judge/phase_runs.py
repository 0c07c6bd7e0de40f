"""The recorded runs of one phase as one body of evidence: samples pooled, probes read run by run.

Instants of several runs are laid end to end, so that what lies between two nights is no gap of the record. The user is
the unit (STATISTICS.md); who is in the canary is what the answers said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.judge.arms import Arm
from harness.judge.intervals import Floats
from harness.judge.summary import CaseSummary
from harness.judge.view import CaseView, answered, recalls
from harness.model import Cohort, Cue, Outcome, Window
from harness.timeline.record import CaseRecord
from harness.timeline.samples import Samples, pick

_POOR = [int(Cue.PARTIAL), int(Cue.NOISY)]
Mask = npt.NDArray[np.bool_]


class PhaseRun:
    """One run of a phase."""

    def __init__(self, record: CaseRecord, name: str = "") -> None:
        self.record = record
        self.name = name or record.name
        self.summary = CaseSummary(record)

    @property
    def view(self) -> CaseView:
        """The run as the judge looks at it."""
        return self.summary.view

    @property
    def window(self) -> Window | None:
        """All of it after the warm-up."""
        return self.view.windows.get("whole")

    @property
    def duration_s(self) -> float:
        """How long it was observed, in real seconds."""
        return self.window.duration_s if self.window else 0.0

    @cached_property
    def requests(self) -> Samples:
        """The requests of its window."""
        return self.view.within(self.window)

    @cached_property
    def crashed(self) -> bool:
        """Whether the service's process died or started anew by itself."""
        pids = {r["pid"] for r in self.record.stream("process") if "pid" in r}
        died = any(
            (e["event"] == "aborted" and "target died" in str(e.get("reason", "")))
            or (e["event"] == "abort_condition_met" and "process_dead" in str(e.get("condition", "")))
            for e in self.record.events
        )
        return died or len(pids) > 1

    @property
    def cut_short(self) -> str:
        """Why the run ended before its time, or nothing."""
        event = self.record.first("aborted")
        if event is not None:
            return str(event.get("reason", "it was cut short"))
        return "" if self.record.first("run_ended") else "it was killed: its record has no end"

    @cached_property
    def hollow(self) -> str:
        """Why what it recorded is no record of requests, or nothing."""
        samples = self.record.samples
        if not len(samples):
            return "it recorded no request"
        instants = np.stack([samples[name] for name in ("intended", "sent", "done")])
        bad = int((~np.isfinite(instants)).any(axis=0).sum())
        return f"{bad:,} of {len(samples):,} requests bear instants that are no numbers" if bad else ""

    def doubt(self) -> str:
        """Why its durations may not be the target's doing."""
        return self.summary.timing_doubt("whole")


class PhaseRuns:
    """All runs of a phase; ``time_scale`` multiplies their length (a rehearsal's), 1 in earnest."""

    def __init__(self, runs: Sequence[PhaseRun], time_scale: float = 1.0) -> None:
        self.runs = tuple(runs)
        self.time_scale = time_scale
        self.known: dict[str, Any] = {}  # what was measured already: criteria and triggers ask for the same figures

    @property
    def covered_s(self) -> float:
        """How much of the phase was observed, in the plan's time."""
        return sum(run.duration_s for run in self.runs) * self.time_scale

    @cached_property
    def problem(self) -> str:
        """Why these runs cannot be believed, or nothing. What a crash cut short is evidence all the same.

        A probe that recorded in some runs only leaves holes that a figure over all of them would not show.
        """
        whole = [run for run in self.runs if not run.crashed]
        for run in whole:
            if why := run.cut_short or run.hollow:
                return f"{run.name}: {why}"
        probes = {name for run in whole for name, rows in run.record.streams.items() if rows}
        for run in whole:
            if missing := sorted(name for name in probes if not run.record.stream(name)):
                return f"{run.name}: nothing was read of {', '.join(missing)}, as in the other runs"
        return ""

    def once(self, name: str, measure: Callable[[PhaseRuns], Any]) -> Any:
        """What ``measure`` says of these runs, asked once."""
        if name not in self.known:
            self.known[name] = measure(self)
        return self.known[name]

    def doubt(self) -> str:
        """Why durations may be the machine's doing: one run in doubt puts the pool in doubt."""
        return next((f"{run.name}: {why}" for run in self.runs if (why := run.doubt())), "")

    def only_timeouts(self) -> bool:
        """Whether every recall that failed did so by the clock: a stall of the machine can do that, too."""
        wrong = np.concatenate([recalls(run.requests)["outcome"] for run in self.runs]) if self.runs else np.zeros(0)
        return set(np.unique(wrong).tolist()) <= {int(Outcome.OK), int(Outcome.TIMEOUT)}

    def arm(
        self,
        name: str,
        values: Callable[[Samples], Floats],
        keep: Callable[[Samples], Mask] | None = None,
        cohort: str = "",
    ) -> Arm:
        """Recalls of one cohort (or of all) as an arm: ``values`` and ``keep`` are applied to the samples."""
        users: list[npt.NDArray[np.int64]] = []
        found: list[Floats] = []
        instants: list[Floats] = []
        offset = 0.0
        for run in self.runs:
            samples = in_cohort(run, recalls(run.requests), cohort)
            if keep is not None:
                samples = pick(samples, keep(samples))
            start = run.window.start if run.window else 0.0
            users.append(samples["user"].astype(np.int64))
            found.append(values(samples).astype(np.float64))
            instants.append(samples["intended"] - start + offset)
            offset += run.duration_s
        if not users:
            return Arm(name, np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        return Arm(name, np.concatenate(users), np.concatenate(found), np.concatenate(instants))

    def counters(self, name: str) -> tuple[float, str]:
        """How far a counter of the service rose over all runs, and why that cannot be told where it cannot."""
        total = 0.0
        for run in self.runs:
            values = self._readings(run, name)
            if isinstance(values, str):
                return math.nan, values
            total += values[-1] - values[0]
        return (total, "") if self.runs else (math.nan, "no run was recorded")

    def gauge(self, name: str) -> Floats:
        """Every reading of a gauge of the service; a reading without it is NaN."""
        found: list[float] = []
        for run in self.runs:
            found += [_number(r.get("values", {}).get(name)) for r in _inside(run, "service")]
        return np.asarray(found, dtype=np.float64)

    def last(self, name: str) -> float:
        """The last reading of a gauge; NaN where there is none."""
        values = self.gauge(name)
        return float(values[-1]) if len(values) else math.nan

    def _readings(self, run: PhaseRun, name: str) -> Floats | str:
        values = [_number(r.get("values", {}).get(name)) for r in _inside(run, "service")]
        if len(values) < 2:
            return f"{run.name}: {name} was read less than twice"
        found = np.asarray(values, dtype=np.float64)
        if not bool(np.isfinite(found).all()):
            return f"{run.name}: {name} is missing or no number in {int((~np.isfinite(found)).sum())} scrapes"
        if bool((np.diff(found) < 0).any()):
            return f"{run.name}: {name} went backwards: the service started anew"
        return found

    def readings(self, stream: str) -> list[list[dict[str, Any]]]:
        """The readings of a probe inside the window, run by run."""
        return [_inside(run, stream) for run in self.runs]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _inside(run: PhaseRun, stream: str) -> list[dict[str, Any]]:
    window = run.window
    if window is None:
        return []
    return [r for r in run.record.stream(stream) if window.start <= float(r["t"]) <= window.end]


def in_cohort(run: PhaseRun, samples: Samples, cohort: str) -> Samples:
    """The samples of one cohort's users; all where ``cohort`` is empty."""
    if not cohort:
        return samples
    canary = np.isin(samples["user"], run.view.canary_users)
    return pick(samples, canary if cohort == "canary" else ~canary)


def failed(samples: Samples) -> Floats:
    """1.0 where the request failed."""
    found: Floats = (samples["outcome"] != int(Outcome.OK)).astype(np.float64)
    return found


def poor_cues(samples: Samples) -> Mask:
    """Recalls with a partial or noisy cue that were answered."""
    found: Mask = np.isin(samples["cue"], _POOR) & (samples["outcome"] == int(Outcome.OK))
    return found


def questions(samples: Samples) -> npt.NDArray[np.int64]:
    """What was asked: the memory (of a space) and the kind of cue; both cohorts are asked the same."""
    memory = samples["space"].astype(np.int64) * 2**32 + samples["item"].astype(np.int64)
    found: npt.NDArray[np.int64] = memory * 16 + samples["cue"].astype(np.int64)
    return found


def canary_label(samples: Samples) -> Mask:
    """Answered recalls that the service itself called canary."""
    found: Mask = answered(samples)["cohort"] == int(Cohort.CANARY)
    return found
