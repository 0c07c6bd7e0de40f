"""What the proxy can do to a connection, as values checked when they are put in."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from harness.errors import UsageError

TO_CLIENT, TO_SERVER, BOTH = "client", "server", "both"
# Which of a toxic's numbers it must have.
TYPES: dict[str, tuple[str, ...]] = {
    "latency": ("latency_ms",),
    "bandwidth": ("bytes_per_s",),
    "stall": ("share", "latency_ms"),
    "reset": ("share",),
    "black_hole": (),
    "half_open": (),
    "slow_close": ("latency_ms",),
    "corrupt": ("share",),
    "refuse": (),
    "cut_path": (),
}


@dataclass(frozen=True)
class Toxic:
    """One way to misbehave. ``toward``: the direction of the bytes it acts on (``client``, ``server``, ``both``)."""

    type: str
    toward: str = BOTH
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    bytes_per_s: float = 0.0
    share: float = 0.0
    path: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise UsageError(f"there is no toxic {self.type!r}", hint=f"one of {', '.join(TYPES)}")
        if self.toward not in (TO_CLIENT, TO_SERVER, BOTH):
            raise UsageError(f"a direction is client, server or both, not {self.toward!r}")
        for name in ("latency_ms", "jitter_ms", "bytes_per_s", "share"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} of a toxic must be a number from 0 on, not {value!r}")
        for name in TYPES[self.type]:
            if getattr(self, name) == 0:
                raise UsageError(f"a toxic {self.type} needs {name} above 0")
        if self.share > 1:
            raise UsageError(f"share of a toxic must be at most 1, not {self.share!r}")

    def acts_on(self, toward: str) -> bool:
        """Whether it acts on bytes in that direction."""
        return self.toward in (BOTH, toward)

    def as_json(self) -> dict[str, Any]:
        """For the control port: what differs from the defaults."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in found.items() if value not in (0, 0.0, "")}

    @staticmethod
    def from_json(value: object) -> Toxic:
        """The inverse of :meth:`as_json`. Raises :class:`UsageError`."""
        if not isinstance(value, Mapping) or "type" not in value:
            raise UsageError("a toxic is an object with a type")
        try:
            return Toxic(**value)
        except TypeError as error:
            raise UsageError(f"not a toxic: {error}") from error


class Toxics:
    """The toxics in force, and how often each acted."""

    def __init__(self) -> None:
        self._active: dict[str, Toxic] = {}
        self._acted: dict[str, int] = {}
        self._dice: dict[str, random.Random] = {}

    def put(self, name: str, toxic: Toxic) -> None:
        """In force from now on; one of the same name is replaced."""
        self._active[name] = toxic
        self._acted[name] = 0
        self._dice[name] = random.Random(toxic.seed)

    def remove(self, name: str) -> bool:
        """No longer in force; whether it was."""
        return self._active.pop(name, None) is not None

    def listing(self) -> list[dict[str, Any]]:
        """For the control port."""
        return [{"fault": n, **t.as_json(), "acted": self._acted[n]} for n, t in sorted(self._active.items())]

    def any(self, kind: str) -> bool:
        """Whether one of that type is in force."""
        return any(toxic.type == kind for toxic in self._active.values())

    def holds(self, toward: str) -> bool:
        """Whether bytes in that direction are to be held back."""
        return any(t.type == "black_hole" and t.acts_on(toward) for t in self._active.values())

    def delay_s(self, toward: str) -> float:
        """How much later the next piece of data arrives."""
        total = 0.0
        for name, toxic in self._acting(toward, "latency", "stall"):
            if toxic.type == "stall" and self._dice[name].random() >= toxic.share:
                continue
            total += toxic.latency_ms + toxic.jitter_ms * self._dice[name].uniform(-1.0, 1.0)
            self._acted[name] += 1
        return max(0.0, total / 1000.0)

    def transfer_s(self, toward: str, size: int) -> float:
        """How long ``size`` bytes take on the narrowest way."""
        slowest = 0.0
        for name, toxic in self._acting(toward, "bandwidth"):
            slowest = max(slowest, size / toxic.bytes_per_s)
            self._acted[name] += 1
        return slowest

    def close_delay_s(self, toward: str) -> float:
        """How much later the end of a stream arrives."""
        total = 0.0
        for name, toxic in self._acting(toward, "slow_close"):
            total += toxic.latency_ms / 1000.0
            self._acted[name] += 1
        return total

    def resets(self, toward: str) -> bool:
        """Whether this piece of data breaks its connection."""
        return any(self._drawn(name, toxic) for name, toxic in self._acting(toward, "reset"))

    def cuts(self, data: bytes) -> float | None:
        """How late a request that begins with ``data`` is to be (infinite: it breaks its connection), else None."""
        for name, toxic in self._acting(TO_SERVER, "cut_path"):
            if data.startswith(b"GET " + toxic.path.encode("latin-1", "replace")):
                self._acted[name] += 1
                return toxic.latency_ms / 1000.0 if toxic.latency_ms else math.inf
        return None

    def corrupted(self, toward: str, data: bytes) -> bytes:
        """``data``, perhaps with one bit turned over."""
        for name, toxic in self._acting(toward, "corrupt"):
            if data and self._drawn(name, toxic):
                at = self._dice[name].randrange(len(data))
                data = data[:at] + bytes([data[at] ^ (1 << self._dice[name].randrange(8))]) + data[at + 1 :]
        return data

    def _acting(self, toward: str, *kinds: str) -> list[tuple[str, Toxic]]:
        return [(n, t) for n, t in self._active.items() if t.type in kinds and t.acts_on(toward)]

    def _drawn(self, name: str, toxic: Toxic) -> bool:
        drawn = self._dice[name].random() < toxic.share
        self._acted[name] += drawn
        return drawn
