"""One trial: a fault put in as it should be, or by an injector that lies; what the harness makes of it.

``nothing``: the injector answers as if it had acted. ``half``: it puts half of the dose in. ``wrong target``: it acts
on another Engram. ``late``: it acts when the time in which the effect has to be seen is over. The verdict is the
judge's, of a case in which everything else is as it must be: what the injection saw alone tells one from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from harness.errors import FaultError
from harness.faults.base import Fault
from harness.faults.injection import Injection
from harness.faults.recipe import apply, stage, still_there
from harness.judge.case import judge_case
from harness.timeline.record import CaseRecord
from tests.cases import build
from tests.doses.catalogue import Dose
from tests.faults.family import Case

HONEST = "honest"
LIES = ("nothing", "half", "wrong target", "late")
# How long the effect may take to show. Half a dose gets as long as an honest one: it is to have every chance to fool.
_PATIENCE_S = {"nothing": 0.8, "wrong target": 0.8, "late": 0.4}


@dataclass(frozen=True)
class Row:
    """What came of a trial. ``seen``: an effect was taken for the fault's. ``residual``: what was left, if anything."""

    fault: str
    lie: str
    seen: bool
    healed: bool
    verdict: str
    evidence: str
    residual: str
    took_s: float

    @property
    def good(self) -> bool:
        """An honest injection is seen to act and seen healed, a false one is not exercised; neither leaves a thing."""
        if self.lie == HONEST:
            return self.seen and self.healed and self.verdict == "PASS" and not self.residual
        return not self.seen and self.verdict in ("NOT_EXERCISED", "INCONCLUSIVE") and not self.residual


class Swapped:
    """A fault whose injector is another; everything else is its own."""

    def __init__(self, real: Fault, inject: Callable[..., None], act: Callable[..., Callable[[], None]]) -> None:
        self.real = real
        self.inject_into = inject
        self.act = act

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Bench:
    """Two targets of each sort the doses need, started when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._cases: dict[tuple[str, int], Case] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, tb)

    def lacks(self, dose: Dose) -> str:
        """Why this machine cannot do it, empty where it can."""
        return self.case(dose.fault, 0).lacks(dose.fault)

    def trial(self, dose: Dose, lie: str, half_patience_s: float | None = None) -> Row:
        """Put it in that way, heal it, have it judged; ``half_patience_s``: see ``_PATIENCE_S``, None its fault's."""
        started = time.monotonic()
        case = self.case(dose.fault, 0)
        events: dict[str, dict[str, Any]] = {}
        undo: list[Callable[[], None]] = []
        late: list[Callable[[], None]] = []

        def record(event: str, /, **fields: Any) -> None:
            events[event] = fields
            if event == "effect_not_observed":
                for act in late:
                    act()

        undo += _flags_first(case, dose.before)
        fault = self._false(dose, lie, case, undo, late)
        patience = half_patience_s if lie == "half" else _PATIENCE_S.get(lie)
        injection = Injection(
            fault, case.target, case.ledger, hold_s=5.0, record=record, effect_deadline_s=patience, observe_heal_s=15.0
        )
        try:
            with injection:
                pass
        except FaultError as error:
            events.setdefault("effect_not_observed", {"evidence": str(error), "waited_s": 0.0})
        finally:
            for one in undo:
                one()
        left = [repr(recipe) for recipe in injection._recipes if still_there(recipe)]
        left += _gone(case)
        seen = "effective_observed" in events
        verdict = _verdict(events)
        found = events.get("effective_observed" if seen else "effect_not_observed", {})
        evidence = str(found.get("evidence", ""))
        took_s = time.monotonic() - started
        return Row(dose.name, lie, seen, injection.healed is not None, verdict, evidence, "; ".join(left), took_s)

    def _false(
        self, dose: Dose, lie: str, case: Case, undo: list[Callable[[], None]], late: list[Callable[[], None]]
    ) -> Fault:
        """The fault with the injector swapped as the lie wants it."""
        real = dose.fault
        inject, act = _nothing, _no_act
        if lie == HONEST:
            return real
        if lie == "half" and isinstance(dose.half, Fault):
            inject, act = dose.half.inject_into, dose.half.act
        elif lie == "half":
            way = dose.half
            inject = lambda target, client, ttl_s: way(target, client)  # noqa: E731
        elif lie == "wrong target":
            other = self.case(real, 1)
            inject, act = _elsewhere(real, other, undo)
        elif lie == "late":
            late.append(lambda: _put_in(real, case, undo))
        return cast(Fault, Swapped(real, inject, act))

    def case(self, fault: Fault, number: int = 0) -> Case:
        """The target a fault is tried on; another ``number``, another target of the sort."""
        sort = "proxy" if "proxy" in fault.wants else "shim" if "disk_shim" in fault.wants else "plain"
        if (sort, number) not in self._cases:
            made = Case(self._folder / f"{sort}-{number}", proxy=sort == "proxy", shim=sort == "shim")
            self._cases[sort, number] = self._stack.enter_context(made)
        return self._cases[sort, number]


def _flags_first(case: Case, wanted: dict[str, bool]) -> list[Callable[[], None]]:
    """Set the flags a dose has to find; answers what puts them back."""
    if not wanted:
        return []
    with case.target.client() as client:
        found = client.features()
        client.set_features(**wanted)

    def back() -> None:
        with case.target.client() as client:
            client.set_features(**{name: found[name] for name in wanted})

    return [back]


def _gone(case: Case) -> list[str]:
    """Whether the target outlived the trial, as it must; where not, it is started again for those to come."""
    if case.target.alive():
        case.is_whole()
        return []
    said = case.target.log_tail(3)
    case.target.restart(kill=True)
    case.is_whole()
    return [f"the target was down afterwards; its log ends: {said}"]


def _verdict(events: dict[str, dict[str, Any]]) -> str:
    """What the judge says of a case that passes but for what this injection recorded of effect and healing."""
    good = _good_case()
    ours = {name: fields for name, fields in events.items() if name in _OURS}
    when = {str(e["event"]): e["t"] for e in good.events}
    kept = [e for e in good.events if e["event"] not in _OURS]
    at = {"effect_not_observed": when["effective_observed"], "heal_not_observed": when["healed_observed"]}
    mine = [{"t": at.get(name, when.get(name)), "event": name, **_told(fields)} for name, fields in ours.items()]
    record = replace(good, events=tuple(sorted([*kept, *mine], key=lambda e: float(e["t"]))))
    return judge_case(record).verdict.value


_OURS = ("effective_observed", "effect_not_observed", "healed_observed", "heal_not_observed")


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in fields.items() if key in ("evidence", "waited_s")}


@cache
def _good_case() -> CaseRecord:
    return build().record


def _nothing(*_: Any) -> None:
    """It answers as if it had acted."""


def _no_act(*_: Any) -> Callable[[], None]:
    return _nothing


def _put_in(real: Fault, case: Case, undo: list[Callable[[], None]]) -> None:
    """For good, as the honest injector does; what it keeps up ends before the heal."""
    with case.target.client() as client:
        real.inject_into(case.target, client, None)
        end = real.act(case.target, client)
    end()


def _elsewhere(
    real: Fault, other: Case, undo: list[Callable[[], None]]
) -> tuple[Callable[..., None], Callable[..., Callable[[], None]]]:
    """The other target gets the whole of it, and is healed of it in the end."""

    def inject(*_: Any) -> None:
        recipes = real.recipes(other.target)

        def heal() -> None:
            for recipe in sorted(recipes, key=stage):
                apply(recipe)
            real.bring_back(other.target)
            other.is_whole()

        undo.append(heal)
        with other.target.client() as client:
            real.inject_into(other.target, client, None)

    def act(*_: Any) -> Callable[[], None]:
        client = other.target.client()
        end = real.act(other.target, client)

        def ended() -> None:
            end()
            client.close()

        return ended

    return inject, act
