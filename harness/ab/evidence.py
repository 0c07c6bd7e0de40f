"""What is compared: both arms of every metric, from CSV files, from one run split by cohort, or from two runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.ab.tables import read_tables
from harness.cohort import CANARY, CONTROL
from harness.errors import RecordError, UsageError
from harness.judge import answers
from harness.judge.arms import Arm
from harness.judge.intervals import Floats
from harness.judge.quality import paired, per_question
from harness.judge.view import CaseView, answered, attempted, latency_ms, recalls
from harness.model import Flag, Outcome, SemanticMissing, Window
from harness.timeline.record import case_folders, is_case, read_case
from harness.timeline.samples import Samples

BLOCKS = 10  # stretches of a run whose served rates are compared pairwise
Pair = tuple[Arm, Arm]


@dataclass
class Evidence:
    """(control, canary) of each metric; None where the input does not hold it. ``source``: words for the report."""

    source: str
    latency: Pair | None = None
    errors: Pair | None = None
    rates: tuple[Floats, Floats] | None = None
    overlaps: Floats | None = None
    recalled: Floats | None = None
    poor_cues: tuple[Floats, Floats] | None = None
    convergent: Arm | None = None
    completed: Arm | None = None
    late: Arm | None = None
    split: tuple[int, int, float] | None = None  # canary users, control users, rate asked for
    series: bool = False
    recorded: bool = False  # a run of ours: quality that it does not hold is missing, not out of the question
    notes: list[str] = field(default_factory=list)


def gather(control: Path, canary: Path | None, window: str) -> Evidence:
    """Read the input. Raises :class:`RecordError` or :class:`UsageError` where it is none."""
    for path in filter(None, (control, canary)):
        if not path.exists():
            raise RecordError("no such file or directory", where=str(path))
    if control.is_dir():
        if canary is None:
            return _one_run(control, window)
        if not canary.is_dir():
            raise UsageError("a run and a table cannot be compared", where=str(canary))
        return _two_runs(control, canary, window)
    if canary is not None and canary.is_dir():
        raise UsageError("a table and a run cannot be compared", where=str(canary))
    return _tables(control, canary)


def _tables(control: Path, canary: Path | None) -> Evidence:
    known = read_tables(control, CONTROL)
    if canary is not None:
        known = {CONTROL: known.get(CONTROL), CANARY: read_tables(canary, CANARY).get(CANARY)}  # type: ignore[dict-item]
    old, new = known.get(CONTROL), known.get(CANARY)
    if old is None or new is None:
        raise UsageError(
            "one arm is missing", where=str(control), hint="give two files, or one with a column 'cohort' of both"
        )
    if old.series != new.series:
        raise UsageError("one file holds percentiles and the other requests", where=str(control))
    source = f"{control}" if canary is None else f"{control} and {canary}"
    return Evidence(
        source,
        latency=(old.latency, new.latency) if old.latency and new.latency else None,
        errors=(old.errors, new.errors) if old.errors and new.errors else None,
        series=old.series,
        notes=[*old.notes, *new.notes],
    )


def _view(folder: Path) -> CaseView:
    """The case of a directory, or the only case of a session's."""
    if is_case(folder):
        return CaseView(read_case(folder))
    cases = case_folders(folder)
    if len(cases) != 1:
        names = ", ".join(case.name for case in cases[:5])
        found = f"{len(cases)} cases: {names}" if cases else "no case"
        raise RecordError(f"holds {found}", where=str(folder), hint="give one case's directory")
    return CaseView(read_case(cases[0]))


def _window(view: CaseView, name: str, folder: Path) -> Window:
    found = view.windows.get(name)
    if found is None:
        known = ", ".join(view.windows) or "none"
        raise UsageError(f"the window '{name}' was not recorded", where=str(folder), hint=f"recorded: {known}")
    return found


def _one_run(folder: Path, window_name: str) -> Evidence:
    view = _view(folder)
    window = _window(view, window_name, folder)
    samples = recalls(view.within(window))
    old, new = (samples[keep] for keep in answers.cohort_masks(view, samples))
    if not len(old) or not len(new):
        raise RecordError("holds one cohort only", where=str(folder), hint="give a second run to compare it with")
    found = Evidence(f"{folder}, window '{window_name}', split by cohort", recorded=True)
    found.latency = answers.latency_arms(view, window)
    found.errors = answers.error_arms(view, window)
    found.rates = _served(old, window), _served(new, window)
    panel = answers.panel_of(view, window)
    every = answers.cues_of(None)
    found.overlaps = answers.overlaps(panel, panel.of("control", every), panel, panel.of("canary", every), 10)
    questions, values = answers.recall_values(panel, panel.of("canary", answers.cues_of("exact")), 10, meant=False)
    found.recalled = np.array(list(per_question(questions, values).values()))
    counts = [answers.result_counts(part, answers.POOR) for part in (old, new)]
    found.poor_cues = paired(counts[0], counts[1])
    _canary_shares(found, new)
    rate = view.record.manifest.get("cohort_rate")
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        found.split = (len(np.unique(new["user"])), len(np.unique(old["user"])), float(rate))
    return found


def _two_runs(control: Path, canary: Path, window_name: str) -> Evidence:
    """Two runs, one an arm: they were not measured at the same time, so moments cannot be compared."""
    views = [_view(folder) for folder in (control, canary)]
    windows = [_window(view, window_name, folder) for view, folder in zip(views, (control, canary), strict=True)]
    parts = [recalls(view.within(window)) for view, window in zip(views, windows, strict=True)]
    found = Evidence(f"{control} and {canary}, window '{window_name}'", recorded=True)
    found.notes.append("two runs differ by more than what was changed (run-to-run variation is not in these intervals)")
    found.latency = _arms(parts, [latency_ms(part) for part in parts])
    found.errors = _arms(parts, [(part["outcome"] != int(Outcome.OK)).astype(np.float64) for part in parts])
    found.rates = _served(parts[0], windows[0], per_s=True), _served(parts[1], windows[1], per_s=True)
    panels = [answers.panel_of(view, window) for view, window in zip(views, windows, strict=True)]
    masks = [panel.of(None, answers.cues_of(None)) for panel in panels]
    found.overlaps = answers.overlaps(panels[0], masks[0], panels[1], masks[1], 10)
    questions, values = answers.recall_values(panels[1], panels[1].of(None, answers.cues_of("exact")), 10, meant=False)
    found.recalled = np.array(list(per_question(questions, values).values()))
    counts = [answers.result_counts(part, answers.POOR) for part in parts]
    found.poor_cues = paired(counts[0], counts[1])
    _canary_shares(found, parts[1])
    return found


def _arms(parts: list[Samples], values: list[Floats]) -> Pair:
    old, new = (
        Arm(name, part["user"].astype(np.int64), np.asarray(column, dtype=np.float64))
        for name, part, column in zip((CONTROL, CANARY), parts, values, strict=True)
    )
    return old, new


def _served(samples: Samples, window: Window, *, per_s: bool = False) -> Floats:
    """Recalls answered per second in each stretch of the window; else as a share of those asked for in the whole of it.

    An open loop sets how many are asked for; what the service did not keep up with is answered late, or never.
    """
    good = answered(samples)
    done = good["done"][good["done"] < window.end]
    counts, _ = np.histogram(done, bins=BLOCKS, range=(window.start, window.end))
    per_block = window.duration_s / BLOCKS
    asked = 1.0 if per_s else max(1, len(samples)) / window.duration_s
    found: Floats = counts / per_block / asked
    return found


def _canary_shares(found: Evidence, canary: Samples) -> None:
    """Of the canary's blended recalls: convergent, filled up, late."""
    tried = attempted(canary)
    if not len(tried):
        return
    users, at = tried["user"].astype(np.int64), tried["intended"].astype(np.float64)
    flags = {
        "convergent": tried["convergent"] > 0,
        "completed": (tried["flags"] & int(Flag.PATTERN_COMPLETED)) != 0,
        "late": tried["semantic_missing"] == int(SemanticMissing.TIMEOUT),
    }
    for name, hit in flags.items():
        setattr(found, name, Arm(CANARY, users, hit.astype(np.float64), at))
