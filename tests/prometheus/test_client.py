"""The client of Prometheus: typed answers, and one clear error that names the URL for everything that is none."""

from __future__ import annotations

import math

import orjson
import pytest

from harness.engram.transport import credentials
from harness.errors import (
    EXIT_UNUSABLE,
    HarnessError,
    TargetAnswerInvalid,
    TargetRefused,
    TargetUnreachable,
    UsageError,
)
from harness.prometheus import PrometheusClient
from harness.prometheus.answers import duration_s
from tests.engram.stub import Stub, always, http, routes


def success(data: object, **more: object) -> bytes:
    return http(200, orjson.dumps({"status": "success", "data": data, **more}))


VECTOR = success(
    {
        "resultType": "vector",
        "result": [
            {"metric": {"__name__": "up", "job": "engram"}, "value": [1700000000.5, "1"]},
            {"metric": {"__name__": "up", "job": "other"}, "value": [1700000000.5, "NaN"]},
        ],
    },
    warnings=["a block is missing"],
)


def test_a_vector_is_typed_and_nan_is_no_value() -> None:
    with Stub(always(VECTOR)) as stub, PrometheusClient(stub.url) as client:
        found = client.query("up")
    assert found.value(job="engram") == 1.0
    assert found.value(job="other") is None
    assert found.value() is None  # two series match: there is no one value
    assert found.by("job") == {"engram": 1.0}
    assert found.series[0].name == "up"
    assert found.warnings == ("a block is missing",)
    assert not found.empty


def test_no_series_and_nan_alone_are_empty() -> None:
    nothing = success({"resultType": "vector", "result": []})
    only_nan = success({"resultType": "vector", "result": [{"metric": {}, "value": [1, "NaN"]}]})
    for body in (nothing, only_nan):
        with Stub(always(body)) as stub, PrometheusClient(stub.url) as client:
            found = client.query("x")
        assert found.empty
        assert found.value() is None


def test_a_range_keeps_its_gaps() -> None:
    body = success(
        {"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": [[1, "0.5"], [3, "NaN"], [4, "+Inf"]]}]}
    )
    with Stub(always(body)) as stub, PrometheusClient(stub.url) as client:
        found = client.query_range("x", 1, 4, 1)
        assert b"start=1.000&end=4.000&step=1.000" in stub.requests[0]
    samples = found.series[0].samples
    assert [s.t for s in samples] == [1.0, 3.0, 4.0]
    assert math.isnan(samples[1].value)
    assert [s.t for s in found.series[0].finite()] == [1.0]


def test_rules_alerts_and_targets() -> None:
    alert = {"labels": {"alertname": "A"}, "annotations": {}, "state": "firing", "activeAt": "2025", "value": "2e+00"}
    rule = {
        "type": "alerting",
        "name": "A",
        "query": "x > 1",
        "health": "err",
        "lastError": "no",
        "state": "firing",
        "duration": 60,
        "labels": {"severity": "critical"},
        "annotations": {"summary": "s"},
        "alerts": [alert],
    }
    group = {"name": "dual_memory", "file": "f", "interval": 30, "rules": [rule]}
    target = {
        "labels": {"job": "engram"},
        "scrapeUrl": "http://e/metrics",
        "health": "down",
        "lastError": "refused",
        "lastScrape": "2025",
        "scrapeInterval": "1m30s",
    }
    table = {
        "GET /api/v1/rules": success({"groups": [group]}),
        "GET /api/v1/alerts": success({"alerts": [alert]}),
        "GET /api/v1/targets": success({"activeTargets": [target]}),
    }
    with Stub(routes(table, http(404))) as stub, PrometheusClient(stub.url) as client:
        (found,) = client.rules()
        (alerted,) = client.alerts()
        (scraped,) = client.targets()
    assert (found.name, found.interval_s) == ("dual_memory", 30.0)
    assert (found.rules[0].health, found.rules[0].for_s, found.rules[0].alerts[0].state) == ("err", 60.0, "firing")
    assert (alerted.name, alerted.value) == ("A", 2.0)
    assert (scraped.job, scraped.health, scraped.interval_s) == ("engram", "down", 90.0)


def test_ready_wants_a_prometheus() -> None:
    version = success({"version": "2.42.0"})
    ready = {"GET /-/ready": http(200, b"Prometheus Server is Ready.\n"), "GET /api/v1/status/buildinfo": version}
    with Stub(routes(ready, http(404))) as stub, PrometheusClient(stub.url) as client:
        assert client.ready()
        assert client.ready()
        assert sum(b"buildinfo" in request for request in stub.requests) == 1
    with Stub(always(http(503))) as stub, PrometheusClient(stub.url) as client:
        assert not client.ready()
        assert not client.healthy()
    page = http(200, b"<!DOCTYPE html><title>Sign in</title>", "text/html")
    with (
        Stub(always(page)) as stub,
        PrometheusClient(stub.url) as client,
        pytest.raises(TargetAnswerInvalid, match="HTML"),
    ):
        client.ready()


NOT_PROMETHEUS = {
    "html": (http(200, b"<html>", "text/html"), TargetAnswerInvalid, "HTML instead of JSON"),
    "other json": (http(200, b'{"status":"ok"}'), TargetAnswerInvalid, "not an answer of Prometheus"),
    "no data": (http(200, b'{"status":"success"}'), TargetAnswerInvalid, "not the shape"),
    "odd type": (success({"resultType": "cube", "result": []}), TargetAnswerInvalid, "cube"),
    "odd result": (success({"resultType": "vector", "result": {}}), TargetAnswerInvalid, "a list was expected"),
    "odd labels": (
        success({"resultType": "vector", "result": [{"metric": 1, "value": [1, "1"]}]}),
        TargetAnswerInvalid,
        "labels were expected",
    ),
    "list": (http(200, b"[]"), TargetAnswerInvalid, "not a JSON object"),
    "401": (http(401), TargetRefused, r"set a bearer token.*ENGRAM_PROMETHEUS_TOKEN"),
    "redirect": (http(302, extra="location: http://elsewhere/\r\n"), TargetRefused, "redirects are not followed"),
    "bad query": (
        http(400, b'{"status":"error","errorType":"bad_data","error":"parse error: no"}'),
        TargetRefused,
        r"bad_data: parse error: no .*the query was sum\(",
    ),
    "500": (http(500, b"oops", "text/plain"), TargetRefused, "status 500"),
    "silence": (b"", TargetUnreachable, "without an answer|no answer"),
}


@pytest.mark.parametrize("name", NOT_PROMETHEUS)
def test_what_is_no_prometheus_is_one_clear_error(name: str) -> None:
    answer, kind, words = NOT_PROMETHEUS[name]
    with Stub(always(answer)) as stub, PrometheusClient(stub.url, timeout_s=0.3) as client:
        with pytest.raises(kind, match=words) as caught:
            client.query("sum(")
        error = caught.value
        assert isinstance(error, HarnessError)
        assert stub.url in str(error)
        assert error.exit_code == EXIT_UNUSABLE


def test_nobody_listens() -> None:
    with (
        PrometheusClient("http://127.0.0.1:1") as client,
        pytest.raises(TargetUnreachable, match="is Prometheus running"),
    ):
        client.ready()


def test_credentials_are_sent_and_never_shown() -> None:
    with Stub(always(http(401, b"Bearer s3cret is bad", "text/plain"))) as stub:
        with PrometheusClient(stub.url, bearer="s3cret") as client, pytest.raises(TargetRefused) as caught:
            client.alerts()
        assert b"authorization: bearer s3cret" in stub.requests[0].lower()
        with PrometheusClient(stub.url, basic=("me", "pass")) as client, pytest.raises(TargetRefused):
            client.alerts()
        assert b"authorization: Basic bWU6cGFzcw==" in stub.requests[1].replace(b"Authorization", b"authorization")
    assert "s3cret" not in str(caught.value)
    assert "is not accepted" in str(caught.value)
    with pytest.raises(UsageError, match="two ways"):
        PrometheusClient("http://x", bearer="a", basic=("b", "c"))
    with pytest.raises(UsageError, match="ENGRAM_PROMETHEUS_TOKEN"):
        PrometheusClient("http://me:pass@host:9090")


def test_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "token")
    monkeypatch.setenv("B", "user:pa:ss")
    assert credentials("T", "B") == ("token", ("user", "pa:ss"))
    monkeypatch.setenv("B", "nocolon")
    with pytest.raises(UsageError, match="user:password"):
        credentials("T", "B")


def test_long_queries_go_in_a_body() -> None:
    with Stub(always(VECTOR)) as stub, PrometheusClient(stub.url) as client:
        client.query("x" * 2000)
        assert stub.requests[0].startswith(b"POST /api/v1/query ")
        assert b"query=xxx" in stub.requests[0]


def test_an_impossible_range_is_refused() -> None:
    with PrometheusClient("http://127.0.0.1:1") as client, pytest.raises(UsageError, match="no range"):
        client.query_range("x", 2, 1, 1)


@pytest.mark.parametrize(("text", "seconds"), [("15s", 15.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h0m0s", 3600.0)])
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "5", "5m4", "s5"])
def test_what_is_no_duration(text: str) -> None:
    assert math.isnan(duration_s(text))
