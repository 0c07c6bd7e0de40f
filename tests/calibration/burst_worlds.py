"""Errors of users' requests that come in bursts of a moment, as a failing node or a deployment makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.judge.arms import Arm
from harness.judge.compare import compare_error_rate
from harness.judge.shares import share_bounds, share_side

HOUR_S = 3600.0
ALPHA = 0.05


@dataclass(frozen=True)
class BurstWorld:
    """An hour of one arm: ``base`` of its requests fail by themselves, Poisson many ``bursts`` add errors.

    ``size``: mean errors of a burst (geometric); ``length``: its share of the hour; ``prone``: standard deviation of
    the log of the users' own error rates.
    """

    name: str
    bursts: float = 0.0
    size: float = 20.0
    base: float = 0.0
    prone: float = 0.0
    users: int = 2000
    length: float = 0.01
    requests: int = 6000


BURST_WORLDS = (
    BurstWorld("errors alone", base=0.02),
    BurstWorld("200 users, some prone", base=0.02, prone=1.5, users=200),
    BurstWorld("5 bursts of 20", bursts=5),
    BurstWorld("10 bursts of 20", bursts=10),
    BurstWorld("30 bursts of 20", bursts=30),
    BurstWorld("10 bursts of 20 of three minutes", bursts=10, length=0.05),
    BurstWorld("10 bursts of 20 and errors alone", bursts=10, base=0.005),
    BurstWorld("200 users, some prone, and 10 bursts", bursts=10, base=0.01, prone=1.5, users=200),
)


def draw_arm(world: BurstWorld, rng: np.random.Generator) -> Arm:
    """One arm's hour."""
    n = world.requests
    at = np.sort(rng.uniform(0, HOUR_S, n))
    who = rng.integers(0, world.users, n)
    own = np.exp(rng.normal(-(world.prone**2) / 2, world.prone, world.users))[who]
    failed = rng.random(n) < np.minimum(1.0, world.base * own)
    for _ in range(rng.poisson(world.bursts)):
        start = rng.uniform(0, 1 - world.length) * HOUR_S
        first, end = np.searchsorted(at, [start, start + world.length * HOUR_S])
        hits = min(int(rng.geometric(1 / world.size)), int(end - first))
        failed[first + rng.choice(int(end - first), hits, replace=False)] = True
    return Arm("arm", who, failed.astype(np.float64), at)


def cover_arms(world: BurstWorld, runs: int, seed: int) -> str:
    """How often the bounds of a share, and of the difference of two alike arms, hold; users' bounds beside them."""
    rng = np.random.default_rng(seed)
    arms = [draw_arm(world, rng) for _ in range(2 * runs)]
    truth = float(np.mean([one.values.mean() for one in arms]))
    seen = [one for one in arms if one.values.any()]
    ours = [share_side(one).bounds(ALPHA) for one in seen]
    users = [share_bounds(one.values > 0.5, one.users) for one in seen]
    high, low = sum(i.high >= truth for i in ours), sum(i.low <= truth for i in ours)
    naive = sum(i.high >= truth for i in users)
    changes = [compare_error_rate(*pair).change.interval for pair in zip(arms[::2], arms[1::2], strict=True)]
    worse = sum(i.low > 0 for i in changes) / runs
    better = sum(i.high < 0 for i in changes) / runs
    n = len(seen)
    return f"| {world.name} | {naive / n:.1%} | {high / n:.1%} | {low / n:.1%} | {worse:.1%} | {better:.1%} |"


def burst_table(runs: int, seed: int, worlds: Sequence[BurstWorld] = BURST_WORLDS) -> list[str]:
    """The table's lines."""
    lines = [
        "| 6,000 requests of 2,000 users in an hour | users alone, upper | upper bound holds | lower bound holds | "
        "alike, called worse | alike, called better |",
        "|---|---|---|---|---|---|",
    ]
    for world in worlds:
        lines.append(cover_arms(world, runs, seed))
        print(lines[-1], flush=True)
    return lines
