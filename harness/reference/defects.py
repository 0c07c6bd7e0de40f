"""Every fault the service can be born with, in one table; all are off unless asked for.

A defect is a bug we know of, so that a drill which stays green can be told from a drill which looks. The hooks in the
code ask ``defects.on("name")``; nothing else in the service depends on this module.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from harness.reference.failures import StartupRefusedError


@dataclass(frozen=True, slots=True)
class Defect:
    """One known bug: what it does, and what its magnitude means."""

    name: str
    meaning: str
    default: float | None = None
    unit: str = ""
    low: float = 0.0
    high: float = math.inf


def _share(name: str, meaning: str, default: float) -> Defect:
    return Defect(name, meaning, default, "share", 0.0, 1.0)


def _one_in(name: str, meaning: str, default: float) -> Defect:
    return Defect(name, meaning, default, "n", 1.0)


def _seconds(name: str, meaning: str, default: float) -> Defect:
    return Defect(name, meaning, default, "s")


def _milliseconds(name: str, meaning: str, default: float) -> Defect:
    return Defect(name, meaning, default, "ms")


TABLE: tuple[Defect, ...] = (
    Defect("semantic_timeout_answers_500", "a late semantic pathway answers 500 instead of falling back"),
    Defect("no_fallback", "recall waits for the semantic pathway however long it takes"),
    Defect("fallback_returns_nothing", "a recall that lost its semantic half answers 200 with no memories"),
    Defect("timeout_counter_stuck", "semantic timeouts are not counted"),
    Defect("consolidation_failure_leaks", "recall answers 500 while the last consolidation run has failed"),
    Defect("failures_not_counted", "failed consolidation runs are reported as successful"),
    Defect("consolidation_never_resumes", "after one failed consolidation run every later one fails too"),
    Defect("corrupted_bindings_served", "invalid binding strengths are used and served instead of filtered"),
    Defect("quality_counter_silent", "filtered bindings are not counted as quality violations"),
    Defect("restore_half", "restore repairs only half of the corrupted bindings"),
    _seconds("recovery_late", "a healed fault stays in force this long, while the listing says it is gone", 5.0),
    Defect("recovery_never", "a healed fault stays in force for good, while the listing says it is gone"),
    _seconds("slow_recovery_ramp", "a healed fault fades over this long instead of ending at once", 5.0),
    Defect("chaos_ignored", "chaos requests are accepted and listed, and do nothing"),
    _share("chaos_half_dose", "chaos takes effect at this share of the dose asked for", 0.5),
    Defect("flag_ignored", "a flag change is accepted and shown, and changes nothing"),
    Defect("replica_not_reached", "half of the requests see only the first n flag changes", 1, "n"),
    Defect("flag_off_ignored", "turning a flag off is accepted and shown, and changes nothing"),
    Defect("latency_stays", "recall stays slow after the blend that made it slow is turned off"),
    _one_in("restore_loses_memory", "a restore leaves out one memory in n", 100),
    _one_in("migration_loses", "turning dual_memory_types on forgets one memory in n, for good", 20),
    Defect("migration_reorders", "with dual_memory_types on, the best two memories of an answer change places"),
    _share("dual_deviates", "with dual_memory_types on, this share of an answer's memories is left out", 0.1),
    Defect("combination_answers_500", "recall answers 500 while fan_effect is on and dual_memory_types is off"),
    Defect("combination_ignored", "blended_recall alone, without dual_memory_types, blends all the same"),
    Defect("migration_crashes_recall", "recall answers 500 for a second after dual_memory_types is turned on"),
    Defect("flag_forgotten", "a flag change does not survive a restart"),
    _share("health_lies", "this share of recalls answers 503 under any fault, while /health answers 200", 0.5),
    Defect("health_down_on_fault", "/health answers 503 while the semantic pathway is slow"),
    _share("errors_one_cohort", "this share of the canary cohort's recalls answers 500", 0.05),
    _share("error_rate", "this share of all recalls answers 500", 0.05),
    Defect("errors_counter_silent", "failed recalls are not counted as errors"),
    _one_in("lost_ack", "one acknowledged memory in n is not kept", 50),
    Defect("lost_nth", "every nth acknowledged memory, and no other, is not kept", 100_000, "writes", 1.0),
    _one_in("stale_version", "one acknowledged replacement in n leaves the old version in place", 20),
    _seconds("ack_before_write", "memories are acknowledged at once and written this much later", 0.5),
    _one_in("leaked_write", "one acknowledged memory in n is written to another space instead of its own", 50),
    Defect("lost_tail", "this many of the last acknowledged writes are gone after a crash", 5, "n", 1.0),
    Defect("never_synced", "acknowledged writes are left to the kernel, and a power cut takes them"),
    Defect("second_generation_loss", "what was written since a crash is gone after the next one"),
    Defect("resurrected_deletes", "an acknowledged delete does not survive a crash"),
    _one_in("wrong_space_leak", "one recall in n also returns a memory of another space", 20),
    _one_in("corrupt_content", "one memory in n (always the same ones) comes back with damaged content", 50),
    _share("latency_underreported", "metrics report this share of the real latency", 0.5),
    Defect("leak_bytes", "every request leaks this many bytes", 4096, "bytes"),
    _one_in("fd_leak", "one request in n leaks a file descriptor", 10),
    _milliseconds("slow_under_fault", "every recall takes this much longer while any fault is active", 20),
    _milliseconds("latency_drift", "recall gets this much slower per minute of uptime", 5),
    _milliseconds("episodic_pathway_blocked", "a slow semantic pathway blocks everybody, up to this long each", 50),
    Defect("breaker_stuck_open", "the first semantic timeout opens the breaker, for good"),
    _one_in("invalid_confidence_served", "one recall in n carries a confidence above 1", 20),
    Defect("cohort_skew", "the cohort holds this multiple of the users it should", 0.5, "factor"),
    Defect("metrics_vanish", "dual-memory metrics disappear while any fault is active"),
    Defect("nan_metrics", "gauges are NaN while any fault is active"),
    _seconds("consolidation_stops", "from this long after the start on, consolidation runs no more", 60.0),
    Defect("error_creep", "this share of recalls more answers 500 with every minute of uptime", 0.0005, "share"),
    _seconds("crash_after", "the process ends without a word this long after the start", 60.0),
    _seconds("breaker_flaps", "the breaker opens once in this many seconds, for a quarter of them", 60.0),
    _share("quality_overlap", "this share of a canary recall's results are other memories instead", 0.3),
    _share("recall_misses", "each memory a cue is nearest to is overlooked with this probability", 0.2),
    Defect("partial_cue_no_gain", "the semantic pathway adds no memory of its own to any answer"),
    Defect("convergence_lost", "no result counts as found by both pathways"),
    _share("completion_overused", "this share of blended recalls is filled up by pattern completion without need", 0.3),
    _share("semantic_late", "this share of blended recalls loses its semantic half, as if it had timed out", 0.25),
    _milliseconds("canary_slow", "every recall of the canary cohort takes this much longer", 5),
    _share("recall_truncated", "recall returns this share of its results while any fault is active", 0.5),
    Defect("canary_slower", "blended recalls take this share of their time longer", 0.15, "share"),
    _share("coherence_low", "concepts have this share of the coherence they should have", 0.7),
    _share("consolidation_fails", "this share of consolidation runs fails", 0.2),
    Defect("metrics_gone", "dual-memory metrics are never exported"),
    Defect("metric_renamed", "engram_blended_recall_total is exported as engram_blended_recalls_total"),
    _share("canary_unsure", "a canary recall is this share less sure of its answer as a whole", 0.2),
    Defect("confidence_gone", "a recall's answer bears no confidence as a whole"),
)
_BY_NAME = {defect.name: defect for defect in TABLE}


class Defects:
    """The defects in force in this process."""

    def __init__(self, magnitudes: dict[str, float] | None = None, *, seed: int = 0) -> None:
        self._magnitudes = dict(magnitudes or {})
        self._random = random.Random(seed)

    @property
    def any(self) -> bool:
        """Whether any defect is in force; lets a busy path ask once."""
        return bool(self._magnitudes)

    def on(self, name: str) -> bool:
        """Whether ``name`` is in force; a name missing from the table is a mistake of ours."""
        return name in self._magnitudes and name in _BY_NAME

    def magnitude(self, name: str) -> float:
        """The magnitude of ``name``, in its table's unit."""
        return self._magnitudes[name]

    def strikes(self, name: str) -> bool:
        """Draw whether a defect given as a share, or as one in n, hits this time."""
        if name not in self._magnitudes:
            return False
        magnitude = self._magnitudes[name]
        probability = 1.0 / magnitude if _BY_NAME[name].unit == "n" else magnitude
        return self._random.random() < probability

    def draws(self, probability: float) -> bool:
        """Draw whether something of that probability happens this time."""
        return self._random.random() < probability

    def fraction(self) -> float:
        """A draw from [0, 1), for a defect that chooses."""
        return self._random.random()

    def names(self) -> list[str]:
        """The defects in force, as ``name`` or ``name=magnitude``."""
        plain = {name for name in self._magnitudes if _BY_NAME[name].default is None}
        return [name if name in plain else f"{name}={value:g}" for name, value in self._magnitudes.items()]


def parse_defects(arguments: Iterable[str], *, seed: int = 0) -> Defects:
    """Read ``NAME[=M]`` arguments; an unknown name or an impossible magnitude refuses the start."""
    magnitudes: dict[str, float] = {}
    for argument in arguments:
        name, separator, text = argument.partition("=")
        defect = _BY_NAME.get(name)
        if defect is None:
            raise StartupRefusedError(f"--defect {argument}: unknown defect {name!r} (see --list-defects)")
        if defect.default is None:
            if separator:
                raise StartupRefusedError(f"--defect {argument}: {name} takes no magnitude")
            magnitudes[name] = 1.0
            continue
        magnitudes[name] = _magnitude(argument, defect, text) if separator else defect.default
    return Defects(magnitudes, seed=seed)


def _magnitude(argument: str, defect: Defect, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise StartupRefusedError(f"--defect {argument}: {text!r} is not a number of {defect.unit}") from None
    if not math.isfinite(value) or not defect.low <= value <= defect.high:
        bounds = f"{defect.low:g} or more" if math.isinf(defect.high) else f"{defect.low:g} to {defect.high:g}"
        raise StartupRefusedError(f"--defect {argument}: {value:g} {defect.unit} is out of range ({bounds})")
    return value


def listing() -> list[dict[str, object]]:
    """The table as plain data, for ``--list-defects``."""
    return [{"name": d.name, "meaning": d.meaning, "default": d.default, "unit": d.unit or None} for d in TABLE]
