"""An injector that does nothing, hits another target or comes too late is never taken for the fault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engram import EngramClient
from harness.faults.base import Fault
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.targets.embedded import EmbeddedTarget
from tests.faults.conftest import active

Spoiler = Callable[[pytest.MonkeyPatch, type[Fault], Path], Callable[[], None]]


def nothing(patch: pytest.MonkeyPatch, fault: type[Fault], folder: Path) -> Callable[[], None]:
    patch.setattr(fault, "inject", lambda self, client, ttl_s: None)
    return lambda: None


def wrong_target(patch: pytest.MonkeyPatch, fault: type[Fault], folder: Path) -> Callable[[], None]:
    original = fault.inject
    other = EmbeddedTarget(folder / "other")
    other.start()

    def elsewhere(self: Fault, client: EngramClient, ttl_s: float | None) -> None:
        with other.client() as wrong:
            original(self, wrong, ttl_s)

    patch.setattr(fault, "inject", elsewhere)
    return other.stop


def too_late(patch: pytest.MonkeyPatch, fault: type[Fault], folder: Path) -> Callable[[], None]:
    """It would go in after the deadline; by then the case is over and the injector is told so."""
    over = threading.Event()
    patch.setattr(fault, "inject", lambda self, client, ttl_s: threading.Thread(target=over.wait, args=(60,)).start())
    return over.set


@pytest.mark.parametrize("spoil", [nothing, wrong_target, too_late], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("fault", [BindingCorruption(0.5), ConsolidationFailure(1.0)], ids=lambda f: f.kind)
def test_it_is_never_seen_to_act(
    fault: Fault, spoil: Spoiler, target: EmbeddedTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = spoil(monkeypatch, type(fault), tmp_path)
    events: list[str] = []

    def record(event: str, /, **fields: Any) -> None:
        events.append(event)

    try:
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            ledger.claim(target.base_url)
            with Injection(fault, target, ledger, hold_s=5.0, record=record, effect_deadline_s=0.5) as injection:
                assert injection.effective is None
    finally:
        undo()
    assert "effect_not_observed" in events, "what the judge calls NOT_EXERCISED"
    assert "effective_observed" not in events
    assert active(target) == []
