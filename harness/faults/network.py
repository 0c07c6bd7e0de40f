"""What the faults of the proxy share: a toxic goes in and out over its control port, and trips show what it does."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import httpx

from harness.engram import EngramClient
from harness.errors import TargetError
from harness.faults.base import Observation, Observer, TargetFault
from harness.faults.path import ALIVE, Round, travel
from harness.faults.recipe import HttpRecipe, ListingCheck, Recipe
from harness.faults.toxics import Toxic
from harness.faults.witness import WitnessCue
from harness.targets.base import Frontend, Target

_CONTROL_TIMEOUT_S = 5.0


class NetworkFault(TargetFault):
    """A toxic in the proxy before the target. Subclasses say which, and by what signs it is known."""

    requires: ClassVar[tuple[str, ...]] = ("proxy",)
    wants: ClassVar[frozenset[str]] = frozenset({"proxy"})
    longest_hold_s: ClassVar[float] = 15.0
    probe_path: ClassVar[str] = ALIVE
    trips: ClassVar[int] = 5
    trip_timeout_s: ClassVar[float] = 0.6

    @abstractmethod
    def toxic(self) -> Toxic:
        """What the proxy is to do."""

    @abstractmethod
    def signs(self, before: Round, now: Round) -> str:
        """What shows that the fault acts, empty where nothing does."""

    def over(self, before: Round, now: Round) -> bool:
        """Whether trips are as they were before."""
        return now.share("answered") == 1.0 and not self.signs(before, now)

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        url = f"{_frontend(target).control_url}/toxics/{self.slot}"
        try:
            answer = httpx.put(url, json=self.toxic().as_json(), timeout=_CONTROL_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as error:
            raise TargetError(f"the fault proxy does not take orders: {error}", where=url) from error
        if answer.status_code != 200:
            raise TargetError(f"the fault proxy refused: {answer.text[:160]}", where=url)

    def differs(self, target: Target, client: EngramClient) -> str:
        url = f"{_frontend(target).control_url}/toxics"
        try:
            listed = httpx.get(url, timeout=_CONTROL_TIMEOUT_S, trust_env=False).json()["active"]
            mine = next((one for one in listed if one["fault"] == self.slot), None)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise TargetError(f"the fault proxy does not say what it does: {error}", where=url) from error
        if mine is None:
            return "the fault proxy does nothing of the kind"
        found = Toxic.from_json({key: item for key, item in mine.items() if key not in ("fault", "acted")})
        return "" if found == self.toxic() else f"the fault proxy does {found.as_json()}, not {self.toxic().as_json()}"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        frontend = _frontend(target)
        toxics = f"{frontend.control_url}/toxics"
        check = ListingCheck(toxics, self.slot)
        return (HttpRecipe("DELETE", f"{toxics}/{self.slot}", dies_with=frontend.process, check=check),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Trips(self, target.base_url)


class _Trips(Observer):
    """Compares trips to those before the fault."""

    def __init__(self, fault: NetworkFault, base_url: str) -> None:
        self._fault = fault
        self._url = base_url
        self._before = Round()
        self.patience_s = 8.0

    def baseline(self) -> dict[str, Any]:
        self._before = self._travel(2 * self._fault.trips)
        if self._before.share("answered") < 1.0:
            raise TargetError("the way to the target is not clear before any fault", where=self._url)
        return self._before.as_json()

    def effective(self) -> Observation:
        now = self._travel(self._fault.trips)
        signs = self._fault.signs(self._before, now)
        return Observation(bool(signs), signs or "the way to the target is as before", now.as_json())

    def healed(self) -> Observation:
        now = self._travel(self._fault.trips)
        holds = self._fault.over(self._before, now)
        seen = "every trip is answered as before" if holds else self._fault.signs(self._before, now) or "not as before"
        return Observation(holds, seen, now.as_json())

    def _travel(self, trips: int) -> Round:
        fault = self._fault
        return travel(self._url, fault.probe_path, trips=trips, timeout_s=fault.trip_timeout_s)


def _frontend(target: Target) -> Frontend:
    if target.frontend is None:
        raise TargetError("there is no fault proxy before this target", where=target.base_url)
    return target.frontend


def mostly(now: Round, *ends: str) -> str:
    """The sign of faults that end trips: more than half of them end so."""
    share = now.share(*ends)
    return f"{share:.0%} of trips end by {' or '.join(ends)}" if share > 0.5 else ""
