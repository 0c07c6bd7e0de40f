"""A case as the judge looks at it: its windows, and the samples inside them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.judge.intervals import Floats
from harness.model import NOT_THE_SERVICE, RECALL_OPS, Cohort, Flag, Interval, Outcome, SemanticMissing, Window
from harness.timeline.record import CaseRecord
from harness.timeline.samples import Samples, pick

TIME_BLOCK_S = 0.25  # requests of one quarter of a second share their luck, so they are one cluster
_ATTEMPTED = [
    SemanticMissing.PRESENT,
    SemanticMissing.TIMEOUT,
    SemanticMissing.FAILED,
    SemanticMissing.BREAKER_OPEN,
]
_CANCELLED = [int(outcome) for outcome in NOT_THE_SERVICE]
_RECALLS = [int(op) for op in RECALL_OPS]


class CaseView:
    """What the quantities are computed from. Built from a record alone."""

    def __init__(self, record: CaseRecord) -> None:
        self.record = record

    @property
    def fault(self) -> dict[str, Any]:
        """The fault as the manifest describes it: ``kind`` and its parameters."""
        fault = self.record.manifest.get("fault")
        return fault if isinstance(fault, dict) else {"kind": "unknown"}

    def limit(self, name: str, default: float = math.nan) -> float:
        """A bound by name, as the manifest recorded it from the SLO file."""
        bound = self.record.manifest.get("slo", {}).get(name)
        return float(bound["value"]) if isinstance(bound, dict) else default

    def setting(self, name: str, default: float = math.nan) -> float:
        """A number of the drill profile, as the manifest recorded it."""
        value = self.record.manifest.get("profile", {}).get(name)
        return float(value) if isinstance(value, int | float) else default

    def instant(self, event: str) -> float:
        """When the first event of that name happened; NaN where it did not.

        An event written down later than it happened says when in ``at``.
        """
        found = self.record.first(event)
        return float(found["at"] if "at" in found else found["t"]) if found else math.nan

    @cached_property
    def end(self) -> float:
        """The last instant at which load was still offered."""
        for name in ("load_stopped", "aborted", "run_ended"):
            at = self.instant(name)
            if not math.isnan(at):
                return at
        return float(self.requests["done"].max()) if len(self.requests) else math.nan

    @cached_property
    def rolled_back(self) -> bool:
        """Whether this is a case of a rollback: something was done about the fault while it was in force."""
        return self.record.first("rollback_sent") is not None

    @cached_property
    def heal(self) -> Interval | None:
        """When the heal took hold (or the rollback, where there was one): between sent and acknowledged.

        None where nothing was healed.
        """
        name = "rollback" if self.rolled_back else "heal"
        sent, acked = self.instant(f"{name}_sent"), self.instant(f"{name}_acked")
        return None if math.isnan(sent) or math.isnan(acked) else Interval(sent, acked)

    @cached_property
    def windows(self) -> dict[str, Window]:
        """``baseline``, ``during`` (fault in force), ``after`` (from the seen heal on), ``whole``: those that exist."""
        found: dict[str, Window] = {}
        healing, over = ("rollback_sent", "after_ended") if self.rolled_back else ("heal_sent", "load_stopped")
        spans = {
            "baseline": (self.instant("baseline_started"), self.instant("baseline_ended")),
            "during": (self.instant("fault_in_force"), self.instant(healing)),
            "after": (self.instant("after_started"), self.instant(over)),
            "whole": (self.instant("baseline_started"), self.end),
        }
        for name, (start, end) in spans.items():
            if not math.isnan(start) and not math.isnan(end) and end > start:
                found[name] = Window(name, start, end)
        return found

    @cached_property
    def requests(self) -> Samples:
        """All samples of the arrivals: neither preload nor what the generator itself cancelled."""
        samples = self.record.samples
        keep = (samples["flags"] & int(Flag.PRELOAD)) == 0
        keep &= ~np.isin(samples["outcome"], _CANCELLED)
        return pick(samples, keep)

    def within(self, window: Window | None) -> Samples:
        """The requests meant for the window and answered (or given up on) inside it or after it."""
        if window is None:
            return self.requests[:0]
        intended = self.requests["intended"]
        return pick(self.requests, (intended >= window.start) & (intended < window.end))

    @cached_property
    def canary_users(self) -> npt.NDArray[np.uint32]:
        """Users whom any baseline answer called canary: errors name no cohort, their user does."""
        seen = self.within(self.windows.get("baseline"))
        if len(seen) == 0:
            seen = self.requests
        found: npt.NDArray[np.uint32] = np.unique(seen["user"][seen["cohort"] == int(Cohort.CANARY)])
        return found


def recalls(samples: Samples) -> Samples:
    """Text and embedding recalls."""
    return pick(samples, np.isin(samples["op"], _RECALLS))


def answered(samples: Samples) -> Samples:
    """Those that ended well."""
    return pick(samples, samples["outcome"] == int(Outcome.OK))


def attempted(samples: Samples) -> Samples:
    """Answered recalls that were to be blended: the semantic pathway was asked."""
    good = answered(recalls(samples))
    return pick(good, np.isin(good["semantic_missing"], [int(reason) for reason in _ATTEMPTED]))


def blocks(samples: Samples) -> npt.NDArray[np.int64]:
    """The time block of each sample, to cluster by."""
    found: npt.NDArray[np.int64] = np.floor(samples["intended"] / TIME_BLOCK_S).astype(np.int64)
    return found


def latency_ms(samples: Samples) -> Floats:
    """From the intended start, in milliseconds: what a user waits, queue included."""
    found: Floats = (samples["done"] - samples["intended"]) * 1e3
    return found


def service_ms(samples: Samples) -> Floats:
    """From the actual start, in milliseconds: what the request itself took."""
    found: Floats = (samples["done"] - samples["sent"]) * 1e3
    return found


def lag_ms(samples: Samples) -> Floats:
    """How late the generator was, in milliseconds; lateness for want of a free slot is the target's and left out."""
    ours = samples[(samples["flags"] & int(Flag.NO_FREE_SLOT)) == 0]
    found: Floats = (ours["sent"] - ours["intended"]) * 1e3
    return found
