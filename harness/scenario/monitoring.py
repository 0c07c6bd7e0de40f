"""What is watched: signals, alerts, SLOs, as ``scenarios/monitoring.toml`` has them; every number with its source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.scenario.document import Table, read_document
from harness.scenario.slo import Objectives

SEVERITIES = ("critical", "warning")
_DURATION = re.compile(r"(\d+)(ms|[smhdw])")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True)
class Scrape:
    """How often Prometheus looks, seconds, at full scale; ``job`` is the label its targets carry."""

    job: str
    interval_s: float
    evaluation_s: float
    source: str


@dataclass(frozen=True)
class Signal:
    """A series that is recorded. ``by``: the labels it is kept by, those of ``labels`` not among them."""

    name: str
    record: str
    labels: Mapping[str, str]
    by: tuple[str, ...]
    expr: str
    source: str

    @property
    def selector(self) -> str:
        """How it is asked for: name and its own labels."""
        if not self.labels:
            return self.record
        inner = ",".join(f'{key}="{value}"' for key, value in sorted(self.labels.items()))
        return f"{self.record}{{{inner}}}"

    @property
    def identity(self) -> tuple[str, ...]:
        """The labels that tell its series apart, its own included."""
        return (*self.by, *sorted(self.labels))


@dataclass(frozen=True)
class AlertSpec:
    """One alert: ``signal`` ``above`` (or below) ``threshold``, for ``for_s`` seconds at full scale."""

    name: str
    signal: Signal
    above: bool
    threshold: float
    for_s: float
    severity: str
    component: str
    summary: str
    description: str
    action: str
    source: str

    @property
    def condition(self) -> str:
        """The comparison, in PromQL."""
        return f"{self.signal.selector} {'>' if self.above else '<'} {self.threshold:.10g}"


@dataclass(frozen=True)
class Burn:
    """Two windows, seconds at full scale, and how many times its fair share of the budget both must burn."""

    factor: float
    long_s: float
    short_s: float


@dataclass(frozen=True)
class SloSpec:
    """One objective. ``bad`` is the expression of the share of bad events over ``$w``; ``budget`` what is allowed."""

    name: str
    budget: float
    bad: str
    by: tuple[str, ...]
    title: str
    component: str
    source: str


@dataclass(frozen=True)
class Required:
    """Families whose absence (or NaN) blinds alerts, and how that is told."""

    families: tuple[str, ...]
    for_s: float
    severity: str
    component: str
    action: str
    source: str


@dataclass(frozen=True)
class MonitoringSpec:
    """The whole file. ``phase0_bytes`` is 0 where no baseline is known; ``lines`` are drawn where no alert has one."""

    file: str
    scrape: Scrape
    phase0_bytes: float
    phase0_source: str
    signals: tuple[Signal, ...]
    alerts: tuple[AlertSpec, ...]
    page: tuple[Burn, ...]
    ticket: tuple[Burn, ...]
    burn_source: str
    slos: tuple[SloSpec, ...]
    required: Required
    lines: Mapping[str, float]

    def signal(self, name: str) -> Signal:
        """The signal called ``name``; :class:`KeyError` where there is none."""
        for found in self.signals:
            if found.name == name:
                return found
        raise KeyError(name)

    @property
    def burn_windows_s(self) -> tuple[float, ...]:
        """Every window a budget is looked at over, seconds, shortest first."""
        return tuple(sorted({w for burn in (*self.page, *self.ticket) for w in (burn.long_s, burn.short_s)}))


def load_monitoring(path: Path, objectives: Objectives) -> MonitoringSpec:
    """Read the file; limits it names are looked up in ``objectives`` (``slo.toml``).

    Raises :class:`~harness.errors.ConfigError` naming file, line and key.
    """
    document = read_document(path)
    scrape = _scrape(document.table("scrape"))
    lines = document.table("lines")
    phase0 = document.table("phase0")
    signals = tuple(_signal(name, table) for name, table in _tables(document.table("signals")))
    known = {signal.name: signal for signal in signals}
    burn = document.table("burn")
    spec = MonitoringSpec(
        file=str(path),
        scrape=scrape,
        phase0_bytes=phase0.number("resident_memory_bytes", low=0.0),
        phase0_source=phase0.text("source"),
        signals=signals,
        alerts=tuple(_alert(name, table, known) for name, table in _tables(document.table("alerts"))),
        page=_burns(burn, "page"),
        ticket=_burns(burn, "ticket"),
        burn_source=burn.text("source"),
        slos=tuple(_slo(name, table, objectives) for name, table in _tables(document.table("slo"))),
        required=_required(document.table("required")),
        lines={name: lines.number(name) for name in lines},
    )
    for table in (phase0, burn, document):
        table.finish()
    return spec


def _tables(table: Table) -> Iterable[tuple[str, Table]]:
    for name in table:
        yield name, table.table(name)


def _scrape(table: Table) -> Scrape:
    found = Scrape(
        job=table.text("job"),
        interval_s=table.number("interval_s", low=0.001),
        evaluation_s=table.number("evaluation_s", low=0.001),
        source=table.text("source"),
    )
    table.finish()
    return found


def _signal(name: str, table: Table) -> Signal:
    labels = table.raw("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise table.fail("labels", f"must be a table of texts, not {labels!r}")
    record = table.text("record")
    if not _NAME.fullmatch(record):
        raise table.fail("record", f"{record!r} is no name of a series")
    found = Signal(name, record, labels, _by(table), table.text("expr").strip(), table.text("source"))
    table.finish()
    return found


def _by(table: Table) -> tuple[str, ...]:
    by = table.raw("by", ["job", "instance"])
    if not isinstance(by, list) or not by or not all(isinstance(item, str) for item in by):
        raise table.fail("by", f"must be a list of labels, not {by!r}")
    return tuple(by)


def _alert(name: str, table: Table, signals: Mapping[str, Signal]) -> AlertSpec:
    signal = table.text("signal", choices=signals)
    if ("above" in table) == ("below" in table):
        raise table.fail("above", "an alert has either above or below")
    above = "above" in table
    found = AlertSpec(
        name=name,
        signal=signals[signal],
        above=above,
        threshold=table.number("above" if above else "below"),
        for_s=_seconds(table, "for"),
        severity=table.text("severity", choices=SEVERITIES),
        component=table.text("component"),
        summary=table.text("summary"),
        description=table.text("description"),
        action=table.text("action"),
        source=table.text("source"),
    )
    table.finish()
    return found


def _burns(table: Table, key: str) -> tuple[Burn, ...]:
    value = table.raw(key)
    try:
        found = tuple(Burn(float(b["factor"]), parse_seconds(b["long"]), parse_seconds(b["short"])) for b in value)
    except (KeyError, TypeError, ValueError) as error:
        raise table.fail(key, f"must be a list of factor, long and short: {error}") from error
    if not found or any(not 0 < burn.short_s < burn.long_s or burn.factor <= 0 for burn in found):
        raise table.fail(key, "each needs a factor above 0 and a short window below the long one")
    return found


def _slo(name: str, table: Table, objectives: Objectives) -> SloSpec:
    if ("objective" in table) == ("limit" in table):
        raise table.fail("objective", "an SLO has either an objective or a limit of slo.toml")
    if "limit" in table:
        limit = table.text("limit", choices=objectives.limits)
        budget = objectives.limits[limit].value
    else:
        budget = round(1.0 - table.number("objective", low=0.5, high=0.999999), 9)
    bad = table.text("bad").strip()
    if "$w" not in bad:
        raise table.fail("bad", "must look over the window $w")
    found = SloSpec(name, budget, bad, _by(table), table.text("title"), table.text("component"), table.text("source"))
    table.finish()
    return found


def _required(table: Table) -> Required:
    families = table.raw("families")
    if not isinstance(families, list) or not families or not all(_NAME.fullmatch(str(item)) for item in families):
        raise table.fail("families", f"must be a list of names of metrics, not {families!r}")
    found = Required(
        families=tuple(families),
        for_s=_seconds(table, "for"),
        severity=table.text("severity", choices=SEVERITIES),
        component=table.text("component"),
        action=table.text("action"),
        source=table.text("source"),
    )
    table.finish()
    return found


def _seconds(table: Table, key: str) -> float:
    try:
        return parse_seconds(table.text(key))
    except ValueError as error:
        raise table.fail(key, str(error)) from error


def parse_seconds(text: str) -> float:
    """A duration as Prometheus writes it (``5m``, ``1h30m``), in seconds. Raises :class:`ValueError`."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 5m")
    return sum(int(number) * _UNIT_S[unit] for number, unit in parts)
