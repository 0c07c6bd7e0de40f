"""What no target can be made with is told before anything is done: one clear message that names the URL."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from harness.errors import EXIT_UNUSABLE, HarnessError
from harness.faults.ledger import Ledger
from harness.starting import TargetMaker
from harness.targets.attached import AttachedTarget
from tests.engram.stub import Serve, Stub, always, http, routes

BUILD = http(200, orjson.dumps({"status": "success", "data": {"version": "2.42.0"}}))
PROMETHEUS = routes({"GET /-/ready": http(200, b"Ready"), "GET /api/v1/status/buildinfo": BUILD}, http(404))
GRAFANA = routes({"GET /api/health": http(200, b'{"database": "ok", "version": "11.3.0"}')}, http(404))
ENGRAM = "http://127.0.0.1:1"


def test_what_is_beside_an_engram_is_taken_and_known_to_the_target(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", state_dir=tmp_path / "state")
    with Stub(PROMETHEUS) as prometheus, Stub(GRAFANA) as grafana, ledger:
        maker = TargetMaker(ENGRAM, prometheus_url=prometheus.url, grafana_url=grafana.url)
        target = maker.make(tmp_path, ledger)
        assert isinstance(target, AttachedTarget)
        assert (target.prometheus_url, target.grafana_url) == (prometheus.url, grafana.url)


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (always(http(200, b"<html>welcome</html>", "text/html")), "HTML"),
        (always(http(401)), "ENGRAM_GRAFANA_TOKEN"),
        (always(http(503, b'{"database": "failing"}')), "no Grafana whose database is well"),
        (always(http(200, b'{"status": "healthy"}')), "not an answer of Grafana"),
        (always(http(404)), "404"),
    ],
    ids=["html", "401", "unwell", "another service", "404"],
)
def test_what_is_no_grafana_is_refused(serve: Serve, said: str) -> None:
    with Stub(serve) as stub, pytest.raises(HarnessError, match=said) as raised:
        TargetMaker(ENGRAM, grafana_url=stub.url)
    assert stub.url in str(raised.value)
    assert raised.value.exit_code == EXIT_UNUSABLE


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (always(http(200, b"<html>welcome</html>", "text/html")), "HTML"),
        (always(http(401)), "ENGRAM_PROMETHEUS_TOKEN"),
        (always(http(503)), "not ready yet"),
        (always(http(404)), "404"),
        (always(http(302, extra="location: http://elsewhere/\r\n")), "redirects"),
        (always(b"SSH-2.0-OpenSSH\r\n\r\n"), "HTTP"),
    ],
    ids=["html", "401", "starting", "404", "redirect", "ssh"],
)
def test_what_is_no_prometheus_is_refused(serve: Serve, said: str) -> None:
    with Stub(serve) as stub, pytest.raises(HarnessError, match=said) as raised:
        TargetMaker(ENGRAM, prometheus_url=stub.url)
    assert stub.url in str(raised.value)
    assert raised.value.exit_code == EXIT_UNUSABLE


def test_nobody_answers() -> None:
    with Stub(PROMETHEUS) as stub:
        pass
    with pytest.raises(HarnessError, match="cannot connect") as raised:
        TargetMaker(ENGRAM, prometheus_url=stub.url)
    assert raised.value.exit_code == EXIT_UNUSABLE
