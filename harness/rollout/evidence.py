"""Collects a gate's evidence from directories: runs, soaks, drills, suites, monitoring checks, recorded metrics.

What a directory holds says itself what it is. A run or drill of a rehearsal names its phase; of what names none, the
phase is the one given with the directory. Records that contradict each other, or the plan, are refused: a gate must
not choose between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness.errors import RecordError, UsageError
from harness.judge.gate_records import AlertRecord, Attestation, DrillEvidence, SoakEvidence, Suite
from harness.judge.phase_gate import Evidence
from harness.judge.phase_runs import PhaseRun, PhaseRuns
from harness.judge.service_series import ServiceRecord
from harness.judge.summary import CaseSummary
from harness.model import Estimate, Interval, Verdict
from harness.report.session import judge_folder
from harness.report.soak import read_soak
from harness.rollout.attestations import read_lines_of, settled
from harness.rollout.metrics_record import FILE as METRICS
from harness.rollout.metrics_record import read_metrics
from harness.rollout.plan import Phase, Plan
from harness.scenario.incidents import IncidentList, load_incidents
from harness.timeline.jsonl import read_json
from harness.timeline.record import is_case, read_case
from harness.timeline.soak_record import is_soak

MONITORING = "monitoring.json"
_DEEPEST = 4
_NO_FAULT = "no_fault"


@dataclass
class _Found:
    """What was found so far."""

    runs: dict[str, list[PhaseRun]] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    drills: dict[str, list[DrillEvidence]] = field(default_factory=dict)
    soaks: dict[str, list[SoakEvidence]] = field(default_factory=dict)
    services: dict[str, ServiceRecord] = field(default_factory=dict)
    alerts: dict[str, AlertRecord] = field(default_factory=dict)
    suites: dict[str, Suite] = field(default_factory=dict)
    monitoring: dict[str, Verdict] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class Collected:
    """The evidence, and whether any of it comes from a rehearsal (whose time is scaled)."""

    evidence: Evidence
    rehearsal: bool


def collect(
    plan: Plan,
    phase: Phase,
    places: Sequence[str],
    *,
    incidents: Path | None = None,
    attestations: Path | None = None,
) -> Collected:
    """Read all evidence. ``places`` are ``DIR`` (of ``phase``) or ``PHASE=DIR``.

    Raises :class:`UsageError` where a place does not exist, :class:`RecordError` where something cannot be read or
    contradicts, :class:`~harness.errors.ConfigError` for a bad incidents file.
    """
    found = _Found()
    for place in places:
        name, _, path = place.rpartition("=")
        owner = plan.phase(name) if name else phase
        folder = Path(path)
        if not folder.exists():
            raise UsageError("no such directory", where=str(folder), hint="--evidence DIR or --evidence PHASE=DIR")
        for item in _walk(folder):
            if item.resolve() not in found.seen:  # given twice is not two runs
                found.seen.add(item.resolve())
                _take(plan, owner, item, found)
    listed = None
    if incidents is not None:
        listed = load_incidents(incidents, tuple(p.name for p in plan.phases))
    words: dict[tuple[str, str], Attestation] = {}
    if attestations is not None and attestations.exists():
        words = settled(read_lines_of(attestations), str(attestations))
    return Collected(_evidence(found, listed, words), any(scale != 1.0 for scale in found.scales.values()))


def _evidence(found: _Found, incidents: IncidentList | None, words: dict[tuple[str, str], Attestation]) -> Evidence:
    runs = {
        name: PhaseRuns(sorted(many, key=lambda r: (str(r.record.manifest.get("started", "")), r.name)), scale)
        for name, many in found.runs.items()
        if (scale := found.scales.get(name, 1.0))
    }
    return Evidence(
        runs=runs,
        services=found.services,
        soaks=found.soaks,
        drills=found.drills,
        alerts=found.alerts,
        suites=found.suites,
        monitoring=found.monitoring,
        incidents=incidents,
        attestations=words,
    )


def _walk(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Everything below that is evidence, in a fixed order: cases and soaks as directories, other files by name."""
    if folder.is_file():
        yield folder
        return
    if is_soak(folder) or is_case(folder):
        yield folder
        return
    if depth > _DEEPEST:
        return
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise RecordError(f"cannot read the directory: {error.strerror}", where=str(folder)) from error
    for path in inside:
        if path.is_dir():
            yield from _walk(path, depth + 1)
        elif path.name in (METRICS, MONITORING) or path.suffix == ".xml":
            yield path


def _take(plan: Plan, phase: Phase, path: Path, found: _Found) -> None:
    if path.is_file():
        _take_file(plan, path, found)
    elif is_soak(path):
        found.soaks.setdefault(phase.name, []).append(_soak(path))
    else:
        _take_case(plan, phase, path, found)


def _take_file(plan: Plan, path: Path, found: _Found) -> None:
    if path.suffix == ".xml":
        for name, suite in _suites(path).items():
            if found.suites.setdefault(name, suite) != suite:
                raise RecordError(f"contradicts another result of suite {name}", where=str(path))
    elif path.name == METRICS:
        name, service, alerts = read_metrics(path, plan)
        if name in found.services:
            raise RecordError(f"is a second recording of phase {name}", where=str(path), hint="give one")
        found.services[name], found.alerts[name] = service, alerts
    elif path.name == MONITORING:
        for check, verdict in _monitoring(path).items():
            if found.monitoring.setdefault(check, verdict) is not verdict:
                raise RecordError(f"contradicts another result of check {check}", where=str(path))


def _take_case(plan: Plan, phase: Phase, path: Path, found: _Found) -> None:
    record = read_case(path)
    fault = record.manifest.get("fault")
    kind = str(fault.get("kind", "")) if isinstance(fault, dict) else ""
    said = record.manifest.get("rollout")
    name, scale = phase.name, 1.0
    if isinstance(said, dict):
        if said.get("plan") != plan.name:
            raise RecordError(f"belongs to plan {said.get('plan')!r}, not {plan.name!r}", where=str(path))
        name, scale = plan.phase(str(said.get("phase"))).name, float(said.get("time_scale", 1.0))
        if not (math.isfinite(scale) and scale >= 1.0):
            raise RecordError(f"has the time scale {scale}", where=str(path))
    if kind != _NO_FAULT:
        found.drills.setdefault(name, []).append(_drill(path, kind, dict(fault) if isinstance(fault, dict) else {}))
        return
    _agrees(plan.phase(name), record.manifest, path)
    if found.scales.setdefault(name, scale) != scale:
        raise RecordError(
            f"has time scale {scale:g}; other runs of phase {name} have {found.scales[name]:g}",
            where=str(path),
            hint="a rehearsal and the real thing are no evidence together",
        )
    found.runs.setdefault(name, []).append(PhaseRun(record, path.name))


def _agrees(phase: Phase, manifest: dict[str, Any], path: Path) -> None:
    rate = manifest.get("cohort_rate")
    if isinstance(rate, int | float) and not math.isclose(float(rate), phase.cohort_rate, abs_tol=1e-9):
        raise RecordError(
            f"was recorded with {float(rate) * 100:g} % in the cohort; phase {phase.name} has "
            f"{phase.cohort_rate * 100:g} %",
            where=str(path),
            hint="say which phase it is of: --evidence PHASE=DIR",
        )


def _drill(path: Path, kind: str, fault: dict[str, Any]) -> DrillEvidence:
    judged = judge_folder(path)
    verdict = Verdict(judged.json["verdict"])
    written = path / "verdict.json"
    if written.exists():
        before = read_json(written)
        said = before.get("verdict") if isinstance(before, dict) else None
        if said != verdict.value:
            raise RecordError(
                f"its verdict.json says {said}, its record says {verdict.value}",
                where=str(path),
                hint=f"harness judge {path}",
            )
    summary = CaseSummary(read_case(path))
    scale = summary.view.setting("time_scale", 1.0)
    found = summary.recovery_estimate()
    recovery = Estimate(
        found.value * scale,
        Interval(found.interval.low * scale, found.interval.high * scale),
        found.unit,
        found.samples,
        found.needed,
        found.note,
    )
    reasons = judged.json.get("reasons") or [""]
    return DrillEvidence(path.name, kind, fault, verdict, recovery, str(reasons[0]))


def _soak(path: Path) -> SoakEvidence:
    record = read_soak(path)
    requests = sum(histogram.count for histogram in record.series.latency.values())
    return SoakEvidence(record.judge(), record.series.observed_s / 3600.0, requests)


def _suites(path: Path) -> dict[str, Suite]:
    """The suites of a JUnit XML file."""
    try:
        root = ElementTree.parse(path).getroot()
        found = {}
        for suite in root.iter("testsuite"):
            tests = int(suite.get("tests", "0"))
            bad = sum(int(suite.get(key, "0")) for key in ("failures", "errors", "skipped"))
            found[str(suite.get("name", ""))] = Suite(tests, bad)
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise RecordError(f"is no JUnit XML ({error})", where=str(path)) from error
    return found


_OF_FINDING = {"ok": Verdict.PASS, "failed": Verdict.FAIL, "skipped": Verdict.INCONCLUSIVE}


def _monitoring(path: Path) -> dict[str, Verdict]:
    """The findings of ``harness validate-monitoring --json``: check -> verdict."""
    value = read_json(path)
    rows = value.get("findings") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise RecordError("has no findings", where=str(path), hint="harness validate-monitoring --json")
    found: dict[str, Verdict] = {}
    for row in rows:
        try:
            name, verdict = str(row["check"]), _OF_FINDING[str(row["verdict"])]
        except (KeyError, TypeError) as error:
            raise RecordError(f"a finding without check or verdict ({error})", where=str(path)) from error
        found[name] = Verdict.worst([verdict, found.get(name, Verdict.PASS)])
    return found
