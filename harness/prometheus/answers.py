"""What Prometheus answers, as frozen values; whatever has not the documented shape raises :class:`ValueError`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")


@dataclass(frozen=True)
class Sample:
    """One value at ``t``, seconds since the epoch by Prometheus's clock; it may be NaN or infinite."""

    t: float
    value: float


@dataclass(frozen=True)
class Series:
    """One series: its labels, and its samples in order of time."""

    labels: Mapping[str, str]
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """The metric's name, empty for what an expression made."""
        return self.labels.get("__name__", "")

    @property
    def latest(self) -> Sample | None:
        """The last sample, NaN or not."""
        return self.samples[-1] if self.samples else None

    def finite(self) -> tuple[Sample, ...]:
        """The samples whose value is a finite number: NaN is what a ratio without traffic gives, not a measurement."""
        return tuple(sample for sample in self.samples if math.isfinite(sample.value))


@dataclass(frozen=True)
class Result:
    """What an expression gave. No series is a result of its own: no data, never a zero and never healthy."""

    expr: str
    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no finite sample at all: no series, stale ones, or NaN."""
        return not any(series.finite() for series in self.series)

    def matching(self, **labels: str) -> tuple[Series, ...]:
        """The series that carry all of ``labels``."""
        wanted = labels.items()
        return tuple(s for s in self.series if wanted <= s.labels.items())

    def value(self, **labels: str) -> float | None:
        """The latest value of the one series that matches; None where none or several do, or it is not finite."""
        found = self.matching(**labels)
        if len(found) != 1 or found[0].latest is None or not math.isfinite(found[0].latest.value):
            return None
        return found[0].latest.value

    def by(self, label: str) -> dict[str, float]:
        """The latest finite values by one label, where that tells the series apart; the others are left out."""
        found: dict[str, float] = {}
        for series in self.series:
            latest = series.latest
            if latest is not None and math.isfinite(latest.value) and label in series.labels:
                found[series.labels[label]] = latest.value
        return found


@dataclass(frozen=True)
class Alert:
    """One alert that is ``pending`` or ``firing``; ``active_at`` is Prometheus's RFC 3339 label of since when."""

    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    active_at: str
    value: float


@dataclass(frozen=True)
class Rule:
    """One rule. ``kind``: ``alerting`` or ``recording``; ``state`` (alerting only): inactive, pending or firing.

    ``health``: ``ok``, ``err`` or ``unknown`` (not evaluated yet); ``for_s`` how long a condition must hold.
    """

    kind: str
    name: str
    expr: str
    health: str
    last_error: str
    last_evaluation: str
    state: str
    for_s: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class RuleGroup:
    """A group of rules, evaluated one after the other every ``interval_s``."""

    name: str
    file: str
    interval_s: float
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class ScrapeTarget:
    """One target that is scraped: ``health`` is ``up``, ``down`` or ``unknown`` (not scraped yet)."""

    labels: Mapping[str, str]
    scrape_url: str
    health: str
    last_error: str
    last_scrape: str
    interval_s: float

    @property
    def job(self) -> str:
        return self.labels.get("job", "")


def read_result(expr: str, data: Any, warnings: Any) -> Result:
    """The ``data`` of ``/api/v1/query`` and ``/api/v1/query_range``: vector, matrix, or a scalar as one series."""
    kind, result = data["resultType"], data["result"]
    series: list[Series] = []
    if kind in ("scalar", "string"):
        series.append(Series({}, (_sample(result),)))
    elif kind == "vector":
        series += [Series(_labels(item["metric"]), (_sample(item["value"]),)) for item in _items(result)]
    elif kind == "matrix":
        for item in _items(result):
            samples = tuple(_sample(pair) for pair in item["values"])
            series.append(Series(_labels(item["metric"]), samples))
    else:
        raise ValueError(f"a result of type {kind!r}")
    return Result(expr, tuple(series), tuple(str(warning) for warning in warnings or ()))


def read_groups(data: Any) -> tuple[RuleGroup, ...]:
    """The ``data`` of ``/api/v1/rules``."""
    return tuple(
        RuleGroup(
            str(group["name"]),
            str(group.get("file", "")),
            float(group.get("interval", math.nan)),
            tuple(_rule(rule) for rule in _items(group["rules"])),
        )
        for group in _items(data["groups"])
    )


def _rule(rule: Any) -> Rule:
    return Rule(
        kind=str(rule["type"]),
        name=str(rule["name"]),
        expr=str(rule["query"]),
        health=str(rule.get("health", "unknown")),
        last_error=str(rule.get("lastError", "")),
        last_evaluation=str(rule.get("lastEvaluation", "")),
        state=str(rule.get("state", "")),
        for_s=float(rule.get("duration", 0.0)),
        labels=_labels(rule.get("labels") or {}),
        annotations=_labels(rule.get("annotations") or {}),
        alerts=tuple(_alert(alert) for alert in _items(rule.get("alerts") or [])),
    )


def read_alerts(data: Any) -> tuple[Alert, ...]:
    """The ``data`` of ``/api/v1/alerts``."""
    return tuple(_alert(alert) for alert in _items(data["alerts"]))


def _alert(alert: Any) -> Alert:
    labels = _labels(alert["labels"])
    return Alert(
        name=labels.get("alertname", ""),
        state=str(alert["state"]),
        labels=labels,
        annotations=_labels(alert.get("annotations") or {}),
        active_at=str(alert.get("activeAt", "")),
        value=float(alert.get("value", math.nan)),
    )


def read_targets(data: Any) -> tuple[ScrapeTarget, ...]:
    """The ``data`` of ``/api/v1/targets``: the active ones."""
    return tuple(
        ScrapeTarget(
            labels=_labels(target["labels"]),
            scrape_url=str(target["scrapeUrl"]),
            health=str(target["health"]),
            last_error=str(target.get("lastError", "")),
            last_scrape=str(target.get("lastScrape", "")),
            interval_s=duration_s(str(target.get("scrapeInterval", ""))),
        )
        for target in _items(data["activeTargets"])
    )


def duration_s(text: str) -> float:
    """A duration as Prometheus writes it (``15s``, ``1m30s``, ``500ms``), in seconds; NaN where it is none."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return math.nan
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list was expected, not {str(value)[:60]!r}")  # noqa: TRY004 - one error for every wrong shape
    return value


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"labels were expected, not {str(value)[:60]!r}")  # noqa: TRY004
    return {str(key): str(text) for key, text in value.items()}


def _sample(pair: Any) -> Sample:
    t, value = pair
    return Sample(float(t), float(value))
