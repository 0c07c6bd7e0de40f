"""Runtime flags and the cohort they are for: checked as a whole, made durable, then put in force."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from harness.reference.config import Config
from harness.reference.defects import Defects
from harness.reference.failures import ApiError, StartupRefusedError
from harness.reference.wal import sync_directory

_ENVIRONMENT = {
    "DUAL_MEMORY_TYPES": "dual_memory_types",
    "BLENDED_RECALL": "blended_recall",
    "FAN_EFFECT": "fan_effect",
}
_BOOLEANS = ("dual_memory_types", "blended_recall", "fan_effect", "monitoring")
_SHARES = ("cohort_sampling_rate", "semantic_weight")
_DUAL = ("dual_memory_types", "blended_recall", "fan_effect")
SINGLE_MEMORY = dict.fromkeys(_DUAL, False)
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Flags:
    """What the admin API shows and sets."""

    dual_memory_types: bool
    blended_recall: bool
    fan_effect: bool
    monitoring: bool
    cohort_sampling_rate: float
    cohort_seed: int
    semantic_weight: float
    cohort: str | None = None


class FlagStore:
    """``shown`` is what GET answers, ``in_force`` what recall obeys; only a defect makes them differ."""

    def __init__(self, path: Path, config: Config, environment: Mapping[str, str], defects: Defects) -> None:
        self._path = path
        self._defects = defects
        blended, features = config.blended_recall, config.features
        configured = Flags(
            dual_memory_types=features.dual_memory_types,
            blended_recall=features.blended_recall,
            fan_effect=features.fan_effect,
            monitoring=features.monitoring,
            cohort_sampling_rate=blended.cohort_sampling_rate,
            cohort_seed=blended.cohort_seed,
            semantic_weight=blended.base_semantic_weight,
        )
        kept = self._read()
        overrides = _from_environment(environment)
        self._single = config.service.milestone < 17
        before_dual_memory = SINGLE_MEMORY if self._single else {}
        self.shown = replace(configured, **{**kept, **overrides, **before_dual_memory})
        self.in_force = self._unreached = self.shown
        self._changes = self._served = 0

    def serving(self) -> Flags:
        """The flags the request at hand is served by; only a replica that no change reaches has others."""
        if not self._defects.on("replica_not_reached"):
            return self.in_force
        self._served += 1
        return self._unreached if self._served % 2 else self.in_force

    def listed(self) -> Flags:
        """What the admin API shows: what the replica that answers believes."""
        return self.serving() if self._defects.on("replica_not_reached") else self.shown

    def changed(self, changes: object) -> Flags:
        """What the flags would be after ``changes``; nothing is changed yet. Raises ApiError on any bad entry."""
        checked = _checked(changes)
        if self._single and (wanted := [name for name in _DUAL if checked.get(name)]):
            raise ApiError(400, "invalid_flags", f"{wanted[0]} needs milestone 17, and this is 16")
        rate = checked.get("cohort_sampling_rate", self.shown.cohort_sampling_rate)
        if "cohort" not in checked and self.shown.cohort is not None and rate != self.shown.cohort_sampling_rate:
            checked["cohort"] = None  # its name says a share, which is no longer the one
        return replace(self.shown, **checked)

    def persist(self, flags: Flags) -> None:
        """Make ``flags`` durable; blocks on the disk."""
        if self._defects.on("flag_forgotten"):
            return
        _keep(self._path, asdict(flags))

    def adopt(self, flags: Flags) -> None:
        """Put ``flags`` in force for every request from now on."""
        self.shown = flags
        if self._defects.on("flag_off_ignored"):
            kept = {name: getattr(self.in_force, name) or getattr(flags, name) for name in _BOOLEANS}
            self.in_force = replace(flags, **kept)
            return
        if not self._defects.on("flag_ignored"):
            self.in_force = flags
        self._changes += 1
        if self._defects.on("replica_not_reached") and self._changes <= self._defects.magnitude("replica_not_reached"):
            self._unreached = self.in_force

    def _read(self) -> dict[str, Any]:
        return _read(self._path)


def turn_off_dual_memory(path: Path) -> None:
    """Keep the flags of a stopped service, with dual memory off. Raises OSError or StartupRefusedError."""
    _keep(path, {**_read(path), **SINGLE_MEMORY})


def _keep(path: Path, values: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_directory(path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StartupRefusedError(f"{path}: the kept flags cannot be read: {error}") from None
    known = {f.name for f in fields(Flags)}
    if not isinstance(data, dict) or not data.keys() <= known:
        raise StartupRefusedError(f"{path}: the kept flags hold unknown entries")
    return data


def _from_environment(environment: Mapping[str, str]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for variable, flag in _ENVIRONMENT.items():
        text = environment.get(variable, "").strip().lower()
        if not text:
            continue
        if text not in _TRUE | _FALSE:
            raise StartupRefusedError(f"environment variable {variable}={text!r}: must be true or false")
        found[flag] = text in _TRUE
    return found


def _checked(changes: object) -> dict[str, Any]:
    if not isinstance(changes, dict) or not changes:
        raise ApiError(400, "invalid_flags", "the body must be a JSON object with at least one flag")
    checked: dict[str, Any] = {}
    for key, value in changes.items():
        if key in _BOOLEANS:
            if not isinstance(value, bool):
                raise ApiError(400, "invalid_flags", f"{key} must be true or false, not {value!r}")
        elif key in _SHARES:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not 0 <= value <= 1:
                raise ApiError(400, "invalid_flags", f"{key} must be a number from 0 to 1, not {value!r}")
        elif key == "cohort_seed":
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ApiError(400, "invalid_flags", f"cohort_seed must be a whole number, not {value!r}")
        elif key == "cohort":
            if value is not None and "cohort_sampling_rate" not in changes:
                checked["cohort_sampling_rate"] = _rate_of(value)
        else:
            raise ApiError(400, "unknown_flag", f"unknown flag {key!r}")
        checked[key] = value
    return checked


def _rate_of(cohort: object) -> float:
    """``canary_5pct`` names the share of users it is for; an explicit ``cohort_sampling_rate`` overrules it."""
    match = re.fullmatch(r"canary_(\d+(?:\.\d+)?)pct", cohort) if isinstance(cohort, str) else None
    if match is None or float(match.group(1)) > 100:
        raise ApiError(400, "invalid_flags", f"cohort must look like 'canary_5pct', not {cohort!r}")
    return float(match.group(1)) / 100.0


def user_share(user: str, seed: int) -> float:
    """Where ``user`` falls in [0, 1): fixed by user and seed, so that a larger sample contains every smaller one."""
    digest = blake2b(user.encode(), digest_size=8, key=str(seed).encode()).digest()
    # 53 bits are what a float holds; more could round up to 1.0.
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def cohort_of(user: str, flags: Flags, defects: Defects) -> str:
    """``canary`` when ``user`` is in the sample, else ``control``."""
    rate = flags.cohort_sampling_rate
    if defects.on("cohort_skew"):
        rate *= defects.magnitude("cohort_skew")
    return "canary" if user_share(user, flags.cohort_seed) < rate else "control"
