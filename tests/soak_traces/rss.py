"""Labelled RSS traces of a day: what a clean or a leaking service looks like from outside.

Written before ``harness/judge/leak.py`` and not tuned to it. Sampling is every 15 s. ``noise_mb`` is the stationary
standard deviation of the residual noise, whatever its autocorrelation (AR(1) per 15 s sample, up to 0.97, a
correlation time of 8 minutes). A trace's label is ``leak_mb_per_h``; 0 is a service that does not leak, however
its memory moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STEP_S = 15.0
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
PAGE_MB = 4096 / 2**20

NOISES_MB = (1.0, 2.0, 5.0, 10.0)
LEAKS_MB_PER_H = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
PHIS = (0.0, 0.5, 0.9, 0.97)


@dataclass(frozen=True)
class RssTrace:
    """One trace with its truth."""

    kind: str
    noise_mb: float
    leak_mb_per_h: float
    seed: int
    times_s: Floats
    rss_mb: Floats
    excluded: list[tuple[float, float]] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)


@dataclass
class _Parts:
    """A trace being put together: what moves the memory besides noise and leak."""

    level: Floats
    phi: float
    excluded: list[tuple[float, float]] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    leak_from_s: float = 0.0


def _warm_up(t: Floats, since: float, size_mb: float, tau_s: float) -> Floats:
    grown: Floats = np.where(t >= since, size_mb * (1 - np.exp(-(np.maximum(t - since, 0)) / tau_s)), 0.0)
    return grown


def _flat(rng: np.random.Generator, t: Floats) -> _Parts:
    return _Parts(np.zeros_like(t), 0.0)


def _autocorrelated(rng: np.random.Generator, t: Floats) -> _Parts:
    return _Parts(np.zeros_like(t), float(rng.choice(PHIS[1:])))


def _most_autocorrelated(rng: np.random.Generator, t: Floats) -> _Parts:
    return _Parts(np.zeros_like(t), 0.97)


def _teeth(rng: np.random.Generator, t: Floats) -> Floats:
    """Garbage collected now and then: up in a ramp, down at once; periods of 10 to 150 minutes, uneven by 10 %."""
    period = float(np.exp(rng.uniform(np.log(600.0), np.log(9000.0))))
    size = rng.uniform(10.0, 60.0)
    edges = np.cumsum(np.concatenate([[-rng.uniform(0, period)], period * rng.uniform(0.9, 1.1, int(DAY_S / 400))]))
    tooth = np.searchsorted(edges, t, side="right") - 1
    ramp: Floats = size * (t - edges[tooth]) / (edges[tooth + 1] - edges[tooth])
    return ramp


def _sawtooth(rng: np.random.Generator, t: Floats) -> _Parts:
    return _Parts(_teeth(rng, t), 0.9)


def _steps(rng: np.random.Generator, t: Floats) -> Floats:
    """The allocator takes more arenas until it has enough, and now and then gives one back."""
    level = np.zeros_like(t)
    for _ in range(int(rng.integers(2, 7))):
        level += rng.uniform(4.0, 30.0) * (t >= min(rng.exponential(2.0), 12.0) * HOUR_S)
    for _ in range(int(rng.integers(0, 3))):
        level -= rng.uniform(4.0, 20.0) * (t >= rng.uniform(1.0, 23.0) * HOUR_S)
    return level


def _plateaus(rng: np.random.Generator, t: Floats) -> _Parts:
    return _Parts(_steps(rng, t), 0.9)


def _warming(rng: np.random.Generator, t: Floats) -> _Parts:
    return _Parts(_warm_up(t, 0.0, rng.uniform(50.0, 300.0), rng.uniform(600.0, 4500.0)), 0.9)


def _restarted(rng: np.random.Generator, t: Floats) -> _Parts:
    """Started again once to three times: memory begins anew, and warms up anew."""
    restarts = sorted(rng.uniform(1.0, 23.0, int(rng.integers(1, 4))) * HOUR_S)
    size, tau = rng.uniform(30.0, 100.0), rng.uniform(120.0, 900.0)
    level = np.zeros_like(t)
    for begin, end in zip([0.0, *restarts], [*restarts, np.inf], strict=True):
        here = (t >= begin) & (t < end)
        level[here] = _warm_up(t, begin, size, tau)[here]
    return _Parts(level, 0.9, restarts=[float(r) for r in restarts])


def _faulted(rng: np.random.Generator, t: Floats) -> _Parts:
    """Faults of 2 to 10 minutes in which memory rises; afterwards it falls back within about two minutes."""
    level = np.zeros_like(t)
    windows = []
    for begin in rng.uniform(0.5, 23.5, int(rng.integers(2, 9))) * HOUR_S:
        end = begin + rng.uniform(120.0, 600.0)
        size = rng.uniform(20.0, 100.0)
        level += np.where((t >= begin) & (t < end), size, 0.0)
        level += np.where(t >= end, size * np.exp(-np.maximum(t - end, 0.0) / 30.0), 0.0)
        windows.append((float(begin), float(end + 120.0)))
    return _Parts(level, 0.9, excluded=sorted(windows))


def _late(rng: np.random.Generator, t: Floats) -> _Parts:
    """As flat as can be, but where it leaks, the leak begins only after 2 to 6 hours."""
    return _Parts(np.zeros_like(t), 0.9, leak_from_s=float(rng.uniform(2.0, 6.0) * HOUR_S))


def _mixed(rng: np.random.Generator, t: Floats) -> _Parts:
    warm = _warm_up(t, 0.0, rng.uniform(30.0, 150.0), rng.uniform(300.0, 2700.0))
    return _Parts(warm + _teeth(rng, t) + 0.5 * _steps(rng, t), 0.97)


KINDS: dict[str, Callable[[np.random.Generator, Floats], _Parts]] = {
    "flat": _flat,
    "autocorrelated": _autocorrelated,
    "autocorrelated 0.97": _most_autocorrelated,
    "sawtooth": _sawtooth,
    "plateau steps": _plateaus,
    "warm-up": _warming,
    "restarts": _restarted,
    "fault windows": _faulted,
    "late onset": _late,
    "mixed": _mixed,
}


def noise(rng: np.random.Generator, n: int, phi: float, sd: float) -> Floats:
    """AR(1) with stationary standard deviation ``sd``."""
    from scipy.signal import lfilter

    shocks = rng.normal(0.0, sd * np.sqrt(1 - phi**2), n)
    shocks[0] = rng.normal(0.0, sd)
    filtered: Floats = lfilter([1.0], [1.0, -phi], shocks)
    return filtered


def rss_trace(
    kind: str, noise_mb: float, leak_mb_per_h: float, seed: int, *, duration_s: float = DAY_S, phi: float | None = None
) -> RssTrace:
    """One trace; ``phi`` overrides the kind's own autocorrelation."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind), int(noise_mb * 10), int(leak_mb_per_h * 10)])
    t = np.arange(0.0, DAY_S, STEP_S)
    parts = KINDS[kind](rng, t)
    since = np.array([0.0, *parts.restarts])
    running = t - since[np.searchsorted(since, t, side="right") - 1]
    leaked = leak_mb_per_h * np.maximum(running - parts.leak_from_s, 0.0) / HOUR_S
    chatter = noise(rng, len(t), parts.phi if phi is None else phi, noise_mb)
    raw = rng.uniform(60.0, 800.0) + parts.level + leaked + chatter
    kept = t <= duration_s
    rss = np.maximum(np.round(raw / PAGE_MB) * PAGE_MB, 1.0)[kept]
    return RssTrace(kind, noise_mb, leak_mb_per_h, seed, t[kept], rss, parts.excluded, parts.restarts)


def all_traces(clean_each: int, leaking_each: int, first_seed: int = 1) -> Iterator[RssTrace]:
    """Every kind at every noise: ``clean_each`` clean traces, and ``leaking_each`` for every size of leak."""
    for kind in KINDS:
        for noise_mb in NOISES_MB:
            for number in range(clean_each):
                yield rss_trace(kind, noise_mb, 0.0, first_seed + number)
            for leak in LEAKS_MB_PER_H:
                for number in range(leaking_each):
                    yield rss_trace(kind, noise_mb, leak, first_seed + number)
