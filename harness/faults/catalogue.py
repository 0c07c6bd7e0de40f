"""The faults by their kinds, for records and plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.global_latency import RecallLatency
from harness.faults.no_fault import NoFault
from harness.faults.process_crash import ProcessCrash
from harness.faults.semantic_latency import SemanticLatency

FAULTS: tuple[type[Fault], ...] = (
    NoFault,
    ConsolidationFailure,
    SemanticLatency,
    BindingCorruption,
    RecallLatency,
    ProcessCrash,
)


def fault_from_json(value: Mapping[str, Any]) -> Fault:
    """The inverse of :meth:`Fault.to_json`. Raises :class:`UsageError` for an unknown kind or a bad dose."""
    kinds = {fault.kind: fault for fault in FAULTS}
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise UsageError(f"unknown fault: {kind!r}", hint=f"known: {', '.join(sorted(kinds))}")
    try:
        return kinds[kind](**{key: item for key, item in value.items() if key != "kind"})
    except TypeError as error:
        raise UsageError(f"not a dose of {kind}: {error}") from error
