"""Reads rollout plans: a plan file, and the quantities that all plans share. Every complaint names file, line, key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from harness.errors import ConfigError
from harness.scenario.document import Table, read_document
from harness.scenario.rollout import (
    AGGREGATES,
    CONTROL,
    EVIDENCE,
    OPERATORS,
    RELATIVE,
    ROLLBACK_METHODS,
    TRIGGER_KINDS,
    Checklist,
    Criterion,
    DrillStep,
    Issue,
    Item,
    MonitoringTarget,
    Objective,
    Phase,
    Plan,
    Procedure,
    Quantity,
    Rollback,
    Symptom,
    Trigger,
)

_WEEK_S = 7 * 86_400.0
_LONGEST_S = 52 * _WEEK_S
Value = TypeVar("Value")
Quantities = dict[str, Quantity]


def load_quantities(path: Path) -> Quantities:
    """Read the quantities. Raises :class:`ConfigError` naming file, line and key."""
    document = read_document(path)
    return {name: _finished(document.table(name), lambda table, name=name: _quantity(name, table)) for name in document}  # type: ignore[misc]


def load_plan_file(path: Path, quantities: Quantities) -> Plan:
    """Read a plan. Raises :class:`ConfigError` naming file, line and key."""
    document = read_document(path)
    names = tuple(document.table("phases"))
    reader = _Reader(quantities, names)
    phases = document.table("phases")
    plan = Plan(
        name=document.text("name"),
        title=document.text("title"),
        source=document.text("source"),
        file=str(path),
        cohort=dict(document.table("cohort").values),
        phases=tuple(_finished(phases.table(name), lambda t, n=name: reader.phase(n, t)) for name in names),  # type: ignore[misc]
        triggers=tuple(_each(document.table("triggers", required=False), reader.trigger("all"))),
        checklists={c.name: c for c in _each(document.table("checklists", required=False), _checklist)},
        issues=tuple(_each(document.table("issues", required=False), reader.issue)),
        procedures=tuple(_each(document.table("procedures", required=False), _procedure)),
        validation=tuple(_each(document.table("validation", required=False), reader.criterion("validation"))),
    )
    if not names:
        raise document.fail("phases", "a plan needs at least one phase")
    document.finish()
    _unique(plan, document)
    return plan


def _finished(table: Table, read: Callable[[Table], Value]) -> Value:
    value = read(table)
    table.finish()
    return value


def _each(tables: Table, read: Callable[[str, Table], Value]) -> Iterator[Value]:
    for name in tables:
        table = tables.table(name)
        yield read(name, table)
        table.finish()
    tables.finish()


def _quantity(name: str, table: Table) -> Quantity:
    found = Quantity(
        name=name,
        what=table.text("what"),
        unit=table.text("unit", ""),
        evidence=table.texts("evidence", choices=tuple(EVIDENCE)),
        measure=table.text("measure", name),
        query=table.text("query", ""),
        relative=table.text("relative", "", choices=RELATIVE),
        aggregate=table.text("aggregate", "worst", choices=AGGREGATES),
        better=table.text("better", "low", choices=("low", "high")),
    )
    if "prometheus" in found.evidence and not found.query:
        raise table.fail("query", "a quantity with Prometheus as evidence needs a query")
    return found


class _Reader:
    """Reads what refers to quantities and phases."""

    def __init__(self, quantities: Quantities, phases: tuple[str, ...]) -> None:
        self._quantities = quantities
        self._phases = phases

    def phase(self, name: str, table: Table) -> Phase:
        """One phase; what it refers to is checked."""
        flags = _flags(table.table("flags"))
        criteria = tuple(_each(table.table("criteria"), self.criterion(name)))
        if not criteria:
            raise table.fail("criteria", "a phase without a criterion could never be judged")
        rollback = _finished(table.table("rollback"), self._rollback) if "rollback" in table else None
        return Phase(
            name=name,
            title=table.text("title"),
            aliases=table.texts("aliases", required=False),
            objective=table.text("objective"),
            source=table.source(),
            flags=flags,
            cohort_rate=table.number("cohort_rate", low=0.0, high=1.0),
            semantic_weight=table.number("semantic_weight", None, low=0.0, high=1.0),
            minimum_duration_s=table.number("minimum_duration_s", low=0.0, high=_LONGEST_S),
            criteria=criteria,
            abort_triggers=tuple(_each(table.table("abort_triggers", required=False), self.trigger(name))),
            slos=tuple(_each(table.table("slos", required=False), self._objective)),
            drills=tuple(_each(table.table("drills", required=False), _drill)),
            rollback=rollback,
            checklist=_items(table.table("checklist", required=False), name),
            monitoring_targets=tuple(_each(table.table("monitoring", required=False), self._monitoring)),
            actions=table.texts("actions", required=False),
        )

    def criterion(self, phase: str) -> Callable[[str, Table], Criterion]:
        """Reads the criteria of a phase."""

        def read(name: str, table: Table) -> Criterion:
            quantity = self._quantity(table)
            numeric = "bound" in table or quantity.evidence != ("attestation",)
            floor = table.number("floor", None, low=0.0)
            return Criterion(
                id=f"{phase}.{name}",
                text=table.text("text"),
                quantity=quantity,
                op=table.text("op", choices=OPERATORS) if numeric else "",
                bound=table.number("bound") if numeric else math.nan,
                source=table.source(),
                against=self._against(table, quantity),
                floor=floor,
                floor_unit=table.text("floor_unit") if floor is not None else "",
                window_s=table.number("window_s", None, low=0.0, high=_LONGEST_S),
                arguments=dict(table.table("with", required=False).values),
                advisory=table.boolean("advisory", False),
            )

        return read

    def trigger(self, phase: str) -> Callable[[str, Table], Trigger]:
        """Reads the triggers of a phase, or of the plan."""

        def read(name: str, table: Table) -> Trigger:
            quantity = self._quantity(table)
            floor = table.number("floor", None, low=0.0)
            return Trigger(
                id=f"{phase}.abort.{name}",
                text=table.text("text"),
                kind=table.text("kind", choices=TRIGGER_KINDS),
                quantity=quantity,
                op=table.text("op", choices=OPERATORS),
                bound=table.number("bound"),
                for_s=table.number("for_s", 0.0, low=0.0, high=_LONGEST_S),
                action=table.text("action"),
                source=table.source(),
                against=self._against(table, quantity),
                arguments=dict(table.table("with", required=False).values),
                floor=floor,
                floor_unit=table.text("floor_unit") if floor is not None else "",
                advisory=table.boolean("advisory", False),
            )

        return read

    def _objective(self, name: str, table: Table) -> Objective:
        return Objective(
            id=name,
            text=table.text("text"),
            quantity=self._quantity(table),
            op=table.text("op", choices=OPERATORS),
            bound=table.number("bound"),
            window_s=table.number("window_s", low=1.0, high=_LONGEST_S),
            alert_op=table.text("alert_op", choices=OPERATORS),
            alert_bound=table.number("alert_bound"),
            alert_for_s=table.number("alert_for_s", low=0.0, high=_LONGEST_S),
            source=table.source(),
        )

    def _monitoring(self, name: str, table: Table) -> MonitoringTarget:
        quantity = self._quantity(table)
        return MonitoringTarget(
            id=name,
            text=table.text("text"),
            quantity=quantity,
            op=table.text("op", choices=OPERATORS),
            bound=table.number("bound"),
            source=table.source(),
            against=self._against(table, quantity),
            alert=table.text("alert", ""),
            alert_bound=table.number("alert_bound", math.nan),
            alert_for_s=table.number("alert_for_s", 0.0, low=0.0, high=_LONGEST_S),
        )

    def issue(self, name: str, table: Table) -> Issue:
        """Reads an entry of the operational runbook."""
        symptoms = tuple(_each(table.table("symptoms"), self._symptom))
        if not symptoms:
            raise table.fail("symptoms", "an issue needs at least one symptom")
        return Issue(name, table.text("title"), symptoms, table.texts("actions"), table.source())

    def _symptom(self, name: str, table: Table) -> Symptom:
        if "quantity" not in table:
            return Symptom(table.text("text"), None, "", math.nan)
        quantity = self._quantity(table)
        return Symptom(table.text("text"), quantity, table.text("op", choices=OPERATORS), table.number("bound"))

    def _quantity(self, table: Table) -> Quantity:
        name = table.text("quantity")
        if name not in self._quantities:
            close = [known for known in self._quantities if known.split("_")[0] == name.split("_")[0]]
            hint = f"quantities.toml has {', '.join(close)}" if close else "they stand in quantities.toml"
            raise table.fail("quantity", f"'{name}' is no quantity", hint)
        return self._quantities[name]

    def _against(self, table: Table, quantity: Quantity) -> str:
        if not quantity.relative:
            if "against" in table:
                raise table.fail("against", f"'{quantity.name}' is absolute and is held against nothing")
            return ""
        return table.text("against", choices=(CONTROL, *self._phases))

    def _rollback(self, table: Table) -> Rollback:
        rate = table.number("cohort_rate", None, low=0.0, high=1.0)
        return Rollback(
            to=table.text("to", choices=("before", *self._phases)),
            method=table.text("method", choices=ROLLBACK_METHODS),
            flags=_flags(table.table("flags", required=False)),
            cohort_rate=rate,
            steps=table.texts("steps"),
            stabilises_within_s=table.number("stabilises_within_s", low=0.0, high=_LONGEST_S),
            source=table.source(),
        )


def _flags(table: Table) -> dict[str, bool]:
    names = ("dual_memory_types", "blended_recall", "fan_effect", "monitoring")
    found = {name: table.boolean(name) for name in names if name in table}
    table.finish()
    return found


def _drill(name: str, table: Table) -> DrillStep:
    dose = table.table("dose")
    arguments = {key: dose.number(key) for key in dose}
    return DrillStep(
        id=name,
        text=table.text("text"),
        fault=table.text("fault"),
        arguments=arguments,
        recovers_within_s=table.number("recovers_within_s", low=0.0, high=86_400.0),
        source=table.source(),
        drill=table.text("drill"),
    )


def _checklist(name: str, table: Table) -> Checklist:
    title, source = table.text("title"), table.source()
    items = table.table("items")
    found = tuple(Item(f"{name}.{key}", items.text(key), source) for key in items)
    if not found:
        raise table.fail("items", "a checklist needs at least one item")
    items.finish()
    return Checklist(name, title, found, source)


def _items(table: Table, phase: str) -> tuple[Item, ...]:
    if not tuple(table):
        return ()
    source = table.source()
    return tuple(Item(f"{phase}.{key}", table.text(key), source) for key in table if key != "source")


def _procedure(name: str, table: Table) -> Procedure:
    return Procedure(
        name=name,
        title=table.text("title"),
        method=table.text("method", choices=ROLLBACK_METHODS),
        steps=table.texts("steps"),
        takes_s=table.number("takes_s", low=0.0, high=_LONGEST_S),
        source=table.source(),
    )


def _unique(plan: Plan, document: Table) -> None:
    """Names and aliases of phases, and ids of what is attested, must each mean one thing."""
    seen: set[str] = set()
    for phase in plan.phases:
        for name in (phase.name, *phase.aliases):
            if name in seen:
                raise ConfigError(f"'{name}' names two phases", where=f"{document.file}: phases.{phase.name}")
            seen.add(name)
