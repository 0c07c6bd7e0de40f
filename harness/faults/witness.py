"""Witness recalls: a few requests of our own, beside the load, that tell how recall fares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from harness.engram import EngramClient
from harness.errors import TargetAnswerInvalid, TargetRefused, TargetUnreachable

CANARY_NAMES = ("canary", "treatment")
_MOST_USERS = 256
_WANTED_USERS = 4
_ROUND = 5


@dataclass(frozen=True)
class WitnessCue:
    """What a witness asks for; a cue that finds something shows more than one that does not."""

    query: str | None = "witness"
    embedding: Sequence[float] | None = None
    space: str | None = None


@dataclass(frozen=True)
class Reading:
    """One witness recall: how long it took in seconds, what it said of the semantic half, or how it failed."""

    service_s: float
    semantic_missing: str | None = None
    blended: bool = False
    bindings_filtered: int = 0
    error: str = ""


@dataclass(frozen=True)
class Round:
    """A few readings taken together."""

    readings: tuple[Reading, ...] = field(default=())

    @property
    def median_ms(self) -> float:
        """The median service time, failures included with the time they took."""
        return median(r.service_s for r in self.readings) * 1000.0 if self.readings else 0.0

    @property
    def fastest_ms(self) -> float:
        """The least service time; 0 where one failed, since it then says nothing of how long a recall takes."""
        return min((0.0 if r.error else r.service_s for r in self.readings), default=0.0) * 1000.0

    def share(self, reason: str) -> float:
        """The share of readings whose semantic half is missing for ``reason``."""
        return sum(r.semantic_missing == reason for r in self.readings) / max(1, len(self.readings))

    @property
    def error_share(self) -> float:
        """The share of readings that failed."""
        return sum(bool(r.error) for r in self.readings) / max(1, len(self.readings))

    @property
    def filtered(self) -> int:
        """Bindings the service said it filtered."""
        return sum(r.bindings_filtered for r in self.readings)

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        errors = sorted({r.error for r in self.readings if r.error})
        return {
            "recalls": len(self.readings),
            "median_ms": round(self.median_ms, 3),
            "fastest_ms": round(self.fastest_ms, 3),
            "timeouts": self.share("timeout"),
            "failed": self.share("failed"),
            "errors": self.error_share,
            **({"error": errors[0]} if errors else {}),
        }


class Witness:
    """Recalls as users who are served blended answers."""

    def __init__(self, client: EngramClient, cue: WitnessCue, *, timeout_s: float = 5.0) -> None:
        self._client = client
        self._cue = cue
        self._timeout_s = timeout_s
        self._users: list[str] = []
        self.blended = False

    def find_users(self) -> bool:
        """Look for users in the canary cohort; whether there are any, or the service names no cohorts.

        Raises :class:`TargetError` where recall does not work before any fault went in.
        """
        self._users = []
        for number in range(_MOST_USERS):
            user = f"witness-{number:04d}"
            said = self._recall(user).metadata
            if said.cohort is None:
                self._users = [f"witness-{n:04d}" for n in range(_WANTED_USERS)]
                return True
            if said.cohort in CANARY_NAMES and said.semantic_missing != "off":
                self._users.append(user)
            if len(self._users) == _WANTED_USERS:
                break
        return bool(self._users)

    def ask(self, recalls: int = _ROUND) -> Round:
        """Recall a few times, one after the other, as the users found."""
        users = self._users or ["witness-0000"]
        return Round(tuple(self._read(users[number % len(users)]) for number in range(recalls)))

    def _read(self, user: str) -> Reading:
        try:
            recalled = self._recall(user)
        except TargetUnreachable as error:
            return Reading(self._timeout_s, error=error.what)
        except (TargetRefused, TargetAnswerInvalid) as error:
            return Reading(0.0, error=error.what)
        said = recalled.metadata
        return Reading(
            recalled.service_s, said.semantic_missing, said.pathway == "blended", said.bindings_filtered or 0
        )

    def _recall(self, user: str) -> Any:
        cue = self._cue
        return self._client.recall(
            cue.query if cue.embedding is None else None,
            embedding=cue.embedding,
            space=cue.space,
            user=user,
            timeout_s=self._timeout_s,
        )
