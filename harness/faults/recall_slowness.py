"""The observer that latency faults share: witness recalls get slower, lose their semantic half, or fail."""

from __future__ import annotations

from typing import Any

from harness.engram import EngramClient
from harness.faults.base import Observation, Observer
from harness.faults.witness import Round, Witness, WitnessCue

# More than half of a round, so that one recall that a busy machine made late proves nothing.
_MOST = 0.5


class RecallSlowness(Observer):
    """Effect is seen where every witness recall takes at least half of ``least_ms`` longer than the median did before,
    where most recalls lose the semantic half (by timeout or failure) or fail and hardly any did before.

    A fault slows every recall, a busy machine some of them: the fastest of a round proves the fault, and only a round
    whose median is as before proves that it has gone.
    """

    def __init__(self, client: EngramClient, cue: WitnessCue, *, latency_ms: float, least_ms: float) -> None:
        self._witness = Witness(client, cue, timeout_s=2.0 + latency_ms / 1000.0)
        self._threshold_ms = least_ms / 2.0
        self._before = Round()
        self._someone = False
        self.patience_s = 5.0 + 10 * latency_ms / 1000.0

    def baseline(self) -> dict[str, Any]:
        self._someone = self._witness.find_users()
        self._before = self._witness.ask(9)
        return {"blended_users_found": self._someone, **self._before.as_json()}

    def effective(self) -> Observation:
        if not self._someone:
            return Observation(False, "no user is served blended recalls, so nothing can be slow for one")
        now = self._witness.ask()
        signs = self._signs(now, now.fastest_ms, "fastest")
        return Observation(bool(signs), signs or "recalls are as before", now.as_json())

    def healed(self) -> Observation:
        now = self._witness.ask()
        signs = self._signs(now, now.median_ms, "median")
        return Observation(not signs, signs or "recalls are as before", now.as_json())

    def _signs(self, now: Round, took_ms: float, which: str) -> str:
        for reason in ("timeout", "failed", "breaker_open"):
            if now.share(reason) > _MOST and self._before.share(reason) <= _MOST:
                return f"{now.share(reason):.0%} of witness recalls lose the semantic half ({reason})"
        if now.error_share > _MOST and self._before.error_share <= _MOST:
            return f"{now.error_share:.0%} of witness recalls fail"
        rise_ms = took_ms - self._before.median_ms
        if rise_ms >= self._threshold_ms:
            return f"the {which} witness recall takes {rise_ms:.1f} ms longer"
        return ""
