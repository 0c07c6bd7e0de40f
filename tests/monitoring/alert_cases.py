"""Cases for ``promtool test rules``: for every alert what is good and what is bad, and what must follow from either.

From good to bad it fires, and not before its time; good alone never fires; where its series vanish while it fires it
goes on firing; from bad to good it resolves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.scenario.monitoring import MonitoringSpec

LABELS = {"job": "engram", "instance": "e:1"}
# Seconds between samples and evaluations: the windows of an alert decide which is affordable.
PACES = {"fast": 30, "hours": 300}


@dataclass(frozen=True)
class Series:
    """One raw series. ``ramp``: its values grow by ``good`` or ``bad`` per sample; else they are these values."""

    name: str
    good: float
    bad: float
    labels: Mapping[str, str] = field(default_factory=dict)
    ramp: bool = True

    @property
    def selector(self) -> str:
        return self.selector_of(LABELS["instance"])

    def selector_of(self, instance: str) -> str:
        """The series of one instance."""
        inner = ",".join(f'{k}="{v}"' for k, v in {**LABELS, **self.labels, "instance": instance}.items())
        return f"{self.name}{{{inner}}}"

    def values(self, phases: str) -> str:
        """``phases``: a letter per sample, g(ood), b(ad) or - (no sample; the first of them a stale marker)."""
        found, level, before = [], 0.0, ""
        for phase in phases:
            if phase == "-":
                found.append("stale" if before not in ("", "-") else "_")
            else:
                amount = self.good if phase == "g" else self.bad
                level = level + amount if self.ramp else amount
                found.append("NaN" if math.isnan(level) else f"{level:.10g}")
            before = phase
        return " ".join(found)


@dataclass(frozen=True)
class Subject:
    """What one alert is about. ``lead`` and ``after``: samples of good before, and of good or nothing afterwards."""

    alert: str
    series: tuple[Series, ...]
    pace: str = "fast"
    lead: int = 12
    after: int = 40
    window: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One simulation: series, and which instances the alert must fire for at which sample. All are told apart by it."""

    alert: str
    what: str
    series: tuple[tuple[str, str], ...]
    checks: tuple[tuple[int, tuple[Mapping[str, str], ...]], ...]
    pace: str = "fast"
    phase0: bool = True

    @property
    def name(self) -> str:
        return f"{self.alert}: {self.what}"

    def only(self, check: int) -> Case:
        """The case with one of its checks."""
        return Case(self.alert, self.what, self.series, (self.checks[check],), self.pace, self.phase0)

    def as_promtool(self, severity: str, component: str) -> dict[str, Any]:
        """The case as promtool reads it; rules for tests have no annotations."""
        step = PACES[self.pace]
        more = {"severity": severity, "component": component}
        return {
            "name": self.name,
            "interval": f"{step}s",
            "input_series": [{"series": selector, "values": values} for selector, values in self.series],
            "alert_rule_test": [
                {
                    "eval_time": f"{at * step}s",
                    "alertname": self.alert,
                    "exp_alerts": [{"exp_labels": {**labels, **more}} for labels in firing],
                }
                for at, firing in self.checks
            ],
        }


def histogram(name: str, good: Mapping[str, float], bad: Mapping[str, float], **labels: str) -> tuple[Series, ...]:
    """Buckets by upper edge; the counts are per sample, and those of the last edge are the total."""
    buckets = tuple(Series(f"{name}_bucket", good[le], bad[le], {**labels, "le": le}) for le in good)
    last = list(good)[-1]
    return (*buckets, Series(f"{name}_count", good[last], bad[last], labels))


def level(name: str, good: float, bad: float, **labels: str) -> Series:
    """A gauge."""
    return Series(name, good, bad, labels, ramp=False)


QUICK = {"0.01": 95, "0.015": 100, "0.02": 100, "+Inf": 100}
SLOW = {"0.01": 50, "0.015": 60, "0.02": 100, "+Inf": 100}
_RECALL, _BLENDED = "engram_recall_duration_seconds", "engram_blended_recall_duration_seconds"
_RUNS, _FAILURES = "engram_consolidation_runs_total", "engram_consolidation_failures_total"
_RSS, _LIMIT = "process_resident_memory_bytes", level("engram_memory_limit_bytes", 1e9, 1e9)
_TOTAL, _ERRORS = "engram_recall_total", "engram_recall_errors_total"
_UP = level("up", 1, 0)
_VIOLATIONS = Series("engram_concept_quality_violations_total", 0, 0)


def subjects() -> tuple[Subject, ...]:
    """Every alert that follows a signal."""
    return (*_recall(), *_consolidation(), *_concepts(), *_service(), *_burns())


def _recall() -> tuple[Subject, ...]:
    control = {"cohort": "control"}
    return (
        Subject("BlendedRecallLatencyP99Breach", histogram(_BLENDED, QUICK, SLOW), labels={"quantile": "0.99"}),
        Subject(
            "RecallErrorRateHigh", (Series(_TOTAL, 100, 100, control), Series(_ERRORS, 0, 1, control)), labels=control
        ),
        Subject("RecallLatencySLOBreach", histogram(_RECALL, QUICK, SLOW, **control), labels={"quantile": "0.99"}),
        Subject("RampLatencySpike", histogram(_RECALL, QUICK, SLOW, **control)),
        Subject(
            "CanaryP99LatencyRegression",
            (*histogram(_RECALL, QUICK, QUICK, **control), *histogram(_RECALL, QUICK, SLOW, cohort="canary")),
        ),
        Subject(
            "SemanticPathwayTimeoutHigh",
            (Series("engram_blended_recall_total", 100, 100), Series("engram_semantic_pathway_timeout_total", 5, 30)),
        ),
        Subject("SpreadingBreakerOpen", (level("engram_spreading_breaker_state", 0, 1),)),
        Subject(
            "FanEffectExcessive",
            (Series("engram_fan_effect_penalties_total", 100, 100), Series("engram_fan_effect_penalty_sum", 10, 40)),
        ),
        Subject("NoRecallTraffic", (Series(_TOTAL, 100, 0, control),)),
    )


def _consolidation() -> tuple[Subject, ...]:
    fine, late = {"5.0": 99, "6.0": 100, "+Inf": 100}, {"5.0": 90, "6.0": 90, "+Inf": 100}
    return (
        Subject("ConsolidationFailures", (Series(_RUNS, 1, 1), Series(_FAILURES, 0, 0.5)), "hours", lead=12),
        Subject("ConsolidationLatencyRegression", histogram("engram_consolidation_duration_seconds", fine, late)),
        Subject("ConsolidationStale", (level("engram_consolidation_freshness_seconds", 100, 500),)),
    )


def _concepts() -> tuple[Subject, ...]:
    formed = "engram_concepts_formed_total"
    return (
        Subject("ConceptFormationExcessive", (Series(formed, 0.5, 50),), lead=40),
        Subject(
            "ConceptQualityViolation",
            (Series(formed, 10, 10), _VIOLATIONS, Series("engram_binding_quality_violations_total", 0, 5)),
        ),
        Subject(
            "ConceptQualityLow", (level("engram_concept_coherence", 0.8, 0.4), level("engram_bindings_total", 9, 9))
        ),
        Subject("ConceptCoherenceInvalid", (level("engram_concept_coherence", 0.8, float("nan")),)),
        Subject(
            "BindingIndexBloat", (level("engram_bindings_total", 150, 310), level("engram_episodes_total", 99, 99))
        ),
    )


def _service() -> tuple[Subject, ...]:
    return (
        Subject("MemoryLeakDetected", (Series(_RSS, 0, 6e7),), "hours", lead=12),
        Subject("MemoryFootprintRegression", (level(_RSS, 1.05e8, 1.2e8),)),
        Subject("MemoryPressure", (level(_RSS, 5e8, 8.2e8), _LIMIT)),
        Subject("MemorySLOBreach", (level(_RSS, 8.2e8, 8.8e8), _LIMIT)),
        Subject("AvailabilitySLOBreach", (_UP,), "hours", after=300),
        Subject("EngramDown", (_UP,)),
    )


def _burns() -> tuple[Subject, ...]:
    control = {"cohort": "control"}
    some = {"0.01": 90, "0.015": 97, "0.02": 100, "+Inf": 100}
    quick = (
        Subject("RecallLatencyBudgetBurn", histogram(_RECALL, QUICK, SLOW, **control), after=80),
        Subject(
            "RecallErrorsBudgetBurn", (Series(_TOTAL, 100, 100, control), Series(_ERRORS, 0, 5, control)), after=80
        ),
        Subject("AvailabilityBudgetBurn", (_UP,), after=80),
        Subject("MemoryBudgetBurn", (level(_RSS, 5e8, 9e8), _LIMIT), after=80),
        Subject("ConsolidationBudgetBurn", (Series(_RUNS, 1, 1), Series(_FAILURES, 0, 0.5)), after=80),
    )
    slow = (
        Subject(
            "RecallLatencyBudgetBurnSlow", histogram(_RECALL, QUICK, some, **control), "hours", after=100, window=80
        ),
        Subject(
            "RecallErrorsBudgetBurnSlow",
            (Series(_TOTAL, 1e3, 1e3, control), Series(_ERRORS, 0, 4, control)),
            "hours",
            after=100,
            window=80,
        ),
        Subject("AvailabilityBudgetBurnSlow", (_UP,), "hours", after=100, window=80),
        Subject("MemoryBudgetBurnSlow", (level(_RSS, 5e8, 9e8), _LIMIT), "hours", after=100, window=80),
        Subject(
            "ConsolidationBudgetBurnSlow",
            (Series(_RUNS, 100, 100), Series(_FAILURES, 0, 4)),
            "hours",
            after=100,
            window=80,
        ),
    )
    return quick + slow


def cases(spec: MonitoringSpec) -> list[Case]:
    """All of them, for all alerts."""
    for_s = {alert.name: alert.for_s for alert in spec.alerts}
    found = [_of_subject(subject, for_s.get(subject.alert, 0.0)) for subject in subjects()]
    return [*found, *_edges(), *_absence(spec)]


def _of_subject(subject: Subject, for_s: float) -> Case:
    """Four instances side by side: one goes bad for good, one is fine, one vanishes while bad, one gets well again."""
    # Until a window holds nothing but bad samples, and the wait after that.
    window = subject.window or {"fast": 36, "hours": 14}[subject.pace]
    wait = round(for_s / PACES[subject.pace])
    lead, bad, after = subject.lead, window + wait, subject.after
    ways = {
        "goes-bad:1": "g" * lead + "b" * (bad + after),
        "is-fine:1": "g" * (lead + bad + after),
        "vanishes:1": "g" * lead + "b" * bad + "-" * after,
        "gets-well:1": "g" * lead + "b" * bad + "g" * after,
    }
    series = tuple(
        (one.selector_of(instance), one.values(phases)) for instance, phases in ways.items() for one in subject.series
    )

    def firing(*instances: str) -> tuple[Mapping[str, str], ...]:
        return tuple({**LABELS, **subject.labels, "instance": instance} for instance in instances)

    early = ((lead + wait - 1, ()),) if wait > 1 else ()
    checks = (
        *early,
        (lead + bad - 1, firing("gets-well:1", "goes-bad:1", "vanishes:1")),
        (lead + bad + after - 1, firing("goes-bad:1", "vanishes:1")),
    )
    return Case(subject.alert, "fires, is fine, vanishes, gets well", series, checks, subject.pace)


def _edges() -> list[Case]:
    """What the six of every alert do not show."""

    def case(alert: str, what: str, series: tuple[Series, ...], phases: str, *, fires: bool, **labels: str) -> Case:
        texts = tuple((one.selector, one.values(phases)) for one in series)
        firing = ({**LABELS, **labels},) if fires else ()
        return Case(alert, what, texts, ((len(phases) - 1, firing),))

    formed, bindings = "engram_concepts_formed_total", "engram_binding_quality_violations_total"
    quantile = {"quantile": "0.99"}
    return [
        case(
            "BlendedRecallLatencyP99Breach",
            "no traffic is evidence: a rollback resolves it",
            histogram(_BLENDED, dict.fromkeys(SLOW, 0), SLOW),
            "g" * 12 + "b" * 60 + "g" * 20,
            fires=False,
            **quantile,
        ),
        case(
            "BlendedRecallLatencyP99Breach",
            "comes back without enough samples to tell",
            histogram(_BLENDED, QUICK, SLOW),
            "g" * 12 + "b" * 60 + "-" * 20 + "g",
            fires=True,
            **quantile,
        ),
        case(
            "ConceptQualityViolation",
            "violations without formation",
            (Series(formed, 0, 0), _VIOLATIONS, Series(bindings, 0, 5)),
            "g" * 12 + "b" * 30,
            fires=True,
        ),
        case(
            "ConceptQualityLow",
            "no concepts yet",
            (level("engram_concept_coherence", 0, 0), level("engram_bindings_total", 0, 0)),
            "g" * 90,
            fires=False,
        ),
        case(
            "ConceptCoherenceInvalid", "above one", (level("engram_concept_coherence", 1, 1.2),), "ggbbbbbb", fires=True
        ),
        case(
            "SpreadingBreakerOpen",
            "the public build's open",
            (level("engram_spreading_breaker_state", 0, 2),),
            "ggbb",
            fires=True,
        ),
    ]


def _absence(spec: MonitoringSpec) -> list[Case]:
    """The alerts that are about absence, and the test alert."""

    def case(alert: str, what: str, series: tuple[tuple[Series, str], ...], *, fires: bool, **more: Any) -> Case:
        texts = tuple((one.selector, one.values(phases)) for one, phases in series)
        firing = (more.get("labels", LABELS),) if fires else ()
        return Case(alert, what, texts, ((29, firing),), phase0=more.get("phase0", True))

    all_there = tuple((level(family, 1, 1), "g" * 30) for family in spec.required.families)
    up = (level("up", 1, 0), "g" * 30)
    family = "engram_concept_coherence"
    others = tuple(pair for pair in all_there if pair[0].name != family)
    missing = {"labels": {**LABELS, "family": family}}
    job = {"labels": {"job": "engram"}}
    none: dict[str, Any] = {"labels": {}}
    return [
        case("EngramMetricsMissing", "fires", (up, *others), fires=True, **missing),
        case("EngramMetricsMissing", "must not fire", (up, *all_there), fires=False),
        case(
            "EngramMetricsMissing",
            "was there once",
            (up, *others, (level(family, 1, 1), "g" * 5 + "-" * 25)),
            fires=True,
            **missing,
        ),
        case(
            "EngramMetricsMissing",
            "NaN is missing",
            (up, *others, (level(family, float("nan"), 1), "g" * 30)),
            fires=True,
            **missing,
        ),
        case(
            "EngramMetricsMissing",
            "a target that is down is EngramDown's",
            ((level("up", 1, 0), "b" * 30), *others),
            fires=False,
        ),
        case("EngramAbsent", "fires", (), fires=True, **job),
        case("EngramAbsent", "must not fire", (up,), fires=False),
        case("EngramAbsent", "vanishes", ((level("up", 1, 0), "g" * 5 + "-" * 25),), fires=True, **job),
        case("Phase0BaselineMissing", "fires", (up,), fires=True, phase0=False, **none),
        case("Phase0BaselineMissing", "must not fire", (up,), fires=False, **none),
        case("Phase0BaselineMissing", "no target, no baseline", (), fires=True, phase0=False, **none),
        case("MonitoringTest", "fires", (up,), fires=True),
        case("MonitoringTest", "must not fire", ((level("up", 1, 0), "b" * 30),), fires=False),
        case("MonitoringTest", "vanishes", ((level("up", 1, 0), "g" * 5 + "-" * 25),), fires=False),
    ]
