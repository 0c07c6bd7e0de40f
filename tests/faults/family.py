"""Faults of the families put into a reference Engram of the test's own, with what their observers said."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.faults.base import Fault
from harness.faults.capability import missing
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.faults.recipe import Recipe, from_json, still_there, to_json
from harness.targets.base import ProcessIdentity, Target
from harness.targets.embedded import EmbeddedTarget
from harness.targets.proxied import ProxiedTarget
from tests.faults.conftest import wait_for

MEMORIES = 30


class Case:
    """A target with a few memories in it, and a ledger; one for the faults of a module."""

    def __init__(self, folder: Path, *, proxy: bool = False, shim: bool = False, defects: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._proxy = proxy
        self._shim = shim
        self._defects = defects
        self._stack = ExitStack()
        self.target: Target
        self.inner: EmbeddedTarget
        self.ledger: Ledger
        self.seen: dict[str, str] = {}
        self.recipes: tuple[Recipe, ...] = ()
        self.launched: list[float] = []  # when each process of the target was started, in monotonic seconds

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.ledger = self._stack.enter_context(Ledger(self._folder / "ledger.jsonl", state_dir=self._folder / "state"))
        register = self._register
        self.inner = EmbeddedTarget(
            self._folder,
            config_text="[consolidation]\ninterval_seconds = 0.2\n",
            register=register,
            disk_shim=self._shim,
            defects=self._defects,
        )
        self.target = ProxiedTarget(self.inner, self._folder, register=register) if self._proxy else self.inner
        self._stack.enter_context(self.target)
        with self.target.client() as client:
            client.set_features(dual_memory_types=True, blended_recall=True, cohort_sampling_rate=1.0)
            for number in range(MEMORIES):
                vector = [1.0 if at == number else 0.1 for at in range(768)]
                client.remember(f"memory {number}", memory_id=f"memory-{number}", embedding=vector)
            # A corruption before they are bound would corrupt nothing.
            wait_for("every memory to be bound", lambda: client.binding_counts().total >= MEMORIES)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, tb)

    def _register(self, identity: ProcessIdentity, what: str, scratch: Path | None) -> Callable[[], None]:
        release = self.ledger.register_process(identity, what, scratch)
        self.launched.append(time.monotonic())
        return release

    def lacks(self, fault: Fault) -> str:
        """Why this machine cannot do it, empty where it can."""
        return "; ".join(f"{name}: {why}" for name, why in missing(fault.requires, self.target).items())

    def run(self, fault: Fault, *, effect_deadline_s: float | None = None) -> Injection:
        """Inject and heal; what was observed is in :attr:`seen`, and nothing is left of it."""
        self.seen = {}

        def record(event: str, /, **fields: Any) -> None:
            self.seen[event] = str(fields.get("evidence", ""))

        injection = Injection(
            fault, self.target, self.ledger, hold_s=5, record=record, effect_deadline_s=effect_deadline_s
        )
        with injection:
            self.recipes = injection._recipes
        left = [recipe for recipe in self.recipes if still_there(recipe)]
        assert left == [], f"{fault.describe()} left {left}"
        assert [from_json(to_json(recipe)) for recipe in self.recipes] == list(self.recipes)
        return injection

    def proves(self, fault: Fault, evidence: str) -> None:
        """The effect is seen as ``evidence`` says, so is the recovery, and nothing acknowledged is lost."""
        injection = self.run(fault)
        assert injection.effective is not None, self.seen
        assert evidence in injection.effective.evidence
        assert injection.healed is not None, self.seen
        self.is_whole()

    def is_whole(self) -> None:
        """Every memory is there."""
        with self.target.client() as client:
            wait_for("health", client.health)
            gone = [n for n in range(MEMORIES) if (client.memory(f"memory-{n}") or {}).get("content") != f"memory {n}"]
        assert gone == []
