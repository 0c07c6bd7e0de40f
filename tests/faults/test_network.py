"""Every fault of the network proxy: its effect is seen, so is its end, and nothing is lost over it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from harness.errors import CapabilityMissing, UsageError
from harness.faults.base import Fault
from harness.faults.black_hole import BlackHole
from harness.faults.catalogue import fault_from_json
from harness.faults.connection_refusal import ConnectionRefusal
from harness.faults.connection_reset import ConnectionReset
from harness.faults.corrupted_bytes import CorruptedBytes
from harness.faults.half_open import HalfOpen
from harness.faults.injection import Injection
from harness.faults.metrics_outage import MetricsOutage
from harness.faults.network_bandwidth import NetworkBandwidth
from harness.faults.network_latency import NetworkLatency
from harness.faults.network_stall import NetworkStall
from harness.faults.one_way_partition import OneWayPartition
from harness.faults.packet_loss import PacketLoss
from harness.faults.path import travel
from harness.faults.slow_close import SlowClose
from harness.faults.toxics import Toxic
from tests.faults.conftest import wait_for
from tests.faults.family import MEMORIES, Case

FAULTS: list[tuple[Fault, str]] = [
    (NetworkLatency(60.0, 10.0), "ms longer"),
    (NetworkBandwidth(40_000.0), "bytes take"),
    (NetworkStall(0.3), "a retransmission longer"),
    (ConnectionReset(0.5), "end by a reset"),
    (ConnectionRefusal(), "end by refused"),
    (BlackHole(), "end by timeout"),
    (OneWayPartition(), "end by timeout"),
    (OneWayPartition("server"), "end by timeout"),
    (HalfOpen(), "end by timeout"),
    (SlowClose(400.0), "ms later"),
    (CorruptedBytes(0.5), "answers that were not there before"),
    (MetricsOutage(), "scrapes are cut off"),
    (MetricsOutage(400.0), "scrape takes"),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with Case(tmp_path_factory.mktemp("network"), proxy=True) as case:
        yield case


def control(case: Case) -> str:
    assert case.target.frontend is not None
    return case.target.frontend.control_url


@pytest.mark.parametrize(("fault", "evidence"), FAULTS, ids=lambda v: v.describe() if isinstance(v, Fault) else "")
def test_effect_and_recovery_are_seen(fault: Fault, evidence: str, case: Case) -> None:
    case.proves(fault, evidence)
    assert httpx.get(f"{control(case)}/toxics").json()["active"] == []
    assert fault_from_json(fault.to_json()) == fault


def test_real_packets_are_lost_where_the_kernel_lets_us(case: Case) -> None:
    fault = PacketLoss(0.15)
    if why := case.lacks(fault):
        pytest.skip(why)
    case.proves(fault, "a retransmission longer")


def test_a_toxic_that_does_nothing_is_not_seen_to_act(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkLatency, "toxic", lambda _: Toxic("latency", latency_ms=0.001))
    assert case.run(NetworkLatency(5_000.0), effect_deadline_s=0.2).effective is None


def test_what_a_partition_held_back_arrives_when_it_heals(case: Case) -> None:
    parts = urlsplit(case.target.base_url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as client:
        request = b"GET /health/alive HTTP/1.1\r\nhost: x\r\n\r\n"
        client.sendall(request)
        assert b"200" in client.recv(4096)
        with Injection(BlackHole(), case.target, case.ledger, hold_s=5, record=lambda *_, **__: None):
            client.sendall(request)
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(4096)
        client.settimeout(10)
        assert b"200" in client.recv(4096)


def test_a_refused_port_is_nobody_elses(case: Case) -> None:
    port = urlsplit(case.target.base_url).port or 0
    with (
        Injection(ConnectionRefusal(), case.target, case.ledger, hold_s=5, record=lambda *_, **__: None),
        socket.socket() as thief,
        pytest.raises(OSError, match="in use"),
    ):
        thief.bind(("127.0.0.1", port))
        thief.listen()


def test_many_bytes_pass_whole_and_in_order(case: Case) -> None:
    with case.target.client() as client:
        text = "".join(f"{number:06d}" for number in range(15_000))
        client.remember(text, memory_id="big")
        assert (client.memory("big") or {})["content"] == text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"type": "earthquake"}, "there is no toxic"),
        ({"type": "latency"}, "needs latency_ms"),
        ({"type": "reset", "share": 2}, "at most 1"),
        ({"type": "latency", "latency_ms": -1}, "from 0 on"),
        ({"type": "latency", "latency_ms": 5, "toward": "mars"}, "direction"),
        ({"type": "latency", "latency_ms": 5, "colour": "red"}, "not a toxic"),
        ([], "an object"),
        ("{", "Expecting"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(body: Any, said: str, case: Case) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = httpx.put(f"{control(case)}/toxics/x", content=text)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert httpx.get(f"{control(case)}/nothing").status_code == 404
    assert httpx.delete(f"{control(case)}/toxics/never").json() == {"removed": "never", "was_there": False}


def test_a_target_without_a_proxy_says_so_before_anything_happens(case: Case) -> None:
    injection = Injection(BlackHole(), case.inner, case.ledger, hold_s=1, record=lambda *_, **__: None)
    with pytest.raises(CapabilityMissing, match="proxy"), injection:
        pass


def test_the_proxy_ends_with_its_harness_and_the_toxics_with_it(tmp_path: Path) -> None:
    with Case(tmp_path / "case", proxy=True) as case:
        frontend = case.target.frontend
        assert frontend is not None
        assert case.target.capabilities.names > case.inner.capabilities.names
        assert case.target.claimed_url == case.inner.base_url != case.target.base_url
        case.target._child.stdin.close()  # type: ignore[attr-defined]
        wait_for("the proxy's end", lambda: not frontend.process.alive())
        assert travel(case.target.base_url, trips=1).share("refused") == 1.0
        assert not case.target.alive()
        assert MEMORIES > 0


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "network_latency", "latency_ms": 0},
        {"kind": "network_latency", "latency_ms": 5, "jitter_ms": 6},
        {"kind": "network_bandwidth", "bytes_per_s": -1},
        {"kind": "network_stall", "loss_share": 1.5},
        {"kind": "packet_loss", "loss_share": 1.0},
        {"kind": "connection_reset", "reset_share": 0},
        {"kind": "one_way_partition", "toward": "both"},
        {"kind": "slow_close", "latency_ms": float("nan")},
        {"kind": "corrupted_bytes", "corrupted_share": 0},
        {"kind": "metrics_outage", "latency_ms": -1},
    ],
)
def test_a_dose_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from_json(bad)
