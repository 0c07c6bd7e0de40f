"""What evidence is, and a signal made of samples: shared by the families of faults."""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt
from numpy import bool_

from harness.judge.recovery import SignalEvents
from harness.judge.view import CaseView
from harness.timeline.samples import Samples


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence: ``seen`` is None where it cannot be told."""

    name: str
    seen: bool | None
    detail: str


def observed(view: CaseView) -> Evidence:
    """What the fault's own observer saw of its effect, by looking at the target."""
    seen = view.record.first("effective_observed")
    return Evidence("observed", seen is not None, str(seen.get("evidence", "")) if seen else "no effect was observed")


def signal(name: str, samples: Samples, affected: npt.NDArray[bool_], tolerance: float) -> SignalEvents:
    """Samples as yes/no events."""
    return SignalEvents(name, samples["sent"].copy(), samples["done"].copy(), affected, tolerance)
