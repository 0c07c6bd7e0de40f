"""How long an alert may take, from the windows and waits of its own rule."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.monitoring.rules import GROUP, rule_document
from harness.monitoring.windows import duration
from harness.scenario.monitoring import MonitoringSpec, parse_seconds

_WINDOW = re.compile(r"\[(\w+)\]")
_MACHINE_S = 2.0  # what a busy machine adds to a scrape, an evaluation and our question


@dataclass(frozen=True)
class AlertPlan:
    """One alert a case is about; ``fires_s`` and ``resolves_s`` are the longest each may take at this time scale.

    Fires: its longest window must fill with what is wrong, then hold for ``for``. Resolves: the window must empty.
    Both plus two scrapes, three evaluations, and what a busy machine takes.
    """

    name: str
    fires_s: float
    resolves_s: float
    time_scale: float
    source: str

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return dict(self.__dict__)


def alert_plan(spec: MonitoringSpec, name: str, time_scale: float) -> AlertPlan:
    """The plan of one alert. Raises :class:`UsageError` where there is no such alert."""
    rules = rule_document(spec)["groups"][0]["rules"]
    rule = next((rule for rule in rules if rule.get("alert") == name), None)
    if rule is None:
        raise UsageError(f"there is no alert '{name}' in group {GROUP}", where=spec.file)
    window_s = _longest_window_s(rules, str(rule["expr"]))
    for_s = parse_seconds(rule["for"])
    looks_s = 2 * spec.scrape.interval_s + 3 * spec.scrape.evaluation_s
    fires_s = (window_s + for_s + looks_s) / time_scale + _MACHINE_S
    resolves_s = (window_s + looks_s) / time_scale + _MACHINE_S
    source = (
        f"scenarios/monitoring.toml: window {duration(window_s)}, for {rule['for']}, two scrapes and three "
        f"evaluations, divided by time scale {time_scale:g}; {_MACHINE_S:g} s for the machine"
    )
    return AlertPlan(name, fires_s, resolves_s, time_scale, source)


def _longest_window_s(rules: list[dict[str, Any]], expr: str) -> float:
    """Of an expression and of what it reads, one after the other: windows of recorded series add up."""
    own = max((parse_seconds(text) for text in _WINDOW.findall(expr)), default=0.0)
    read = [rule["expr"] for rule in rules if "record" in rule and re.search(rf"\b{rule['record']}\b", expr)]
    return own + max((_longest_window_s(rules, inner) for inner in read if inner != expr), default=0.0)
