"""Prometheus text (and the public build's JSON) as one immutable snapshot, read fast enough to poll."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Labels = tuple[tuple[str, str], ...]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPE = re.compile(r"\\(.)")
MAX_SERIES = 200_000


@dataclass(frozen=True)
class MetricsSnapshot:
    """What one scrape said. ``source`` is ``prometheus`` or ``json``; ``t`` is the monotonic instant of the answer."""

    series: Mapping[str, tuple[tuple[Labels, float], ...]]
    source: str
    t: float

    def matching(self, name: str, **labels: str) -> tuple[tuple[Labels, float], ...]:
        """The samples of ``name`` that carry all of ``labels``, NaN values left out."""
        wanted = set(labels.items())
        return tuple((have, v) for have, v in self.series.get(name, ()) if not math.isnan(v) and wanted <= set(have))

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample that matches, or None where none does, it is NaN, or several match."""
        found = self.matching(name, **labels)
        return found[0][1] if len(found) == 1 else None

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over all samples that match (NaN left out), or None where nothing does."""
        found = self.matching(name, **labels)
        return math.fsum(v for _, v in found) if found else None

    def buckets(self, name: str, **labels: str) -> tuple[tuple[float, float], ...]:
        """The cumulative buckets of histogram ``name`` as (upper edge, count), summed over other labels."""
        counts: dict[float, float] = {}
        for have, value in self.matching(f"{name}_bucket", **labels):
            edge = dict(have).get("le", "")
            try:
                counts[float(edge)] = counts.get(float(edge), 0.0) + value
            except ValueError:
                continue
        return tuple(sorted(counts.items()))

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether at least one of ``names`` was scraped."""
        return any(name in self.series for name in names)


def parse_prometheus(text: str, t: float = math.nan) -> MetricsSnapshot:
    """Parse the text exposition format. Raises :class:`ValueError` naming the first line that is none."""
    series: dict[str, list[tuple[Labels, float]]] = {}
    count = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line[0] == "#" or line.isspace():
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is no Prometheus sample: {line[:80]!r}")
        name, labels, number_text = match.groups()
        count += 1
        if count > MAX_SERIES:
            raise ValueError(f"more than {MAX_SERIES:,} series")
        try:
            value = float(number_text)
        except ValueError:
            raise ValueError(f"line {number}: {number_text[:40]!r} is no number") from None
        series.setdefault(name, []).append((_labels(labels) if labels else (), value))
    return MetricsSnapshot({name: tuple(samples) for name, samples in series.items()}, "prometheus", t)


@lru_cache(maxsize=8192)
def _labels(text: str) -> Labels:
    pairs = []
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            raise ValueError(f"bad labels: {text[:80]!r}")
        pairs.append((match.group(1), _ESCAPE.sub(_unescape, match.group(2))))
        position = match.end()
    return tuple(sorted(pairs))


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match.group(1) == "n" else match.group(1)


def from_json_metrics(value: Mapping[str, Any], t: float = math.nan) -> MetricsSnapshot:
    """The numbers of a JSON metrics document, named by their dotted paths."""
    series: dict[str, tuple[tuple[Labels, float], ...]] = {}
    stack: list[tuple[str, Any]] = [("", value)]
    while stack and len(series) < MAX_SERIES:
        path, item = stack.pop()
        if isinstance(item, Mapping):
            stack.extend((f"{path}.{key}" if path else str(key), inner) for key, inner in item.items())
        elif isinstance(item, int | float) and not isinstance(item, bool):
            series[path] = (((), float(item)),)
    return MetricsSnapshot(series, "json", t)
