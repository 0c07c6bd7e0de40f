"""The workload of the benchmarks: the drill's mix at a rate of one's choice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.scenario.workload import Cues, Workload, load_workload

PER_USER = 50.0  # tasks a second each user of plain Locust aims at
_DRILL = Path(__file__).parents[2] / "scenarios" / "drill.toml"


def bench_workload(rate: float) -> Workload:
    """``rate`` ops/s; vectors only, so that both generators of the comparison send the same bytes."""
    return dataclasses.replace(load_workload(_DRILL).at_rate(rate), cues=Cues(0.0, 1.0, 0.0, 0.0))
