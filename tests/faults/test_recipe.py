"""Recipes: whole as JSON, the same done twice as once, and careful about what is not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HealFailed, RecordError
from harness.faults import recipe as recipes
from harness.faults.recipe import (
    CommandRecipe,
    EndProcessRecipe,
    HttpRecipe,
    ListingCheck,
    Recipe,
    RemoveTreeRecipe,
    SignalRecipe,
    TakeDownRecipe,
)
from harness.targets.base import ProcessIdentity, identify
from tests.engram.stub import Stub, always, http, routes
from tests.faults.conftest import wait_for

SOMEBODY = ProcessIdentity(123, 456, "some boot")
ALL: list[Recipe] = [
    HttpRecipe("POST", "http://h:1/x", "{}", "ENGRAM_API_KEY", SOMEBODY, ListingCheck("http://h:1/l", "latency")),
    HttpRecipe("DELETE", "http://h:1/x"),
    SignalRecipe(SOMEBODY, signal.SIGCONT),
    EndProcessRecipe(SOMEBODY, 0.1),
    CommandRecipe(("true",), 1.0, (0, 1)),
    TakeDownRecipe(("true",), 1.0),
    RemoveTreeRecipe("/nowhere", "token"),
]


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: type(recipe).__name__)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert recipes.from_json(recipes.to_json(recipe)) == recipe


@pytest.mark.parametrize("value", [{}, {"type": "magic"}, {"type": "signal"}, {"type": "signal", "process": 3}])
def test_what_is_no_recipe_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        recipes.from_json(value)


def sleeper() -> tuple[subprocess.Popen[bytes], ProcessIdentity]:
    child = subprocess.Popen([sys.executable, "-c", "import threading;threading.Event().wait(30)"])
    found = identify(child.pid)
    assert found is not None
    return child, found


def test_a_process_is_ended_even_when_it_is_stopped() -> None:
    child, process = sleeper()
    child.send_signal(signal.SIGSTOP)
    assert recipes.apply(EndProcessRecipe(process, 0.5)) == "the process is gone"
    assert child.wait(5) == -signal.SIGTERM
    assert recipes.apply(EndProcessRecipe(process)) == "the process is gone"
    assert recipes.still_there(EndProcessRecipe(process)) is False


def test_a_stopped_process_goes_on() -> None:
    child, process = sleeper()
    child.send_signal(signal.SIGSTOP)
    status = Path(f"/proc/{child.pid}/stat")
    wait_for("stopped", lambda: b") T " in status.read_bytes())
    for _ in range(2):
        assert recipes.apply(SignalRecipe(process, signal.SIGCONT)) == "sent SIGCONT"
    wait_for("going on", lambda: b") T " not in status.read_bytes())
    child.kill()
    child.wait(5)
    assert recipes.apply(SignalRecipe(process, signal.SIGCONT)) == "the process is gone"


def test_another_process_with_the_same_pid_is_left_alone() -> None:
    child, process = sleeper()
    other = ProcessIdentity(process.pid, process.start_time - 1, process.boot)
    assert recipes.apply(EndProcessRecipe(other)) == "the process is gone"
    assert child.poll() is None
    child.kill()
    child.wait(5)


def test_only_a_directory_of_ours_is_removed(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "file").write_text("x")
    recipe = recipes.mark_scratch(ours, "token")
    assert "left alone" in recipes.apply(RemoveTreeRecipe(str(other), "token"))
    assert "left alone" in recipes.apply(RemoveTreeRecipe(str(ours), "another token"))
    (tmp_path / "link").symlink_to(ours)
    assert "left alone" in recipes.apply(RemoveTreeRecipe(str(tmp_path / "link"), "token"))
    assert ours.exists()
    assert other.exists()
    assert recipes.apply(recipe) == "the directory is removed"
    assert recipes.apply(recipe) == "the directory is gone"


def test_a_command_heals_or_says_why_not() -> None:
    assert recipes.apply(CommandRecipe(("true",))) == "true exited with 0"
    with pytest.raises(HealFailed, match="exited with 1"):
        recipes.apply(CommandRecipe(("false",)))
    with pytest.raises(HealFailed, match="failed"):
        recipes.apply(CommandRecipe(("/no/such/command",)))
    assert recipes.apply(TakeDownRecipe(("true",))) == "true exited with 0"
    with pytest.raises(HealFailed, match="exited with 1"):
        recipes.apply(TakeDownRecipe(("false",)))


def test_what_ends_the_target_comes_after_what_heals_it() -> None:
    order = [CommandRecipe(("true",)), TakeDownRecipe(("true",)), RemoveTreeRecipe("/nowhere", "token")]
    assert [recipes.stage(recipe) for recipe in order] == [1, 2, 3]


def test_a_heal_is_believed_when_the_listing_agrees() -> None:
    listed = http(200, b'{"active":[{"fault":"latency","value":5}]}')
    for listing, fails in ((listed, "still listed"), (http(200, b'{"active":[]}'), ""), (http(200, b"x"), "cannot be")):
        with Stub(routes({"POST /heal": http(200), "GET /list": listing}, http(404))) as stub:
            check = ListingCheck(f"{stub.url}/list", "latency")
            recipe = HttpRecipe("POST", f"{stub.url}/heal", "{}", check=check)
            if fails:
                with pytest.raises(HealFailed, match=fails):
                    recipes.apply(recipe)
            else:
                assert recipes.apply(recipe) == "POST answered 200"
                assert recipes.still_there(recipe) is False


def test_a_refused_heal_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", "s3cr3t")
    with Stub(always(http(401, b"bad key s3cr3t"))) as stub:
        with pytest.raises(HealFailed, match=r"\$ENGRAM_API_KEY") as raised:
            recipes.apply(HttpRecipe("POST", f"{stub.url}/heal", "{}", "ENGRAM_API_KEY"))
        assert b"authorization: Bearer s3cr3t" in stub.requests[0]
    assert "s3cr3t" not in str(raised.value)


def test_a_fault_in_a_gone_process_is_healed_and_a_stranger_on_its_port_is_left_alone() -> None:
    me = identify(os.getpid())
    assert me is not None
    gone = ProcessIdentity(me.pid, me.start_time - 1, me.boot)
    with Stub(always(http(200))) as stub:
        assert recipes.apply(HttpRecipe("POST", stub.url, "{}", dies_with=gone)) == "its process is gone"
        assert stub.requests == []
    with pytest.raises(HealFailed, match="no answer"):
        recipes.apply(HttpRecipe("POST", stub.url, "{}", dies_with=me))
