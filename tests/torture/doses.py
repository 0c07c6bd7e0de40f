"""A dose for every kind of fault in the catalogue, also for one that was added after this was written."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.catalogue import FAULTS, fault_from_json

# What a field is given by the end of its name, where the fault itself names no default.
_BY_ENDING: tuple[tuple[str, Any], ...] = (
    ("_rate", 1.0),
    ("_share", 0.5),
    ("_ms", 40.0),
    ("bytes_per_s", 20_000.0),
    ("offset_s", 3600.0),
    ("_s", 1.0),
    ("_mb", 64.0),
    ("_bytes", 64),
    ("_percent", 50.0),
)
_COUNT = 2
# And where that takes its time to be seen: lost packets are sent again after seconds, half a processor is plenty.
_CHOSEN: dict[str, dict[str, Any]] = {"packet_loss": {"loss_share": 0.2}, "cpu_quota": {"quota_percent": 10.0}}


def dose_of(kind: type[Fault]) -> Fault:
    """The fault with every field it wants. Raises :class:`UsageError` where none of the guesses is a dose of it."""
    values: dict[str, Any] = {"kind": kind.kind, **_CHOSEN.get(kind.kind, {})}
    fields: Any = dataclasses.fields(cast(Any, kind))
    for one in fields:
        if one.name not in values and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            values[one.name] = next((v for end, v in _BY_ENDING if one.name.endswith(end)), _COUNT)
    return fault_from_json(values)


def doses() -> dict[str, Fault]:
    """By kind. The control case and what the guesses do not fit are left out; :func:`undosed` names the latter."""
    return {kind.kind: fault for kind in FAULTS if kind.kind != "no_fault" and (fault := _try(kind)) is not None}


def undosed() -> list[str]:
    """Kinds that no dose was found for."""
    return sorted(kind.kind for kind in FAULTS if kind.kind != "no_fault" and _try(kind) is None)


def _try(kind: type[Fault]) -> Fault | None:
    try:
        return dose_of(kind)
    except (UsageError, TypeError, ValueError):
        return None
