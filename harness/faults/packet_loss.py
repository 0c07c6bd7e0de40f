"""Real packet loss, where the kernel lets us: a rule of the packet filter on loopback, for the target's port alone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults.base import Observation, Observer, TargetFault
from harness.faults.path import Trip, travel
from harness.faults.recipe import CommandRecipe, Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

_LATE_MS = 150.0  # Linux sends again after 200 ms at the earliest
_TRIPS = 12
_GONE = 1  # what iptables says where there is no such rule: it is deleted already


@dataclass(frozen=True)
class PacketLoss(TargetFault):
    """That share of the packets to the target's port is dropped on loopback; its answers are not.

    The rule carries the port and a comment of ours, and is deleted by exactly what it was made of.
    """

    loss_share: float
    kind: ClassVar[str] = "packet_loss"
    requires: ClassVar[tuple[str, ...]] = ("process", "host.packet_filter")
    slot: ClassVar[str] = "network.packet_loss"
    longest_hold_s: ClassVar[float] = 15.0

    def __post_init__(self) -> None:
        if not 0 < self.loss_share <= 0.9:
            raise UsageError(f"loss_share must be above 0 and at most 0.9, not {self.loss_share!r}")

    def describe(self) -> str:
        return f"{self.loss_share:.0%} of packets to the target lost"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        argv = [_program(), "-w", "2", "-I", "INPUT", *self._rule(target)]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise TargetError(f"the packet filter does not take the rule: {error}") from error
        if done.returncode != 0:
            raise TargetError(f"the packet filter refused: {done.stderr.decode('utf-8', 'replace').strip()[:160]}")

    def differs(self, target: Target, client: EngramClient) -> str:
        argv = [_program(), "-w", "2", "-C", "INPUT", *self._rule(target)]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise TargetError(f"the packet filter does not say what it does: {error}") from error
        return "" if done.returncode == 0 else f"the packet filter has no rule that loses {self.loss_share:.0%}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        argv = (_program(), "-w", "2", "-D", "INPUT", *self._rule(target))
        return (CommandRecipe(argv, ok_codes=(0, _GONE)),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Retransmissions(target)

    def _rule(self, target: Target) -> tuple[str, ...]:
        port = str(urlsplit(target.base_url).port)
        match = ("-i", "lo", "-d", "127.0.0.1", "-p", "tcp", "--dport", port)
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{self.loss_share:.6f}")
        return (*match, *chance, "-m", "comment", "--comment", f"engram-harness-{port}", "-j", "DROP")


class _Retransmissions(Observer):
    """Trips that took a retransmission longer."""

    def __init__(self, target: Target) -> None:
        self._url = target.base_url
        self.patience_s = 15.0

    def baseline(self) -> dict[str, Any]:
        return travel(self._url, trips=5, timeout_s=3.0).as_json()

    def effective(self) -> Observation:
        late, text, detail = self._look()
        return Observation(late > 0, text, detail)

    def healed(self) -> Observation:
        late, text, detail = self._look()
        return Observation(late == 0, text, detail)

    def _look(self) -> tuple[int, str, dict[str, Any]]:
        now = travel(self._url, trips=_TRIPS, timeout_s=3.0, until=_late)  # one is enough, and each takes seconds
        late = sum(_late(trip) for trip in now.trips)
        return late, f"{late} of {len(now.trips)} trips took a retransmission longer", now.as_json()


def _late(trip: Trip) -> bool:
    return trip.end != "answered" or trip.answer_s * 1e3 >= _LATE_MS


def _program() -> str:
    return shutil.which("iptables") or "iptables"
