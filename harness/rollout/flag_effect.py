"""Setting one flag as the runbook's ``toggle_feature_flag.sh`` does: read back, seen to act, P99 watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.clock import Clock
from harness.errors import TargetError
from harness.judge.intervals import quantile
from harness.model import Estimate
from harness.rollout import behaviour
from harness.targets.base import Target

SEEN, NOT_SEEN, NOT_VISIBLE = "seen", "not seen", "not visible"
_RECALLS = 40
_PENALTIES = "engram_fan_effect_penalties_total"
_DUAL_METRIC = "engram_blended_recall_total"
_POLL_S = 0.2
_BLOCK = 5  # witness recalls in a row share their luck


@dataclass(frozen=True)
class Effect:
    """What the service was seen to do. ``state``: seen, not seen, or not visible (nothing would show it)."""

    state: str
    evidence: str


def wait_for_effect(target: Target, name: str, value: bool, *, limit_s: float, clock: Clock) -> Effect:
    """Look until the flag is seen to act; an effect that cannot be seen at all is told at once."""
    never, begun = threading.Event(), clock.now()
    users, _ = behaviour.canary_users(target.client, 8)
    while True:
        try:
            found = _LOOKS.get(name, _unknown)(target, users, value)
        except TargetError as error:
            found = Effect(NOT_SEEN, f"the target did not answer: {error.what}")
        if found.state != NOT_SEEN or clock.now() - begun >= limit_s:
            return found
        clock.wait(never, _POLL_S)


def _unknown(target: Target, users: list[str], value: bool) -> Effect:
    return Effect(NOT_VISIBLE, "no behaviour is known by which it would show")


def _blended(target: Target, users: list[str], value: bool) -> Effect:
    """Whether canary users are answered by the blended pathway."""
    with target.client() as client:
        flags = client.features()
    off = [name for name in ("dual_memory_types", "blended_recall") if not flags.get(name)]
    asked = users or [behaviour.witness_user(number) for number in range(_RECALLS)]
    answers = behaviour.ask(target.client, (asked[number % len(asked)] for number in range(_RECALLS)))
    failed, blended = behaviour.errors_of(answers), behaviour.blended_of(answers)
    if failed:
        return Effect(NOT_SEEN, f"witness recalls fail: {failed[0]}")
    if not blended.asked:
        return Effect(NOT_VISIBLE, "answers do not name their pathway")
    said = f"{blended.hits} of {blended.asked} witness recalls are blended"
    if value and (off or not users):
        why = f"{' and '.join(off)} is off" if off else "no witness user is in the canary cohort"
        return Effect(NOT_VISIBLE, f"{said}, as {why}")
    wanted = blended.hits == blended.asked if value else blended.hits == 0
    return Effect(SEEN if wanted else NOT_SEEN, said)


def _fan_effect(target: Target, users: list[str], value: bool) -> Effect:
    """Whether witness recalls are penalised, by the service's counter."""
    with target.client() as client:
        before = client.metrics().total(_PENALTIES)
        behaviour.ask(target.client, (users[number % len(users)] for number in range(_RECALLS)) if users else ())
        after = client.metrics().total(_PENALTIES)
    if before is None or after is None or not users:
        return Effect(NOT_VISIBLE, f"{_PENALTIES} is not there" if users else "no witness user is in the canary cohort")
    rise = after - before
    if value:
        return Effect(SEEN if rise else NOT_VISIBLE, f"{rise:g} penalties over {_RECALLS} witness recalls")
    return Effect(NOT_SEEN if rise else SEEN, f"{rise:g} penalties over {_RECALLS} witness recalls")


def _monitoring(target: Target, users: list[str], value: bool) -> Effect:
    with target.client() as client:
        there = _DUAL_METRIC in client.metrics().series
    return Effect(SEEN if there == value else NOT_SEEN, f"{_DUAL_METRIC} is {'there' if there else 'not there'}")


_LOOKS: dict[str, Callable[[Target, list[str], bool], Effect]] = {
    "blended_recall": _blended,
    "dual_memory_types": _blended,
    "fan_effect": _fan_effect,
    "monitoring": _monitoring,
}


@dataclass(frozen=True)
class P99:
    """Witness recalls of one stretch: P99 with its interval (ms), how many were asked and failed."""

    p99_ms: Estimate
    asked: int
    failed: int

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        found = self.p99_ms
        return {"p99_ms": found.value, **found.interval.as_json(), "recalls": self.asked, "failed": self.failed}


def watch_p99(target: Target, *, seconds: float, every_s: float, per_s: float, clock: Clock) -> Iterator[P99]:
    """P99 of witness recalls, a line every ``every_s`` seconds for ``seconds``.

    One recall at a time, ``per_s`` a second at most; latency counts from when it was due.
    """
    never, end = threading.Event(), clock.now() + seconds
    number, due = 0, clock.now()
    with target.client() as client:
        while clock.now() < end:
            until = min(end, clock.now() + every_s)
            took, failed = [], 0
            while clock.now() < until:
                clock.wait(never, due - clock.now())
                answer = behaviour.one(client, behaviour.witness_user(number % 64))
                took.append((clock.now() - due) * 1e3)
                failed += bool(answer.error)
                number += 1
                due = max(due + 1.0 / per_s, clock.now() - every_s)
            blocks = np.arange(len(took), dtype=np.int64) // _BLOCK
            yield P99(quantile(np.array(took), 0.99, blocks, "ms"), len(took), failed)
