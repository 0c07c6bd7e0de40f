"""What the charts show: a case's samples and probe readings, binned over time.

Bins start at the case's first instant of interest; times on the charts are seconds since the baseline began.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.judge.effects import effect_signal
from harness.judge.intervals import Floats
from harness.judge.summary import CaseSummary
from harness.judge.view import latency_ms, recalls, service_ms
from harness.model import Outcome

BIN_S = 0.5
MOST_BINS = 160


@dataclass(frozen=True)
class Bins:
    """Equal bins: ``edges`` holds one instant (s, monotonic) more than there are bins."""

    edges: Floats

    @property
    def width_s(self) -> float:
        return float(self.edges[1] - self.edges[0])

    @property
    def count(self) -> int:
        return len(self.edges) - 1

    @property
    def middles(self) -> Floats:
        found: Floats = (self.edges[:-1] + self.edges[1:]) / 2
        return found

    def index(self, instants: Floats) -> npt.NDArray[np.int64]:
        """The bin of each instant; -1 or ``count`` outside."""
        return np.searchsorted(self.edges, instants, side="right").astype(np.int64) - 1

    def counts(self, instants: Floats) -> Floats:
        """How many instants fall into each bin."""
        found: Floats = np.histogram(instants, self.edges)[0].astype(np.float64)
        return found


def quantile_per_bin(bins: Bins, instants: Floats, values: Floats, q: float, least: int = 1) -> Floats:
    """The q-quantile of ``values`` in each bin; NaN where fewer than ``least`` fall into it."""
    index = bins.index(instants)
    order = np.lexsort((values, index))
    sorted_index, ordered = index[order], values[order]
    starts = np.searchsorted(sorted_index, np.arange(bins.count), side="left")
    ends = np.searchsorted(sorted_index, np.arange(bins.count), side="right")
    sizes = ends - starts
    place = starts + np.clip(np.ceil(q * sizes).astype(np.int64) - 1, 0, None)
    filled = sizes >= max(1, least)
    found = np.full(bins.count, np.nan)
    found[filled] = ordered[place[filled]]
    return found


def share_per_bin(bins: Bins, instants: Floats, hit: npt.NDArray[np.bool_]) -> Floats:
    """The share of hits among the instants of each bin; NaN where there are none."""
    all_ = bins.counts(instants)
    hits = bins.counts(instants[hit])
    found: Floats = np.divide(hits, all_, out=np.full(bins.count, np.nan), where=all_ > 0)
    return found


class CaseSeries:
    """The series of one case, computed when asked for."""

    def __init__(self, summary: CaseSummary) -> None:
        self._summary = summary
        self._view = summary.view

    @cached_property
    def span(self) -> tuple[float, float] | None:
        """From the first to the last instant shown (s, monotonic); None where there is nothing to show."""
        view = self._view
        instants = view.requests["intended"]
        start, end = view.instant("baseline_started"), view.end
        if math.isnan(start):
            start = float(instants.min()) if len(instants) else math.nan
        if len(instants):
            # Two seconds of lead-in show how the steady state was reached; more would only squeeze the rest.
            start = max(float(instants.min()), start - 2.0)
            # The generator still waits for its last answers when the arrivals are over: no rate can be read from that.
            end = min(end, float(instants.max())) if not math.isnan(end) else float(instants.max())
        if math.isnan(start) or math.isnan(end) or end - start < BIN_S:
            return None
        return start, end

    @cached_property
    def origin(self) -> float:
        """The instant that the charts call 0 s: the start of the baseline."""
        start = self._view.instant("baseline_started")
        return start if not math.isnan(start) else (self.span or (0.0, 0.0))[0]

    @cached_property
    def bins(self) -> Bins | None:
        """Bins of half a second, or wider where the case is so long that they would be too many."""
        if self.span is None:
            return None
        start, end = self.span
        width = BIN_S * max(1, math.ceil((end - start) / BIN_S / MOST_BINS))
        # A bin edge on the origin keeps the windows' edges out of the middle of a bin.
        first = self.origin - math.ceil(max(0.0, self.origin - start) / width) * width
        count = max(1, math.ceil((end - first) / width - 0.2))
        edges: Floats = np.asarray(first + width * np.arange(count + 1), dtype=np.float64)
        return Bins(edges)

    @property
    def _covered_s(self) -> Floats:
        """How much of each bin the record covers: the last one ends with the load, and its rate must not sag."""
        assert self.bins is not None and self.span is not None
        low, high = np.maximum(self.bins.edges[:-1], self.span[0]), np.minimum(self.bins.edges[1:], self.span[1])
        found: Floats = np.maximum(high - low, 0.1 * self.bins.width_s)
        return found

    def latency(self, q: float) -> Floats:
        """Recall latency from the intended start, ms, per bin."""
        asked = recalls(self._view.requests)
        assert self.bins is not None
        return quantile_per_bin(self.bins, asked["intended"], latency_ms(asked), q)

    def service(self, q: float) -> Floats:
        """Recall service time, ms, per bin."""
        asked = recalls(self._view.requests)
        assert self.bins is not None
        return quantile_per_bin(self.bins, asked["intended"], service_ms(asked), q)

    def errors(self) -> Floats:
        """Share of requests that did not end well, per bin."""
        every = self._view.requests
        assert self.bins is not None
        return share_per_bin(self.bins, every["intended"], every["outcome"] != int(Outcome.OK))

    def offered(self) -> Floats:
        """Requests the schedule asked for, per second: read from the gapless sequence, so unsent ones count too."""
        every = self._view.requests
        assert self.bins is not None
        edges = np.clip(self.bins.edges, every["intended"][0], every["intended"][-1])
        place = np.interp(edges, every["intended"], every["sequence"].astype(np.float64))
        found: Floats = np.diff(place) / np.maximum(np.diff(edges), 0.1 * self.bins.width_s)
        return found

    def completed(self) -> Floats:
        """Requests that ended well, per second, by the instant they ended."""
        every = self._view.requests
        assert self.bins is not None
        good = every["done"][every["outcome"] == int(Outcome.OK)]
        return self.bins.counts(good) / self._covered_s

    def effect(self) -> tuple[str, float, Floats] | None:
        """Name, tolerance and affected share per bin of the fault's own signal; None where it has none."""
        signal = effect_signal(self._view)
        if signal is None or self.bins is None or signal.count == 0:
            return None
        return signal.name, signal.tolerance, share_per_bin(self.bins, signal.begun, signal.affected)
