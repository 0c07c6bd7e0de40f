"""A flag that will not stay: blended recall is turned off and on again and again, as two rollouts at odds do."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from harness.clock import SystemClock
from harness.engram import EngramClient
from harness.faults.base import Fault, Observation, Observer, require_positive
from harness.faults.flags import flags_recipe, keep_changing
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

FLAG = "blended_recall"
_LOOK_S = 1.0  # the longest look: what ends a case must not wait for one
_READ_S = 0.005
_TOO_LONG = 1.5  # periods between two changes: half as often is another fault


@dataclass(frozen=True)
class FlagFlapping(Fault):
    """``blended_recall`` changes every ``period_s`` seconds."""

    period_s: float = 0.25
    kind: ClassVar[str] = "flag_flapping"
    requires: ClassVar[tuple[str, ...]] = ("features", "blended_recall")
    slot: ClassVar[str] = "features.flapping"

    def __post_init__(self) -> None:
        require_positive("period_s", self.period_s)

    def describe(self) -> str:
        return f"{FLAG} turned off and on every {self.period_s:g} s"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.set_features(**{FLAG: not client.features()[FLAG]})

    def act(self, target: Target, client: EngramClient) -> Callable[[], None]:
        def flap(own: EngramClient, step: int) -> None:
            own.set_features(**{FLAG: not own.features()[FLAG]})

        return keep_changing(target, "flag-flapping", lambda step: self.period_s, flap)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        with target.client() as client:
            return (flags_recipe(target, {FLAG: client.features()[FLAG]}),)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Flag(client, self.period_s)


class _Flag(Observer):
    """Reads the flag: it changes, and as often as it is to; or has one value again and again."""

    def __init__(self, client: EngramClient, period_s: float) -> None:
        self._client = client
        self._seen: list[bool] = []
        self._reads: list[tuple[float, float, bool]] = []  # asked, answered, value
        self._period_s = period_s
        self._clock = SystemClock()
        self._before = True
        self._steady_reads = 3 + int(3 * period_s / 0.05)
        self.patience_s = 5.0 + 4 * period_s

    def baseline(self) -> dict[str, Any]:
        self._before = bool(self._client.features()[FLAG])
        return {FLAG: self._before}

    def heal_begins(self) -> None:
        self._seen.clear()

    def effective(self) -> Observation:
        never, until = threading.Event(), self._clock.now() + min(_LOOK_S, 3 * self._period_s)
        while self._clock.now() < until:
            asked = self._clock.now()
            value = bool(self._client.features()[FLAG])
            self._reads.append((asked, self._clock.now(), value))
            self._clock.wait(never, _READ_S)
        reads = self._reads
        changed = [at for at in range(1, len(reads)) if reads[at][2] != reads[at - 1][2]]
        # From the last look before a change to the first look after the next one: it was no longer than that.
        gaps = [reads[b][1] - reads[a - 1][0] for a, b in pairwise(changed)]
        shortest = min(gaps, default=math.inf)
        text = f"{FLAG} changed {len(changed)} times in {len(reads)} looks"
        if gaps:
            text += f", at the shortest within {shortest:.2f} s"
        return Observation(shortest <= _TOO_LONG * self._period_s, text)

    def healed(self) -> Observation:
        self._seen.append(bool(self._client.features()[FLAG]))
        last = self._seen[-self._steady_reads :]
        holds = len(last) == self._steady_reads and all(value == self._before for value in last)
        return Observation(holds, f"{FLAG} was {self._before} in {sum(v == self._before for v in last)} looks")
