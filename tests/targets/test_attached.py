"""The attached target: spoken to, not started; ours to harm only when claimed."""

from __future__ import annotations

import pytest

from harness.errors import (
    TargetAnswerInvalid,
    TargetError,
    TargetNotOwned,
    TargetRefused,
    TargetUnreachable,
    UsageError,
)
from harness.targets.attached import AttachedTarget
from tests.engram.stub import Stub, always, http, routes

RECALL = http(200, b'{"memories":{"vivid":[],"associated":[],"reconstructed":[]}}')


def test_a_healthy_engram_is_taken() -> None:
    table = {"GET /health": http(200, b"{}"), "GET /health/alive": http(200), "GET /api/v1/memories/recall": RECALL}
    with Stub(routes(table, http(404))) as stub, AttachedTarget(stub.url + "/", claimed=True) as target:
        assert target.base_url == stub.url
        assert target.alive()
        assert "memory" in target.capabilities
        assert target.describe() == {
            "target": "attached",
            "base_url": stub.url,
            "prometheus_url": None,
            "grafana_url": None,
            "claimed": True,
            "version": "unknown",
        }
        target.require_owned()
    assert not target.alive()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (http(503), TargetError, "unhealthy"),
        (http(401), TargetRefused, "bearer key"),
        (http(200, b"<html></html>", "text/html"), TargetAnswerInvalid, "is it an Engram"),
    ],
)
def test_what_is_no_healthy_engram_is_refused(answer: bytes, error: type[TargetError], said: str) -> None:
    with Stub(always(answer)) as stub, pytest.raises(error, match=said):
        AttachedTarget(stub.url).start()


def test_nothing_there_and_a_url_with_a_key() -> None:
    with Stub(always(b"")) as stub:
        pass
    with pytest.raises(TargetUnreachable):
        AttachedTarget(stub.url).start()
    with pytest.raises(UsageError, match="credentials"):
        AttachedTarget("http://user:key@localhost:1")


def test_unclaimed_is_not_harmed() -> None:
    target = AttachedTarget("http://127.0.0.1:1")
    with pytest.raises(TargetNotOwned, match="--i-own-this-target"):
        target.require_owned()
    with pytest.raises(TargetNotOwned):
        target.restart()
