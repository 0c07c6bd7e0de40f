"""Faults on request: what was asked for (the listing) and what is in force (the effect), healed by request or by time.

The two are kept apart so that a defect can let them disagree; without one they never do.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.reference.defects import Defects
from harness.reference.failures import bad_request
from harness.reference.space import Space

FAIL_RATE = "consolidation.fail_rate"
SEMANTIC_LATENCY = "semantic_pathway.latency"
CORRUPTION = "binding_index.corrupt"
LATENCY = "latency"
_RAMP_STEPS = 20


@dataclass(slots=True)
class _Listed:
    value: float
    since: float
    until: float | None
    timer: asyncio.TimerHandle | None


@dataclass(slots=True)
class _Effect:
    value: float
    fading_since: float | None = None


class Chaos:
    """The active faults."""

    def __init__(self, defects: Defects, seed: int | None, spaces: Callable[[], list[Space]]) -> None:
        self._defects = defects
        self._random = random.Random(seed)
        self._spaces = spaces
        self._listed: dict[str, _Listed] = {}
        self._effects: dict[str, _Effect] = {}
        self._late: dict[str, asyncio.TimerHandle] = {}

    @property
    def any_active(self) -> bool:
        """Whether any fault is listed."""
        return bool(self._listed)

    def value(self, fault: str) -> float:
        """The dose of ``fault`` in force now, in its own unit (ms, or a share); 0 when there is none."""
        effect = self._effects.get(fault)
        if effect is None:
            return 0.0
        if effect.fading_since is None:
            return effect.value
        left = 1.0 - (time.monotonic() - effect.fading_since) / self._defects.magnitude("slow_recovery_ramp")
        if left <= 0.0:
            del self._effects[fault]
            return 0.0
        return effect.value * left

    def consolidation_fails(self) -> bool:
        """Draw whether this consolidation run is to fail."""
        rate = self.value(FAIL_RATE)
        return rate > 0.0 and self._random.random() < rate

    def set(self, fault: str, value: float, ttl_s: float | None) -> int:
        """Put ``fault`` in force at ``value``, or heal it with 0; answers how many bindings that corrupted."""
        if value <= 0.0:
            if fault != CORRUPTION:  # corrupting nothing is a no-op; only restore heals bindings
                self.heal(fault)
            return 0
        self._unlist(fault)
        if late := self._late.pop(fault, None):
            late.cancel()
        now = time.monotonic()
        timer = asyncio.get_running_loop().call_later(ttl_s, self.heal, fault) if ttl_s is not None else None
        self._listed[fault] = _Listed(value, now, None if ttl_s is None else now + ttl_s, timer)
        if self._defects.on("chaos_ignored"):
            return 0
        if self._defects.on("chaos_half_dose"):
            value *= self._defects.magnitude("chaos_half_dose")
        if fault != CORRUPTION:
            self._effects[fault] = _Effect(value)
            return 0
        # The share asked for is of all bindings, so an earlier corruption is not added to.
        spaces = self._spaces()
        for space in spaces:
            space.bindings.restore()
        return sum(space.bindings.corrupt(value, self._random) for space in spaces)

    def heal(self, fault: str) -> int:
        """End ``fault``; healing what is not there is fine. Answers how many bindings were restored at once."""
        self._unlist(fault)
        if self._defects.on("recovery_never"):
            return 0
        if self._defects.on("recovery_late"):
            if fault not in self._late:
                delay_s = self._defects.magnitude("recovery_late")
                self._late[fault] = asyncio.get_running_loop().call_later(delay_s, self._end, fault)
            return 0
        return self._end(fault)

    def listing(self) -> list[dict[str, object]]:
        """The active faults as the API shows them."""
        now = time.monotonic()
        return [
            {
                "fault": fault,
                "value": listed.value,
                "since_s": round(now - listed.since, 3),
                "ttl_remaining_s": None if listed.until is None else round(max(0.0, listed.until - now), 3),
            }
            for fault, listed in self._listed.items()
        ]

    def _unlist(self, fault: str) -> None:
        listed = self._listed.pop(fault, None)
        if listed is not None and listed.timer is not None:
            listed.timer.cancel()

    def _end(self, fault: str) -> int:
        if late := self._late.pop(fault, None):
            late.cancel()
        if fault == CORRUPTION:
            if self._defects.on("slow_recovery_ramp"):
                self._restore_step(_RAMP_STEPS)
                return 0
            share = 0.5 if self._defects.on("restore_half") else 1.0
            return sum(space.bindings.restore(share) for space in self._spaces())
        if self._defects.on("slow_recovery_ramp") and fault in self._effects:
            self._effects[fault].fading_since = time.monotonic()
        else:
            self._effects.pop(fault, None)
        return 0

    def _restore_step(self, steps_left: int) -> None:
        for space in self._spaces():
            space.bindings.restore(1.0 / steps_left)
        if steps_left > 1:
            pause_s = self._defects.magnitude("slow_recovery_ramp") / _RAMP_STEPS
            self._late[CORRUPTION] = asyncio.get_running_loop().call_later(pause_s, self._restore_step, steps_left - 1)


def dose(body: object, key: str, *, share: bool) -> tuple[float, float | None]:
    """``key`` and ``ttl_s`` from a chaos request's body; anything else in it is refused."""
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    if unknown := sorted(set(body) - {key, "ttl_s"}):
        raise bad_request(f"unknown key {unknown[0]!r}")
    if key not in body:
        raise bad_request(f"{key} is required")
    value = _finite(body, key)
    if value < 0 or (share and value > 1):
        raise bad_request(f"{key} must be {'from 0 to 1' if share else '0 or more'}, not {value:g}")
    ttl_s = _finite(body, "ttl_s") if body.get("ttl_s") is not None else None
    if ttl_s is not None and ttl_s <= 0:
        raise bad_request(f"ttl_s must be above 0, not {ttl_s:g}")
    return value, ttl_s


def _finite(body: dict[str, object], key: str) -> float:
    value = body[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_request(f"{key} must be a number, not {value!r}")
    return float(value)
