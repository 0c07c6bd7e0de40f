"""A rollout plan as frozen values: phases, criteria, triggers, checklists, rollbacks; the loader is ``rollout_file``.

Every criterion, trigger and item carries its ``source`` (the section of the document it comes from, and the line of the
plan that holds it). Rates, shares and relative margins are fractions (0.05 is 5 %); durations are seconds, in full
length: a rehearsal divides real waiting, never what stands here.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from harness.errors import UsageError

CONTROL = "control"  # what a comparison is against, when it is not another phase

# What may decide a criterion. The order in a quantity's list is the order of trust: the client is the first witness.
EVIDENCE = {
    "run": "what the client saw under load: case directories of a phase, split by cohort",
    "soak": "a soak's record",
    "drills": "recorded drill sessions",
    "tests": "JUnit XML of the named suites",
    "prometheus": "the service's metrics, recorded over the phase",
    "alerts": "alerts that fired in the phase",
    "monitoring": "the answer of `harness validate-monitoring --json`",
    "incidents": "the incidents file",
    "attestation": "what a person says, with the evidence they name",
}
RELATIVE = ("", "increase", "decrease", "difference")
AGGREGATES = ("worst", "mean", "last", "share")
OPERATORS = ("<", "<=", ">", ">=", "==")
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!="}
TRIGGER_KINDS = ("automated", "manual", "strategic")
ROLLBACK_METHODS = ("flags", "traffic", "milestone", "data")


@dataclass(frozen=True)
class Quantity:
    """What can be measured. ``measure`` names how the client's record gives it; ``query`` is PromQL, in ``unit``.

    ``relative`` holds it against a reference (control, or another phase): the increase or decrease as a share of the
    reference, or the difference in ``unit``. In ``query``, ``$cohort`` stands for a regular expression of the label.
    ``aggregate`` says how a recorded series is read: its worst point, its mean, its last point, or the share of points
    within the bound. ``better`` is the good direction, ``low`` or ``high``.
    """

    name: str
    what: str
    unit: str
    evidence: tuple[str, ...]
    measure: str
    query: str
    relative: str
    aggregate: str
    better: str

    def query_for(self, cohort: str) -> str:
        """The query for ``canary`` (which the runbook also writes ``treatment``) or ``control``."""
        return self.query.replace("$cohort", "canary|treatment" if cohort == "canary" else cohort)


@dataclass(frozen=True)
class Criterion:
    """One criterion of a phase: ``quantity op bound``, or something only a person can say.

    ``floor`` is an absolute margin in ``floor_unit`` beside a relative bound: where the absolute change stays within it
    the criterion holds although the relative change does not (5 ms over 10 ms is not 50 ms over 100 ms).
    ``against`` is ``control`` or a phase's name where the quantity is relative. ``bound`` is NaN for what is attested
    without a number. ``window_s`` is the window of a reading, where the document names one.
    """

    id: str
    text: str
    quantity: Quantity
    op: str
    bound: float
    source: str
    against: str = ""
    floor: float | None = None
    floor_unit: str = ""
    window_s: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    advisory: bool = False  # reported, never decides (the document gives a figure to note, or a guideline)

    @property
    def key(self) -> str:
        """The id without its phase."""
        return self.id.partition(".")[2]

    @property
    def query(self) -> str:
        """The PromQL of the canary (or of the whole service), or nothing."""
        return self.quantity.query_for("canary")

    @property
    def attested(self) -> bool:
        """Whether only a person can say it."""
        return self.quantity.evidence == ("attestation",)

    @property
    def threshold(self) -> str:
        """``< 5 % (or within 5 ms)``, for tables."""
        if math.isnan(self.bound):
            return "attested"
        share = self.quantity.relative in ("increase", "decrease") or self.quantity.unit == "ratio"
        value = f"{self.bound * 100:g} %" if share else f"{self.bound:g} {self.quantity.unit}".rstrip()
        floor = "" if self.floor is None else f" (or within {self.floor:g} {self.floor_unit})"
        return f"{self.op} {value}{floor}"


@dataclass(frozen=True)
class Trigger:
    """What ends a phase: ``quantity op bound`` for ``for_s`` seconds on end (0: at once), or a person's word.

    ``floor``: an absolute change of less than this never trips a relative bound. ``advisory``: it is shown and never
    decides by itself (the runbook's p-values, which are wrong more often than right where they are looked at daily).

    ``automated`` needs no human decision, ``manual`` the one on call, ``strategic`` the engineering manager (runbook,
    Rollback Decision Criteria). ``query`` is empty where no metric shows it: then ``quantity`` says what evidence does.
    """

    id: str
    text: str
    kind: str
    quantity: Quantity
    op: str
    bound: float
    for_s: float
    action: str
    source: str
    against: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    floor: float | None = None
    floor_unit: str = ""
    advisory: bool = False

    @property
    def query(self) -> str:
        """The PromQL of the canary (or of the whole service), or nothing."""
        return self.quantity.query_for("canary")

    @property
    def safe(self) -> Criterion:
        """The criterion that holds as long as the trigger is not met."""
        return Criterion(
            id=self.id,
            text=f"not: {self.text}",
            quantity=self.quantity,
            op=OPPOSITE[self.op],
            bound=self.bound,
            source=self.source,
            against=self.against,
            floor=self.floor,
            floor_unit=self.floor_unit,
            arguments=self.arguments,
            advisory=self.advisory,
        )


@dataclass(frozen=True)
class Objective:
    """A service level objective: ``query op bound`` over ``window_s``; the alert is at ``alert_bound`` for a time."""

    id: str
    text: str
    quantity: Quantity
    op: str
    bound: float
    window_s: float
    alert_op: str
    alert_bound: float
    alert_for_s: float
    source: str

    @property
    def query(self) -> str:
        """The PromQL of the service."""
        return self.quantity.query_for("canary")


@dataclass(frozen=True)
class MonitoringTarget:
    """A metric to watch in a phase, its target, and where the document names one, the alert and its bound."""

    id: str
    text: str
    quantity: Quantity
    op: str
    bound: float
    source: str
    against: str = ""
    alert: str = ""
    alert_bound: float = math.nan
    alert_for_s: float = 0.0

    @property
    def query(self) -> str:
        """The PromQL of the canary (or of the whole service), or nothing."""
        return self.quantity.query_for("canary")


@dataclass(frozen=True)
class DrillStep:
    """A chaos drill of a phase: a fault by kind, its dose, and how soon the service has to be back."""

    id: str
    text: str
    fault: str
    arguments: dict[str, float]
    recovers_within_s: float
    source: str
    drill: str  # the folder below drills/ whose drill it is


@dataclass(frozen=True)
class Rollback:
    """How a phase is undone: to which phase, with which flags and cohort rate, by which steps."""

    to: str
    method: str
    flags: dict[str, bool]
    cohort_rate: float | None
    steps: tuple[str, ...]
    stabilises_within_s: float
    source: str


@dataclass(frozen=True)
class Item:
    """One line of a checklist, said by a person."""

    id: str
    text: str
    source: str


@dataclass(frozen=True)
class Checklist:
    """A named list of items that people attest."""

    name: str
    title: str
    items: tuple[Item, ...]
    source: str


@dataclass(frozen=True)
class Phase:
    """One phase. ``checklist`` is what people attest before the *next* phase begins (the phase's go/no-go)."""

    name: str
    title: str
    aliases: tuple[str, ...]
    objective: str
    source: str
    flags: dict[str, bool]
    cohort_rate: float
    semantic_weight: float | None
    minimum_duration_s: float
    criteria: tuple[Criterion, ...]
    abort_triggers: tuple[Trigger, ...]
    slos: tuple[Objective, ...]
    drills: tuple[DrillStep, ...]
    rollback: Rollback | None
    checklist: tuple[Item, ...]
    monitoring_targets: tuple[MonitoringTarget, ...]
    actions: tuple[str, ...] = ()

    def criterion(self, key: str) -> Criterion | None:
        """The criterion of that id, with or without the phase before it."""
        return next((c for c in self.criteria if key in (c.id, c.key)), None)


@dataclass(frozen=True)
class Symptom:
    """A symptom of a known trouble; ``quantity`` is None where only people see it."""

    text: str
    quantity: Quantity | None
    op: str
    bound: float

    @property
    def query(self) -> str:
        """The PromQL that shows it, or nothing."""
        return "" if self.quantity is None else self.quantity.query_for("canary")


@dataclass(frozen=True)
class Issue:
    """An entry of the operational runbook: symptoms as queries, actions as steps in order."""

    id: str
    title: str
    symptoms: tuple[Symptom, ...]
    actions: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Procedure:
    """A way back (flags, less traffic, the milestone before, data from a backup): steps and how long it may take."""

    name: str
    title: str
    method: str
    steps: tuple[str, ...]
    takes_s: float
    source: str


@dataclass(frozen=True)
class Plan:
    """A whole plan, read and checked. ``triggers`` hold in every phase that serves blended recalls.

    ``validation`` are the checks of ``harness validate``; ``cohort`` says how users are assigned.
    """

    name: str
    title: str
    source: str
    file: str
    cohort: dict[str, Any]
    phases: tuple[Phase, ...]
    triggers: tuple[Trigger, ...]
    checklists: dict[str, Checklist]
    issues: tuple[Issue, ...]
    procedures: tuple[Procedure, ...]
    validation: tuple[Criterion, ...]

    def phase(self, name: str) -> Phase:
        """The phase of that name or alias. Raises :class:`~harness.errors.UsageError` where there is none."""
        wanted = name.strip().lower().removesuffix("%").strip()
        for phase in self.phases:
            if wanted in (phase.name, *phase.aliases):
                return phase
        known = ", ".join(phase.name for phase in self.phases)
        raise UsageError(f"plan '{self.name}' has no phase '{name}'", where=self.file, hint=f"one of {known}")

    def after(self, phase: Phase) -> Phase | None:
        """The phase that follows, or None after the last."""
        names = [p.name for p in self.phases]
        place = names.index(phase.name) + 1
        return self.phases[place] if place < len(names) else None

    def triggers_of(self, phase: Phase) -> tuple[Trigger, ...]:
        """The triggers in force in a phase: its own, and the plan's where blended recalls are served.

        Where everybody is in the cohort there is no control to hold anything against.
        """
        shared = self.triggers if phase.flags.get("blended_recall") else ()
        alone = phase.cohort_rate >= 1.0
        return phase.abort_triggers + tuple(t for t in shared if not (alone and t.against == CONTROL))

    def items(self) -> dict[str, Item]:
        """Everything a person may attest, by id: checklist items of the plan and of its phases."""
        lists = [checklist.items for checklist in self.checklists.values()]
        lists += [phase.checklist for phase in self.phases]
        return {item.id: item for items in lists for item in items}

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON holds it; NaN is null."""
        return {key: _plain(value) for key, value in dataclasses.asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
