"""Every kind of fault with the dose it is tried at, and half of that.

Where the dose is a number, half is half of it (of a scarcity: half as scarce). A fault without a number is halved in
what it does: a crash that is over at once, one crash of two, a kill without the damage, one direction of two.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from harness.engram import EngramClient
from harness.faults.bad_configuration import BadConfiguration
from harness.faults.base import Fault, process_of
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.black_hole import BlackHole
from harness.faults.clock_skew import ClockSkew
from harness.faults.connection_refusal import ConnectionRefusal
from harness.faults.connection_reset import ConnectionReset
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.corrupted_bytes import CorruptedBytes
from harness.faults.cpu_contention import CpuContention
from harness.faults.cpu_quota import CpuQuota
from harness.faults.deleted_log import DeletedLog
from harness.faults.disk_full import DiskFull
from harness.faults.double_crash import DoubleCrash
from harness.faults.dual_memory_on import FLAG, DualMemoryOn
from harness.faults.file_descriptors import FileDescriptors
from harness.faults.flag_flapping import FlagFlapping
from harness.faults.flag_walk import FLAGS, FlagWalk
from harness.faults.global_latency import RecallLatency
from harness.faults.graceful_restart import GracefulRestart
from harness.faults.half_open import HalfOpen
from harness.faults.log_damage import LogDamage
from harness.faults.log_files import log_file, wait_until_gone
from harness.faults.lost_unsynced import LostUnsynced
from harness.faults.memory_limit import MemoryLimit
from harness.faults.metrics_outage import MetricsOutage
from harness.faults.network import NetworkFault
from harness.faults.network_bandwidth import NetworkBandwidth
from harness.faults.network_latency import NetworkLatency
from harness.faults.network_stall import NetworkStall
from harness.faults.one_way_partition import OneWayPartition
from harness.faults.out_of_memory import OutOfMemory
from harness.faults.packet_loss import PacketLoss
from harness.faults.process_crash import ProcessCrash
from harness.faults.process_pause import ProcessPause
from harness.faults.read_only_disk import ReadOnlyDisk
from harness.faults.semantic_latency import SemanticLatency
from harness.faults.slow_close import SlowClose
from harness.faults.slow_disk import SlowDisk
from harness.faults.sync_errors import SyncErrors
from harness.faults.thread_limit import ThreadLimit
from harness.faults.toxics import TO_CLIENT, Toxic
from harness.targets.base import Target

Way = Callable[[Target, EngramClient], None]


@dataclass(frozen=True)
class Dose:
    """A fault, and half of it: another fault of the kind, or something done to the target. ``half_text``: in words."""

    fault: Fault
    half: Fault | Way
    half_text: str
    before: dict[str, bool] = field(default_factory=dict)  # flags as they have to be first; put back afterwards

    @property
    def name(self) -> str:
        """``slow_close: connections end 500 ms late``."""
        return f"{self.fault.kind}: {self.fault.describe()}"


def _numbers(fault: Fault, half: Fault) -> Dose:
    return Dose(fault, half, half.describe())


def _back_at_once(target: Target, client: EngramClient) -> None:
    target.restart(kill=True)


def _restarted_in_order(target: Target, client: EngramClient) -> None:
    target.restart()


def _one_crash(target: Target, client: EngramClient) -> None:
    process_of(target).send(signal.SIGKILL)


def _killed_only(target: Target, client: EngramClient) -> None:
    process = process_of(target)
    process.send(signal.SIGKILL)
    wait_until_gone(process)


def _stopped_and_gone_on(target: Target, client: EngramClient) -> None:
    process_of(target).send(signal.SIGSTOP)
    process_of(target).send(signal.SIGCONT)


def _on_and_off(target: Target, client: EngramClient) -> None:
    client.set_features(**{FLAG: True})
    client.set_features(**{FLAG: False})


def _one_combination(target: Target, client: EngramClient) -> None:
    client.set_features(**dict.fromkeys(FLAGS, False))


def _second_name_only(target: Target, client: EngramClient) -> None:
    """As the fault begins, without the deletion; its own recipe takes the second name away."""
    path = log_file(target)
    Path(path.with_name(f"engram-harness-kept-{path.name}")).hardlink_to(path)


def _toxic(fault: NetworkFault, **fields: Any) -> Way:
    """The proxy does something milder under the fault's own name."""

    def put(target: Target, client: EngramClient) -> None:
        assert target.frontend is not None
        url = f"{target.frontend.control_url}/toxics/{fault.slot}"
        httpx.put(url, json=Toxic(**fields).as_json(), timeout=5.0, trust_env=False).raise_for_status()

    return put


_HALF_THE_ANSWERS: dict[str, Any] = {"type": "stall", "toward": TO_CLIENT, "share": 0.5, "latency_ms": 5_000.0}

DOSES: tuple[Dose, ...] = (
    _numbers(ConsolidationFailure(1.0), ConsolidationFailure(0.5)),
    _numbers(SemanticLatency(50.0), SemanticLatency(25.0)),
    _numbers(BindingCorruption(0.5), BindingCorruption(0.25)),
    _numbers(RecallLatency(40.0), RecallLatency(20.0)),
    _numbers(FlagFlapping(0.25), FlagFlapping(0.5)),
    Dose(FlagWalk(0.1), _one_combination, "one combination of all"),
    Dose(DualMemoryOn(), _on_and_off, "turned on, and off at once", {FLAG: False}),
    Dose(BadConfiguration("out_of_range"), _back_at_once, "restarted with its own configuration"),
    Dose(BadConfiguration("not_toml"), _back_at_once, "restarted with its own configuration"),
    Dose(ProcessCrash(), _back_at_once, "killed, and back before anybody looks"),
    Dose(DoubleCrash(), _one_crash, "killed once"),
    Dose(GracefulRestart(), _restarted_in_order, "back before anybody looks"),
    Dose(ProcessPause(), _stopped_and_gone_on, "stopped, and going on at once"),
    _numbers(OutOfMemory(1.0), OutOfMemory(2.0)),
    _numbers(ClockSkew(3600.0), ClockSkew(1800.0)),
    _numbers(NetworkLatency(40.0), NetworkLatency(20.0)),
    _numbers(NetworkLatency(40.0, 20.0), NetworkLatency(40.0, 10.0)),
    _numbers(NetworkBandwidth(20_000.0), NetworkBandwidth(40_000.0)),
    _numbers(NetworkStall(0.5), NetworkStall(0.25)),
    _numbers(PacketLoss(0.4), PacketLoss(0.2)),
    _numbers(ConnectionReset(0.5), ConnectionReset(0.25)),
    Dose(ConnectionRefusal(), _toxic(ConnectionRefusal(), type="reset", share=0.5), "half of the answers reset"),
    Dose(BlackHole(), _toxic(BlackHole(), type="black_hole", toward=TO_CLIENT), "one direction of two"),
    *(
        Dose(OneWayPartition(way), _toxic(OneWayPartition(way), **_HALF_THE_ANSWERS), "half of the answers late")
        for way in ("client", "server")
    ),
    Dose(HalfOpen(), _toxic(HalfOpen(), **_HALF_THE_ANSWERS), "half of the answers late"),
    _numbers(SlowClose(500.0), SlowClose(250.0)),
    _numbers(CorruptedBytes(0.5), CorruptedBytes(0.25)),
    _numbers(CpuQuota(10.0), CpuQuota(20.0)),
    _numbers(CpuContention(2), CpuContention(1)),
    _numbers(MemoryLimit(1.0), MemoryLimit(128.0)),
    _numbers(FileDescriptors(0), FileDescriptors(128)),
    _numbers(ThreadLimit(0), ThreadLimit(8)),
    _numbers(DiskFull(0), DiskFull(2**26)),
    Dose(ReadOnlyDisk(), SlowDisk(5.0), "writes 5 ms slower"),
    Dose(SyncErrors(), SlowDisk(5.0), "writes 5 ms slower"),
    _numbers(SlowDisk(50.0), SlowDisk(25.0)),
    Dose(DeletedLog(), _second_name_only, "a second name, the first not deleted"),
    Dose(LostUnsynced(), _killed_only, "killed, and nothing cut back"),
    *(
        Dose(LogDamage(damage, where), _killed_only, "killed, and nothing damaged")
        for where in ("middle", "tail")
        for damage in ("flipped", "zeroed", "garbage", "truncated")
    ),
    _numbers(MetricsOutage(), MetricsOutage(100.0)),
    _numbers(MetricsOutage(2000.0), MetricsOutage(1000.0)),
)
