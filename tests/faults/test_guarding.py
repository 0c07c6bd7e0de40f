"""The guardian is there before the first fault, comes back when killed, and goes when all is done."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness.errors import FaultError
from harness.faults.guarding import guarding
from harness.faults.ledger import Ledger
from harness.faults.recipe import HttpRecipe
from harness.targets.base import identify
from tests.engram.stub import Stub, always, http
from tests.faults.conftest import wait_for


def test_it_starts_with_the_first_intent_and_goes_when_dismissed(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert guarding().pid is None
        number = ledger.intent("slow", target="http://h", slot="x", recipes=(HttpRecipe("POST", "http://h"),))
        guardian = identify(guarding().pid or 0)
        assert guardian is not None
        assert os.getsid(guardian.pid) != os.getsid(0), "Ctrl-C and our process group do not reach it"
        ledger.healed(number)
    guarding().dismiss()
    assert not guardian.alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_what_ends_others_does_not_end_it(number: signal.Signals) -> None:
    guarding().ensure()
    guardian = guarding().pid
    assert guardian is not None
    os.kill(guardian, number)
    guarding().ensure()
    assert guarding().pid == guardian


def test_killed_it_is_back_by_itself_and_still_heals(tmp_path: Path) -> None:
    with Stub(always(http(200))) as stub, Ledger(tmp_path / "ledger.jsonl") as ledger:
        recipes = (HttpRecipe("POST", f"{stub.url}/heal", "{}"),)
        number = ledger.intent("slow", target=stub.url, slot="x", recipes=recipes, expires=0.0)
        ledger.injected(number)
        first = guarding().pid
        assert first is not None
        wait_for("relieved for overrunning", lambda: ledger.relieved(number))
        assert ledger.relieved(number) == ("it overran its time",)
        os.kill(first, signal.SIGKILL)
        wait_for("another guardian", lambda: guarding().pid not in (None, first))
        assert guarding().restarts == 1
        wait_for("relieved by the second one", lambda: len(ledger.relieved(number)) == 2)
        ledger.healed(number)


def test_no_fault_goes_in_without_a_guardian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        with pytest.raises(FaultError, match="guardian did not start"):
            ledger.intent("slow", target="http://h", slot="x", recipes=(HttpRecipe("POST", "http://h"),))
        assert ledger.open_entries == ()
    assert (tmp_path / "ledger.jsonl").read_text() == ""
