"""Simulated traffic without any change between the arms (or with a known one), for the calibration of comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.judge.arms import Arm

Floats = npt.NDArray[np.float64]
MINUTE_S = 60.0


@dataclass(frozen=True)
class World:
    """How requests come about.

    ``users`` None: every request is a user of its own. ``user_spread`` and ``request_spread``: standard deviations of
    the log latency between users and within one; ``skew`` of the log of users' activity. ``correlation``: of the
    minutes' own log latency (standard deviation ``minute_spread``), drawn for each arm apart. ``ramp``: canary rates of
    equal thirds of the time, with latency rising ``trend`` (log) from first to last minute.
    """

    name: str
    users: int | None
    minutes: int = 60
    per_minute: float = 240.0
    rate: float = 0.25
    user_spread: float = 0.3
    request_spread: float = 0.5
    skew: float = 1.0
    correlation: float = 0.0
    minute_spread: float = 0.0
    ramp: tuple[float, ...] = ()
    trend: float = 0.0


WORLDS = (
    World("independent requests", None),
    World("50 users", 50),
    World("200 users", 200),
    World("2,000 users", 2000),
    World("minutes correlated at 0.9", 2000, user_spread=0.0, correlation=0.9, minute_spread=0.05),
    World("ramp 5 -> 25 -> 50 %, rising load", 2000, ramp=(0.05, 0.25, 0.5), trend=0.3),
)


def draw(world: World, rng: np.random.Generator, slower: float = 1.0) -> tuple[Arm, Arm]:
    """(control, canary) of one run; the canary's latencies are multiplied by ``slower``. Milliseconds, seconds."""
    n = int(rng.poisson(world.per_minute * world.minutes))
    at = np.sort(rng.uniform(0, world.minutes * MINUTE_S, n))
    minute = np.minimum((at / MINUTE_S).astype(np.int64), world.minutes - 1)
    count = world.users or n
    weight = rng.lognormal(0, world.skew, count)
    users = np.arange(n) if world.users is None else rng.choice(count, n, p=weight / weight.sum())
    stage = np.minimum(minute * len(world.ramp) // world.minutes, len(world.ramp) - 1) if world.ramp else None
    rates = np.full(n, world.rate) if stage is None else np.asarray(world.ramp)[stage]
    canary = rng.random(count)[users] < rates
    logs = rng.normal(0, world.user_spread, count)[users] + world.request_spread * rng.standard_normal(n)
    logs += world.trend * at / (world.minutes * MINUTE_S)
    if world.minute_spread:
        logs += _minutes(world, rng)[canary.astype(np.int64), minute]
    values = 10.0 * np.exp(logs) * np.where(canary, slower, 1.0)
    control, treated = (
        Arm(name, users[keep], values[keep], at[keep], None if stage is None else stage[keep])
        for name, keep in (("control", ~canary), ("canary", canary))
    )
    return control, treated


def _minutes(world: World, rng: np.random.Generator) -> Floats:
    """An autoregressive series for each arm, in its steady state from the first minute on."""
    found = np.empty((2, world.minutes))
    found[:, 0] = rng.normal(0, world.minute_spread, 2)
    fresh = world.minute_spread * math.sqrt(1 - world.correlation**2)
    for index in range(1, world.minutes):
        found[:, index] = world.correlation * found[:, index - 1] + rng.normal(0, fresh, 2)
    return found


def until(arm: Arm, seconds: float) -> Arm:
    """What was recorded before an instant."""
    assert arm.at is not None
    end = int(np.searchsorted(arm.at, seconds))
    return Arm(
        arm.name, arm.users[:end], arm.values[:end], arm.at[:end], None if arm.stage is None else arm.stage[:end]
    )


def draw_errors(
    rng: np.random.Generator,
    *,
    users: int,
    minutes: int,
    per_minute: float,
    rate: float,
    base: float,
    harm: float = 1.0,
    prone: float = 0.0,
) -> tuple[Arm, Arm]:
    """(control, canary) of errors: share ``base`` in the control, ``harm`` times that in the canary.

    ``prone``: standard deviation of the log of the users' own error rates (their mean stays ``base``), so that some
    users fail again and again.
    """
    n = int(rng.poisson(per_minute * minutes))
    at = np.sort(rng.uniform(0, minutes * MINUTE_S, n))
    who = rng.integers(0, users, n)
    canary = (rng.random(users) < rate)[who]
    own = np.exp(rng.normal(-(prone**2) / 2, prone, users))[who] if prone else 1.0
    failed = rng.random(n) < np.minimum(1.0, base * own * np.where(canary, harm, 1.0))
    values = failed.astype(np.float64)
    control, treated = (
        Arm(name, who[keep], values[keep], at[keep]) for name, keep in (("control", ~canary), ("canary", canary))
    )
    return control, treated


def draw_bursts(
    rng: np.random.Generator, bursts: float, size: float, *, equal: bool, spans: int = 1
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """(hits, moments) of 12 s at 300/s: Poisson many bursts of ``size`` hits (geometric unless ``equal``)."""
    trials, block = 3600, 75
    hit = np.zeros(trials, dtype=np.bool_)
    for _ in range(rng.poisson(bursts)):
        hits = int(size) if equal else int(rng.geometric(1 / size))
        start = int(rng.integers(0, trials - spans * block))
        if spans == 1:
            start = start // block * block
        hit[start + rng.choice(spans * block, min(hits, spans * block), replace=False)] = True
    return hit, np.arange(trials, dtype=np.int64) // block
