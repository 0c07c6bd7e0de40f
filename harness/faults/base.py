"""What every fault is: a value with its exact inverse, and an observer that proves effect and healing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.engram.client import CHAOS
from harness.engram.transport import API_KEY_VARIABLE
from harness.errors import TargetError, UsageError
from harness.faults.recipe import CommandRecipe, HttpRecipe, ListingCheck, Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import ProcessIdentity, Target


@dataclass(frozen=True)
class Observation:
    """One look at the target: whether what was looked for ``holds``, and what was seen."""

    holds: bool
    evidence: str
    detail: dict[str, Any] = field(default_factory=dict)


class Observer(ABC):
    """Looks at the target from outside; changes nothing. One per injection.

    ``patience_s`` is how long the effect may take to show at this dose, known after :meth:`baseline`. A look raises
    :class:`TargetError` where the target does not answer it.
    """

    patience_s: float = 5.0

    @abstractmethod
    def baseline(self) -> dict[str, Any]:
        """Look before the fault goes in; answers what was seen, for the record."""

    def heal_begins(self) -> None:  # noqa: B027  most need not know
        """The heal was acknowledged: what is seen from now on counts for :meth:`healed`."""

    @abstractmethod
    def effective(self) -> Observation:
        """Whether the fault is seen to act, by more than the injector's return code."""

    @abstractmethod
    def healed(self) -> Observation:
        """Whether it is seen to act no longer."""


class Fault(ABC):
    """A fault as a value; subclasses are frozen dataclasses whose fields are the dose."""

    kind: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    slot: ClassVar[str]  # the name of the service's listing; two faults of one slot exclude each other
    takes_target_down: ClassVar[bool] = False  # its absence is then the effect, and no reason to abort
    longest_hold_s: ClassVar[float] = math.inf  # beyond this nothing more would be learnt
    wants: ClassVar[frozenset[str]] = frozenset()  # how the target has to be started: "proxy", "disk_shim"

    @abstractmethod
    def describe(self) -> str:
        """For people: what it does, with its dose."""

    @abstractmethod
    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        """Put it in. Raises :class:`TargetError`."""

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        """Put it into ``target``; what a client alone can do goes by :meth:`inject`. Raises :class:`TargetError`."""
        self.inject(client, ttl_s)

    def bring_back(self, target: Target) -> str:
        """What healing needs of a living harness beyond the recipes; answers what was done, for the record."""
        return ""

    @abstractmethod
    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        """The exact inverse."""

    @abstractmethod
    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        """Who proves effect and healing."""

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        """The observer, where it needs more of the target than its API."""
        return self.observer(client, cue)

    def differs(self, target: Target, client: EngramClient) -> str:
        """How what is in force differs from what was asked for, by looking at the target; empty where it does not.

        Asked once the effect is seen: half a dose shows an effect, too. Empty as well where the dose cannot be read;
        the observer has to tell half from whole then. Raises :class:`TargetError` where the target does not answer.
        """
        return ""

    def act(self, target: Target, client: EngramClient) -> Callable[[], None]:
        """Begin what has to be kept up while the fault is in force; answers what ends it, called before the heal."""
        return _nothing_to_end

    def to_json(self) -> dict[str, Any]:
        """``kind`` and dose."""
        return {"kind": self.kind, **vars(self)}


def _nothing_to_end() -> None:
    """Most faults stay by themselves."""


class TargetFault(Fault):
    """A fault that needs the target's process, files or frontend: a client alone can neither inject nor observe it."""

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        """A client cannot do it. Raises :class:`TargetError`."""
        raise TargetError(f"{self.kind} needs more of the target than its API", where=client.base_url)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        """A client cannot see it. Raises :class:`TargetError`."""
        raise TargetError(f"{self.kind} needs more of the target than its API", where=client.base_url)

    @abstractmethod
    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        """Put it into ``target``. Raises :class:`TargetError`."""

    @abstractmethod
    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        """Who proves effect and healing."""


def process_of(target: Target) -> ProcessIdentity:
    """The target's process. Raises :class:`TargetError` where it has none of ours."""
    if target.process is None:
        raise TargetError("the target has no process of ours", where=target.base_url)
    return target.process


def listed_otherwise(client: EngramClient, target: Target, slot: str, asked: float) -> str:
    """How the dose the service itself lists for ``slot`` differs from ``asked``; empty where it has no such list."""
    if "chaos.listing" not in target.capabilities:
        return ""
    found = client.chaos_listing().find(slot)
    if found is None:
        return f"the service does not list {slot}"
    if found.value is None or math.isclose(found.value, asked, rel_tol=1e-6):
        return ""
    return f"the service lists {slot} at {found.value:g}, asked for {asked:g}"


def chaos_recipe(target: Target, path: str, body: str, slot: str) -> HttpRecipe:
    """Heal by a chaos endpoint, checked by the listing where the target has one."""
    listed = slot if "chaos.listing" in target.capabilities else None
    return http_recipe(target, f"{CHAOS}/{path}", body, listed=listed)


def http_recipe(
    target: Target, path: str, body: str, *, listed: str | None = None, outlives: bool = False
) -> HttpRecipe:
    """Heal by a POST of ``body``; healed when the fault ``listed`` is listed no more.

    It goes past a proxy of ours, which dies with us, and through the tunnel where that is the only way. ``outlives``:
    what was done stays on disk when the service is replaced.
    """
    tunnel = target.tunnel
    root = tunnel.url if tunnel else target.claimed_url
    check = ListingCheck(root + CHAOS, listed) if listed else None
    if tunnel is None:
        return HttpRecipe("POST", root + path, body, API_KEY_VARIABLE, target.process, check)
    words = ["--method", "POST", "--path", path, "--body", body]
    words += ["--listed", CHAOS, listed] if listed else []
    words += ["--outlives"] if outlives else []
    otherwise = CommandRecipe((*tunnel.command, *words), timeout_s=30.0)
    return HttpRecipe("POST", root + path, body, API_KEY_VARIABLE, None, check, tunnel.process, otherwise)


def require_share(name: str, value: float) -> None:
    """Raise :class:`UsageError` unless ``value`` is in (0, 1]."""
    if not (math.isfinite(value) and 0 < value <= 1):
        raise UsageError(f"{name} must be above 0 and at most 1, not {value!r}")


def require_positive(name: str, value: float) -> None:
    """Raise :class:`UsageError` unless ``value`` is above 0 and finite."""
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be above 0, not {value!r}")
