"""Labelled traces of P99 over a day: one value per 5-minute window, with the count it was read from.

Written before ``harness/judge/drift.py`` and not tuned to it. ``noise`` is the stationary standard deviation of
log P99 between windows beyond sampling (0.05 is 5 %), AR(1) per window up to 0.97. The label is ``drift_per_h``: the
relative change an hour, compounding; 0 is a service whose P99 does not drift, however it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tests.soak_traces.rss import DAY_S, HOUR_S, Floats, noise

WINDOW_S = 300.0
NOISES = (0.02, 0.05, 0.10)
DRIFTS_PER_H = (0.005, 0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30)
PHIS = (0.0, 0.5, 0.9, 0.97)


@dataclass(frozen=True)
class LatencyTrace:
    """One trace with its truth; ``times_s`` are the windows' middles."""

    kind: str
    noise: float
    drift_per_h: float
    seed: int
    times_s: Floats
    p99_ms: Floats
    counts: Floats
    excluded: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class _Parts:
    log_shape: Floats
    phi: float
    excluded: list[tuple[float, float]] = field(default_factory=list)


def _steady(phi: float) -> Callable[[np.random.Generator, Floats], _Parts]:
    return lambda rng, t: _Parts(np.zeros_like(t), phi)


def _spiky(rng: np.random.Generator, t: Floats) -> _Parts:
    """One window in twenty is two to five times as slow: compaction, a neighbour."""
    hit = rng.random(len(t)) < 0.05
    return _Parts(np.where(hit, np.log(rng.uniform(2.0, 5.0, len(t))), 0.0), 0.5)


def _hourly(rng: np.random.Generator, t: Floats) -> _Parts:
    """Ten minutes of every hour are 30 % slower: consolidation, backup."""
    phase = (t + rng.uniform(0, HOUR_S)) % HOUR_S
    return _Parts(np.where(phase < 600.0, np.log(1.3), 0.0), 0.5)


def _daily(rng: np.random.Generator, t: Floats) -> _Parts:
    """Other people's day: a slow wave of 15 % up and down."""
    return _Parts(0.15 * np.sin(2 * np.pi * t / DAY_S + rng.uniform(0, 2 * np.pi)), 0.5)


def _warming(rng: np.random.Generator, t: Floats) -> _Parts:
    """Twice to four times as slow at first, better with a time constant of 5 to 30 minutes."""
    return _Parts(np.log(rng.uniform(2.0, 4.0)) * np.exp(-t / rng.uniform(300.0, 1800.0)), 0.5)


def _faulted(rng: np.random.Generator, t: Floats) -> _Parts:
    shape = np.zeros_like(t)
    windows = []
    for begin in np.sort(rng.uniform(0.5, 23.0, int(rng.integers(2, 9)))) * HOUR_S:
        end = begin + rng.uniform(300.0, 1200.0)
        shape += np.where((t > begin - WINDOW_S) & (t < end + WINDOW_S), np.log(3.0), 0.0)
        windows.append((float(begin - WINDOW_S), float(end + WINDOW_S)))
    return _Parts(shape, 0.5, windows)


def _shifting(rng: np.random.Generator, t: Floats) -> _Parts:
    """Levels that come and go every few hours, within 10 % of the middle: placement, frequency scaling."""
    edges = np.cumsum(rng.exponential(3 * HOUR_S, 60))
    levels = rng.uniform(-0.1, 0.1, 61)
    return _Parts(levels[np.searchsorted(edges, t)], 0.5)


KINDS: dict[str, Callable[[np.random.Generator, Floats], _Parts]] = {
    **{f"autocorrelation {phi:g}": _steady(phi) for phi in PHIS},
    "spikes": _spiky,
    "hourly bumps": _hourly,
    "daily wave": _daily,
    "warm-up": _warming,
    "fault windows": _faulted,
    "shifting levels": _shifting,
}


def latency_trace(
    kind: str, noise_sd: float, drift_per_h: float, seed: int, *, duration_s: float = DAY_S
) -> LatencyTrace:
    """One trace."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind), int(noise_sd * 1000), int(abs(drift_per_h) * 1000), 7])
    t = np.arange(0.0, DAY_S, WINDOW_S) + WINDOW_S / 2
    parts = KINDS[kind](rng, t)
    counts = rng.poisson(rng.uniform(20_000.0, 150_000.0), len(t)).astype(np.float64)
    # A log-normal service time of sigma 0.5: the sampling error of log p99 is 1.86 / sqrt(n).
    sampling = rng.normal(0.0, 1.86 / np.sqrt(counts))
    drift = np.log1p(drift_per_h) * t / HOUR_S
    log_p99 = np.log(rng.uniform(3.0, 20.0)) + parts.log_shape + drift + noise(rng, len(t), parts.phi, noise_sd)
    kept = t <= duration_s
    p99 = np.exp(log_p99 + sampling)[kept]
    return LatencyTrace(kind, noise_sd, drift_per_h, seed, t[kept], p99, counts[kept], parts.excluded)


def all_traces(steady_each: int, drifting_each: int, first_seed: int = 1) -> Iterator[LatencyTrace]:
    """Every kind at every noise: ``steady_each`` without drift, and ``drifting_each`` for every drift."""
    for kind in KINDS:
        for noise_sd in NOISES:
            for number in range(steady_each):
                yield latency_trace(kind, noise_sd, 0.0, first_seed + number)
            for drift in DRIFTS_PER_H:
                for number in range(drifting_each):
                    yield latency_trace(kind, noise_sd, drift, first_seed + number)
