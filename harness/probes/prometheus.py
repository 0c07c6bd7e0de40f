"""What Prometheus recorded of a run, kept beside the probes' own readings, so that it outlives the containers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.errors import RecordError, TargetAnswerInvalid, TargetError, UsageError
from harness.model import json_number
from harness.prometheus import PrometheusClient, Series
from harness.timeline.jsonl import JsonLines
from harness.timeline.record import CaseWriter

STREAM = "prometheus"
# What is scraped from Engram, what the rules make of it, and what alerted.
QUERIES = ('{job="engram"}', '{__name__=~"engram[_:].+"}', "ALERTS")
_JOB = "engram"
_USUAL_INTERVAL_S = 15.0
_LEAST_STEP_S = 0.25
_PATIENCE_S = 5.0
_MOST_STEPS = 2000  # a day in steps of 43 s


def keep_series_of(url: str, writer: CaseWriter, since: float, clock: Clock) -> None:
    """Keep what the Prometheus at ``url`` has of a case since the monotonic instant ``since``.

    Whether that worked is an event of the case, ``series_kept`` or ``series_not_kept`` with the reason; it costs no
    verdict, and never raises but for a disk that takes nothing at all (:class:`RecordError`).
    """
    try:
        with PrometheusClient.from_environment(url, timeout_s=_PATIENCE_S) as client:
            kept = keep_series(client, writer.folder / "metrics", since, clock)
    except (TargetError, UsageError, RecordError) as error:
        writer.event("series_not_kept", prometheus=url, reason=str(error))
    else:
        writer.event("series_kept", prometheus=url, **kept)


def keep_series(client: PrometheusClient, folder: Path, since: float, clock: Clock) -> dict[str, Any]:
    """Append all series from the monotonic instant ``since`` until now to ``<folder>/prometheus.jsonl``.

    One line a step: ``{"t": s, "values": {"name{label=value,…}": number}}`` on the harness' monotonic clock, by how
    Prometheus' clock stands to it at this moment. Answers what was kept: ``series``, ``steps``, ``step_s``,
    ``clock_ms`` (how well the two clocks are known to agree) and ``labels``, which every series carries and no name
    repeats. Raises :class:`TargetError` where Prometheus does not
    answer or has nothing at all (no data is no reading of zero), :class:`RecordError` where nothing can be written.
    """
    asked = clock.now()
    theirs = client.now()
    answered = clock.now()
    offset = theirs - (asked + answered) / 2
    step_s = _step_s(client, answered - since)
    steps = max(1, math.floor((answered - since) / step_s))
    start = theirs - steps * step_s
    found = [series for query in QUERIES for series in client.query_range(query, start, theirs, step_s).series]
    shared = _shared_labels(found)
    rows: dict[float, dict[str, Any]] = {}
    names: set[str] = set()
    for series in found:
        name = flat_name({key: value for key, value in series.labels.items() if key not in shared})
        names.add(name)
        for sample in series.samples:
            rows.setdefault(sample.t, {})[name] = json_number(sample.value)
    if not rows:
        raise TargetAnswerInvalid(
            "has no series of this run", where=client.base_url, hint="does it scrape this Engram?"
        )
    _write(folder / f"{STREAM}.jsonl", ((t - offset, values) for t, values in sorted(rows.items())))
    return {
        "series": len(names),
        "steps": len(rows),
        "step_s": step_s,
        "clock_ms": (answered - asked) / 2 * 1e3,
        "labels": shared,
    }


def _shared_labels(found: Sequence[Series]) -> dict[str, str]:
    """Job and instance, where they tell no series from another."""
    values = {key: {series.labels.get(key, "") for series in found} - {""} for key in ("job", "instance")}
    return {key: one for key, several in values.items() if len(several) == 1 for one in several}


def _write(path: Path, rows: Iterable[tuple[float, dict[str, Any]]]) -> None:
    file = JsonLines(path)
    try:
        for t, values in rows:
            file.append({"t": t, "values": values})
    finally:
        file.close()


def _step_s(client: PrometheusClient, span_s: float) -> float:
    """The interval Engram is scraped at, or wider where the run is so long that there would be too many steps."""
    found = [target.interval_s for target in client.targets() if target.job == _JOB and target.interval_s > 0]
    return max(min(found, default=_USUAL_INTERVAL_S), _LEAST_STEP_S, span_s / _MOST_STEPS)


def flat_name(labels: Mapping[str, str]) -> str:
    """``name{a=b,c=d}``, as the service's own metrics are named in its stream."""
    inside = ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != "__name__")
    name = labels.get("__name__", "")
    return f"{name}{{{inside}}}" if inside else name
