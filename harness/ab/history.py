"""The nightly comparison (rollout runbook 2.3): canary against control, every night kept, all nights judged together.

One night cannot know how much nights differ; two and more are interleaved pairs, whose spread is measured.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.baseline import figures_from, read_figures, result_json
from harness.errors import RecordError, UsageError
from harness.judge.regression import Comparison, Limits, RunFigures, compare_runs
from harness.timeline.jsonl import plain, read_json, write_json_atomically

SCHEMA = 1
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Night:
    """One night's two runs, and how they compare by themselves."""

    date: str
    control: RunFigures
    canary: RunFigures
    alone: Comparison


def add_night(folder: Path, date: str, control: Path, canary: Path, *, replace: bool = False) -> None:
    """Read both runs and keep them as one night. Raises :class:`UsageError` or :class:`RecordError`."""
    if not _DATE.fullmatch(date):
        raise UsageError(f"--date {date!r} is no date", hint="YYYY-MM-DD")
    old, new = read_figures(control), read_figures(canary)
    path = folder / f"{date}.json"
    if path.exists() and not replace:
        raise UsageError("this night is kept already", where=str(path), hint="--replace, or another --date")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make the directory: {error.strerror}", where=str(folder)) from error
    value = {"schema": SCHEMA, "date": date, "control": result_json(old, {}), "canary": result_json(new, {})}
    write_json_atomically(path, plain(value))


def read_nights(folder: Path, limits: Limits, method: str) -> list[Night]:
    """Every night of a history, in order. Raises :class:`RecordError` where one is none."""
    nights = []
    for path in sorted(folder.glob("*.json")):
        value = read_json(path)
        if not isinstance(value, dict) or not isinstance(value.get("control"), dict):
            raise RecordError("is no night of a history", where=str(path))
        sides = [figures_from(value.get(side), f"{path}: {side}") for side in ("control", "canary")]
        alone = compare_runs([sides[0]], [sides[1]], limits, method=method)
        nights.append(Night(str(value.get("date", path.stem)), sides[0], sides[1], alone))
    if not nights:
        raise RecordError("holds no night", where=str(folder), hint="harness ab compare CONTROL CANARY")
    return nights


def together(nights: list[Night], limits: Limits, method: str) -> Comparison:
    """All nights as interleaved pairs."""
    return compare_runs([n.control for n in nights], [n.canary for n in nights], limits, method=method)


def history_json(nights: list[Night], pooled: Comparison) -> dict[str, Any]:
    """For ``--json``."""
    found: dict[str, Any] = plain(
        {
            "schema": SCHEMA,
            "nights": [{"date": night.date, **night.alone.as_json()} for night in nights],
            "together": pooled.as_json(),
        }
    )
    return found


def table_of(nights: list[Night]) -> list[str]:
    """A line a night."""
    lines = [f"{'Night':<12}{'Control P99':>13}{'Canary P99':>13}{'Change':>9}{'Throughput':>12}{'Errors':>9}  Alone"]
    for night in nights:
        rows = {row.metric: row for row in night.alone.rows}
        p99, served, errors = rows["P99 latency (ms)"], rows["Throughput (ops/s)"], rows["Error rate"]
        lines.append(
            f"{night.date:<12}{_ms(night.control.p99_ms):>13}{_ms(night.canary.p99_ms):>13}"
            f"{_change(p99.change.value):>9}{_change(served.change.value):>12}{_points(errors.change.value):>9}"
            f"  {night.alone.verdict.value}"
        )
    return lines


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f} ms"


def _change(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.1%}"


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}pp"
