"""Every combination of the four flags, one after the other, again and again under load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import TargetAnswerInvalid, TargetRefused
from harness.faults.base import Fault, Observation, Observer, require_positive
from harness.faults.flags import flags_recipe, keep_changing
from harness.faults.recipe import Recipe
from harness.faults.witness import WitnessCue
from harness.targets.base import Target

FLAGS = ("dual_memory_types", "blended_recall", "fan_effect", "monitoring")
COMBINATIONS: tuple[tuple[bool, ...], ...] = tuple(product((False, True), repeat=len(FLAGS)))
_ROUNDS = 4  # how often each combination comes round before an effect not seen by then is not there
_SLOWER = 1.5  # each round dwells longer than the one before: three requests have to fit into one combination
_UNASKED = (None, "off")  # what an answer says of the semantic half when nobody asked for it


@dataclass(frozen=True)
class FlagWalk(Fault):
    """Each of the 16 combinations is in force for ``dwell_s`` seconds, and longer in the next rounds."""

    dwell_s: float = 0.3
    kind: ClassVar[str] = "flag_walk"
    requires: ClassVar[tuple[str, ...]] = ("features", "blended_recall", "recall.metadata")
    slot: ClassVar[str] = "features.walk"

    def __post_init__(self) -> None:
        require_positive("dwell_s", self.dwell_s)

    def describe(self) -> str:
        return f"all {len(COMBINATIONS)} combinations of the flags, {self.dwell_s:g} s each"

    def inject(self, client: EngramClient, ttl_s: float | None) -> None:
        client.set_features(**dict(zip(FLAGS, COMBINATIONS[0], strict=True)))

    def act(self, target: Target, client: EngramClient) -> Callable[[], None]:
        def dwell_s(step: int) -> float:
            return self.dwell_s * _SLOWER ** min(step // len(COMBINATIONS), _ROUNDS - 1)

        def walk(own: EngramClient, step: int) -> None:
            own.set_features(**dict(zip(FLAGS, COMBINATIONS[step % len(COMBINATIONS)], strict=True)))

        return keep_changing(target, "flag-walk", dwell_s, walk)

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        with target.client() as client:
            now = client.features()
            return (flags_recipe(target, {name: now[name] for name in FLAGS}),)

    def observer(self, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Walked(client, cue, self.dwell_s)


class _Walked(Observer):
    """Effect: every combination was read back, and recall behaved as it says while it was in force.

    The flags are read before and after each recall: only one that was served within a single combination counts.
    """

    def __init__(self, client: EngramClient, cue: WitnessCue, dwell_s: float) -> None:
        self._client = client
        self._cue = cue
        self._seen: set[tuple[bool, ...]] = set()
        self._wrong: dict[tuple[bool, ...], str] = {}
        self._before: tuple[bool, ...] = ()
        self.patience_s = 5.0 + len(COMBINATIONS) * dwell_s * sum(_SLOWER**round for round in range(_ROUNDS))

    def baseline(self) -> dict[str, Any]:
        self._before = self._flags()
        return dict(zip(FLAGS, self._before, strict=True))

    def effective(self) -> Observation:
        before = self._flags()
        trouble = ""
        try:
            answer = self._client.recall(self._cue.query, embedding=self._cue.embedding, space=self._cue.space)
            blended = answer.metadata.semantic_missing not in _UNASKED or answer.metadata.pathway == "blended"
            dual, wanted, *_ = before
            if blended != (dual and wanted):
                trouble = f"recall was {'blended' if blended else 'episodic'}"
        except (TargetRefused, TargetAnswerInvalid):
            pass  # in force and failing: the load sees every one of them
        if self._flags() == before:
            self._seen.add(before)
            if trouble:
                self._wrong[before] = trouble
        if self._wrong:
            said = "; ".join(f"{_name(flags)}: {what}" for flags, what in sorted(self._wrong.items()))
            return Observation(False, f"behaves against its flags: {said}")
        missing = [_name(flags) for flags in COMBINATIONS if flags not in self._seen]
        text = f"{len(self._seen)} of {len(COMBINATIONS)} combinations read back and behaved"
        return Observation(not missing, text + (f"; never seen: {', '.join(missing[:4])}" if missing else ""))

    def healed(self) -> Observation:
        now = self._flags()
        return Observation(now == self._before, f"the flags are {_name(now)}, and were {_name(self._before)}")

    def _flags(self) -> tuple[bool, ...]:
        found = self._client.features()
        return tuple(bool(found[name]) for name in FLAGS)


def _name(flags: tuple[bool, ...]) -> str:
    return "+".join(name for name, on in zip(FLAGS, flags, strict=True) if on) or "all off"
