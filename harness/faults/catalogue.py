"""The faults by their kinds, for records and plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.faults.bad_configuration import BadConfiguration
from harness.faults.base import Fault
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
from harness.faults.dual_memory_on import DualMemoryOn
from harness.faults.file_descriptors import FileDescriptors
from harness.faults.flag_flapping import FlagFlapping
from harness.faults.flag_walk import FlagWalk
from harness.faults.global_latency import RecallLatency
from harness.faults.graceful_restart import GracefulRestart
from harness.faults.half_open import HalfOpen
from harness.faults.log_damage import LogDamage
from harness.faults.lost_unsynced import LostUnsynced
from harness.faults.memory_limit import MemoryLimit
from harness.faults.metrics_outage import MetricsOutage
from harness.faults.network_bandwidth import NetworkBandwidth
from harness.faults.network_latency import NetworkLatency
from harness.faults.network_stall import NetworkStall
from harness.faults.no_fault import NoFault
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

_CORE: tuple[type[Fault], ...] = (
    NoFault,
    ConsolidationFailure,
    SemanticLatency,
    BindingCorruption,
    RecallLatency,
    ProcessCrash,
)
# By family; each fault is also a fixture of its kind's name (harness/fault_fixtures.py).
FAMILIES: dict[str, tuple[type[Fault], ...]] = {
    "service": (
        FlagFlapping,
        BadConfiguration,
    ),
    "process": (
        DoubleCrash,
        GracefulRestart,
        ProcessPause,
        OutOfMemory,
    ),
    "clock": (ClockSkew,),
    "network": (
        NetworkLatency,
        NetworkBandwidth,
        NetworkStall,
        PacketLoss,
        ConnectionReset,
        ConnectionRefusal,
        BlackHole,
        OneWayPartition,
        HalfOpen,
        SlowClose,
        CorruptedBytes,
    ),
    "resource": (
        CpuQuota,
        CpuContention,
        MemoryLimit,
        FileDescriptors,
        ThreadLimit,
    ),
    "storage": (
        DiskFull,
        ReadOnlyDisk,
        SlowDisk,
        SyncErrors,
        LogDamage,
        DeletedLog,
        LostUnsynced,
    ),
    "dependencies": (MetricsOutage,),
    "phase0": (DualMemoryOn, FlagWalk),
}
FAMILY_FAULTS: tuple[type[Fault], ...] = tuple(fault for family in FAMILIES.values() for fault in family)
FAULTS: tuple[type[Fault], ...] = (*_CORE, *FAMILY_FAULTS)


def fault_from_json(value: Mapping[str, Any]) -> Fault:
    """The inverse of :meth:`Fault.to_json`. Raises :class:`UsageError` for an unknown kind or a bad dose."""
    kinds = {fault.kind: fault for fault in FAULTS}
    kind = value.get("kind")
    if kind == "composition":
        from harness.faults.composition import Composition, steps_from_json

        return Composition(str(value.get("name", kind)), steps_from_json(value.get("steps", ()), fault_from_json))
    if not isinstance(kind, str) or kind not in kinds:
        raise UsageError(f"unknown fault: {kind!r}", hint=f"known: {', '.join(sorted(kinds))}")
    try:
        return kinds[kind](**{key: item for key, item in value.items() if key != "kind"})
    except TypeError as error:
        raise UsageError(f"not a dose of {kind}: {error}") from error
