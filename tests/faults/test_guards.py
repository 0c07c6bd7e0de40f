"""Before every injection: the same target as when it was claimed, allowed, and room for one more fault."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.errors import FaultError, TargetNotOwned
from harness.faults import guards
from harness.faults.guards import Guard, Limits
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.faults.recipe import CommandRecipe
from harness.faults.semantic_latency import SemanticLatency
from harness.targets.attached import AttachedTarget
from harness.targets.base import ProcessIdentity
from harness.targets.embedded import EmbeddedTarget
from tests.faults.conftest import active, wait_for

HEAL = (CommandRecipe(("true",)),)


@contextmanager
def somebody(status: int, port: int = 0) -> Iterator[str]:
    """A service that answers everything with ``status``, and with a place where redirects lead to."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("location", "http://production.example/")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def redirecting() -> Iterator[str]:
    with somebody(307) as url:
        yield url


def test_a_target_nobody_claimed_is_refused(target: EmbeddedTarget) -> None:
    with pytest.raises(TargetNotOwned):
        Guard().check(AttachedTarget(target.base_url))


def test_only_what_is_on_the_list(target: EmbeddedTarget) -> None:
    Guard(Limits(allowed=frozenset({target.base_url + "/"}))).check(target)
    with pytest.raises(TargetNotOwned, match="not on the list"):
        Guard(Limits(allowed=frozenset({"http://127.0.0.1:1"}))).check(target)


def test_a_redirect_is_refused(redirecting: str) -> None:
    with pytest.raises(FaultError, match=r"redirects to http://production\.example/"):
        Guard().check(AttachedTarget(redirecting, claimed=True))


def test_a_name_that_moves_is_refused(target: EmbeddedTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard()
    guard.check(target)
    guard.check(target)
    monkeypatch.setattr(guards, "resolve", lambda url: frozenset({"203.0.113.9"}))
    with pytest.raises(FaultError, match=r"led to 127\.0\.0\.1 when it was claimed and leads to 203\.0\.113\.9 now"):
        guard.check(target)


def test_names_are_resolved() -> None:
    assert guards.resolve("http://127.0.0.1:7432") == {"127.0.0.1"}
    assert guards.resolve("http://[::1]:7432") == {"::1"}
    assert "127.0.0.1" in guards.resolve("http://localhost:7432")
    with pytest.raises(FaultError, match="cannot be resolved"):
        guards.resolve("http://no-such-host.invalid:7432")


def test_a_pid_that_is_another_process_now_is_refused(target: EmbeddedTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    process = target.process
    assert process is not None
    stale = ProcessIdentity(process.pid, process.start_time - 1, process.boot)
    monkeypatch.setattr(target, "_process", stale)
    with pytest.raises(FaultError, match="pid may be another's"):
        Guard().check(target)


def test_another_service_at_the_address_of_a_dead_one_is_refused(target: EmbeddedTarget) -> None:
    target.kill()
    wait_for("dead", lambda: not target.alive())
    try:
        Guard().check(target)  # down, and nobody there: as between two crashes
        port = int(target.base_url.rpartition(":")[2])
        with somebody(200, port), pytest.raises(FaultError, match="something answers at its address: another service"):
            Guard().check(target)
    finally:
        target.restart(kill=True)


def test_no_more_faults_at_once_than_the_limit(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl", guard=False, limits=Limits(max_concurrent=2)) as ledger:

        def intent(slot: str) -> int:
            return ledger.intent(slot, target="http://x", slot=slot, recipes=HEAL, expires=0.0)

        first, second = intent("a"), intent("b")
        with pytest.raises(FaultError, match="2 faults are in force"):
            intent("c")
        ledger.healed(first)
        third = intent("c")
        for entry in (second, third):
            ledger.healed(entry)


def test_no_more_fault_time_than_the_limit() -> None:
    guard = Guard(Limits(max_total_s=10.0))
    guard.admit(0, "one", 8.0)
    guard.spent(8.0)
    guard.admit(0, "two", 2.0)
    with pytest.raises(FaultError, match="10 s"):
        guard.admit(0, "three", 2.5)


def test_an_injection_asks_its_guard(target: EmbeddedTarget, tmp_path: Path) -> None:
    limits = Limits(allowed=frozenset({"http://127.0.0.1:1"}))
    with Ledger(tmp_path / "ledger.jsonl", limits=limits) as ledger:
        with pytest.raises(TargetNotOwned, match="list"):
            Injection(
                SemanticLatency(50.0), target, ledger, hold_s=1.0, record=lambda event, /, **fields: None
            ).prepare()
        assert ledger.open_entries == ()
    assert active(target) == []
