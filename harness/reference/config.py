"""``engram.toml``: the runbook's sections and ours, checked key by key, each complaint with its file and line."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from harness.reference.failures import StartupRefusedError

MIN_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number may be."""

    low: float = -math.inf
    high: float = math.inf


def _number(default: float, low: float = -math.inf, high: float = math.inf) -> float:
    return field(default=default, metadata={"bounds": Bounds(low, high)})


def _count(default: int, low: int = 1, high: int = 2**63) -> int:
    return field(default=default, metadata={"bounds": Bounds(low, high)})


@dataclass(frozen=True, slots=True)
class Features:
    """``[features]``: the four flags as the service first starts; the runtime API changes them later."""

    dual_memory_types: bool = True
    blended_recall: bool = False
    fan_effect: bool = False
    monitoring: bool = True


@dataclass(frozen=True, slots=True)
class Consolidation:
    """``[consolidation]``: how episodes become concepts. ``interval_seconds`` is ours and wins when it is given."""

    enable_concept_formation: bool = True
    concept_min_coherence: float = _number(0.6, 0, 1)
    concept_formation_interval_minutes: float = _number(5.0, MIN_INTERVAL_S / 60)
    interval_seconds: float = _number(0.0, MIN_INTERVAL_S)
    similarity_threshold: float = _number(0.55, 0, 1)
    min_cluster_size: int = _count(3, 2)
    binding_prune_below: float = _number(0.1, 0, 1)

    @property
    def interval_s(self) -> float:
        """Seconds between the starts of two runs."""
        return self.interval_seconds or self.concept_formation_interval_minutes * 60.0


@dataclass(frozen=True, slots=True)
class BlendedRecall:
    """``[blended_recall]``: the runbook's keys, then ours."""

    cohort_sampling_rate: float = _number(1.0, 0, 1)
    cohort_seed: int = _count(42, 0)
    base_episodic_weight: float = _number(0.7, 0, 1)
    base_semantic_weight: float = _number(0.3, 0, 1)
    adaptive_weighting: bool = True
    enable_pattern_completion: bool = True
    min_concept_coherence: float = _number(0.6, 0, 1)
    semantic_timeout_ms: float = _number(8.0, 0.1)
    max_concepts: int = _count(20)
    concept_activation_floor: float = _number(0.35, 0, 1)
    convergence_boost: float = _number(1.15, 1, 10)
    pattern_completion_min_results: int = _count(5, 0)
    pattern_completion_min_confidence: float = _number(0.4, 0, 1)
    topk_overlap_sample_every: int = _count(10)


@dataclass(frozen=True, slots=True)
class Breaker:
    """``[breaker]``: when failures of the semantic pathway stop it being tried."""

    failure_threshold: int = _count(5)
    cooldown_ms: float = _number(1000.0, 1)


@dataclass(frozen=True, slots=True)
class Storage:
    """``[storage]``: durability and the size on disk."""

    commit_window_ms: float = _number(2.0, 0, 10)
    compact_min_mb: float = _number(16.0, 0.01)
    compact_ratio: float = _number(3.0, 1)
    max_pending_writes: int = _count(5000)


@dataclass(frozen=True, slots=True)
class Chaos:
    """``[chaos]``: without a seed the draws come from the system's entropy."""

    chaos_seed: int = _count(-1, 0)


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """``[memory]``: reported as ``engram_memory_limit_bytes``; 0 means what the machine grants."""

    limit_mb: float = _number(0.0, 0)


@dataclass(frozen=True, slots=True)
class Service:
    """``[service]``: 16 stands for the milestone before dual memory, which a full rollback goes back to."""

    milestone: int = _count(17, 16, 17)


@dataclass(frozen=True, slots=True)
class Config:
    """All sections."""

    features: Features = field(default_factory=Features)
    consolidation: Consolidation = field(default_factory=Consolidation)
    blended_recall: BlendedRecall = field(default_factory=BlendedRecall)
    breaker: Breaker = field(default_factory=Breaker)
    storage: Storage = field(default_factory=Storage)
    chaos: Chaos = field(default_factory=Chaos)
    memory: MemoryLimit = field(default_factory=MemoryLimit)
    service: Service = field(default_factory=Service)


_SECTIONS: dict[str, type] = {
    "features": Features,
    "consolidation": Consolidation,
    "blended_recall": BlendedRecall,
    "breaker": Breaker,
    "storage": Storage,
    "chaos": Chaos,
    "memory": MemoryLimit,
    "service": Service,
}


def load_config(path: Path | None) -> Config:
    """Read ``path``; anything unknown, mistyped or out of range refuses the start with ``file:line``."""
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise StartupRefusedError(f"{path}: cannot be read: {reason}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"at line (\d+)", str(error))
        line = match.group(1) if match else len(text.splitlines())
        raise StartupRefusedError(f"{path}:{line}: not valid TOML: {error}") from None
    values: dict[str, Any] = {name: _section(path, text, name, table) for name, table in document.items()}
    return Config(**values)


def _section(path: Path, text: str, name: str, table: object) -> object:
    kind = _SECTIONS.get(name)
    if kind is None:
        known = ", ".join(_SECTIONS)
        what = "section" if isinstance(table, dict) else "key"
        raise StartupRefusedError(f"{path}:{_line_of(text, name, None)}: unknown {what} {name!r} (known: {known})")
    if not isinstance(table, dict):
        raise StartupRefusedError(f"{path}:{_line_of(text, name, None)}: {name!r} must be a section")
    known_fields = {f.name: f for f in fields(kind)}
    checked: dict[str, object] = {}
    for key, value in table.items():
        where = f"{path}:{_line_of(text, name, key)}: {name}.{key}"
        known_field = known_fields.get(key)
        if known_field is None:
            raise StartupRefusedError(f"{where}: unknown key (known: {', '.join(known_fields)})")
        checked[key] = _value(where, str(known_field.type), known_field.metadata.get("bounds"), value)
    section: object = kind(**checked)
    return section


def _value(where: str, kind: str, bounds: Bounds | None, value: object) -> object:
    if kind == "bool":
        if not isinstance(value, bool):
            raise StartupRefusedError(f"{where}: must be true or false, not {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind == "int" and not isinstance(value, int)):
        wanted = "a whole number" if kind == "int" else "a number"
        raise StartupRefusedError(f"{where}: must be {wanted}, not {value!r}")
    if bounds is not None and not bounds.low <= value <= bounds.high:
        limit = f"at least {bounds.low:g}" if math.isinf(bounds.high) else f"{bounds.low:g} to {bounds.high:g}"
        raise StartupRefusedError(f"{where}: {value!r} is out of range ({limit})")
    return value if kind == "int" else float(value)


def _line_of(text: str, section: str, key: str | None) -> int:
    """The line that sets ``section.key`` (or opens ``section``); tomllib keeps no positions, so look for it."""
    here, header_line = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*[\"']?([^\]\"']+?)[\"']?\s*\]", line):
            here = header.group(1)
            if here == section or here.startswith(section + "."):
                header_line = header_line or number
                if key is None or here == f"{section}.{key}":
                    return number
        elif assignment := re.match(r"\s*[\"']?([\w.-]+?)[\"']?\s*=", line):
            name = assignment.group(1)
            full = f"{here}.{name}" if here else name
            target = section if key is None else f"{section}.{key}"
            if full == target or full.startswith(target + "."):
                return number
    return header_line or 1
