"""Baselines: what a run measured as one small JSON file, in the runbook's nested form, and the files others write.

Read: ours and the runbook's nested form (``.latency.p50_ms``, ``.throughput.ops_per_sec``, ``.errors.error_rate``; its
§0.3), the runbook's other form (``.p99_latency_ms``, ``.throughput_ops_per_sec``, ``.error_rate``; §3.2, also nested
below ``metrics``), the public build's flat result (``p99_latency_ms``, ``overall_throughput``, ``overall_error_rate``),
and the directories of soaks, performance checks and drills.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import RecordError, RecordTooNew
from harness.histogram import Histogram
from harness.judge.regression import Limits, RunFigures
from harness.report.soak import read_soak
from harness.scenario.slo import load_objectives
from harness.timeline.jsonl import read_json, write_json_atomically
from harness.timeline.soak_record import INTERVALS, Lines, soak_in

SCHEMA = 1
RESULT = "result.json"
LOG = "PERFORMANCE_LOG.md"


def load_limits(path: Path) -> Limits:
    """The limits of a comparison. Raises :class:`ConfigError` naming file, line and key."""
    found = load_objectives(path).limits
    names = [name for name in Limits.__dataclass_fields__ if name != "sources"]
    values = {name: found[name].value for name in names if name in found}
    return Limits(**values, sources={limit.name: limit.source for limit in found.values()})


def read_figures(path: Path) -> RunFigures:
    """The figures of a result file or of a run's directory.

    Raises :class:`RecordError` where it cannot be read or has no known shape.
    """
    if not path.is_dir():
        return figures_from(read_json(path), str(path))
    for name in (RESULT, "samples/load.json", "load.json"):
        if (path / name).is_file():
            return figures_from(read_json(path / name), str(path / name))
    soak = soak_in(path)
    if soak is not None:
        return figures_of_soak(soak)
    raise RecordError(
        "is no run this command knows",
        where=str(path),
        hint=f"it holds neither a soak nor {RESULT} nor samples/load.json",
    )


def figures_from(value: Any, where: str) -> RunFigures:
    """Figures from parsed JSON of any known shape. Raises :class:`RecordError`."""
    if not isinstance(value, dict):
        raise RecordError("is not a JSON object", where=where)
    schema = value.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordTooNew(f"is of schema {schema}, this harness reads up to {SCHEMA}", where=where)
    for fits, read in _SHAPES:
        if fits(value):
            return read(value, where)
    raise RecordError(
        "has no shape this command knows",
        where=where,
        hint="the runbook's (.latency.p99_ms or .p99_latency_ms) and the public build's flat result are read",
    )


def _nested(value: Mapping[str, Any], where: str) -> RunFigures:
    """Ours and the runbook's §0.3: latency, throughput and errors are objects."""
    latency, throughput, errors = (_table(value, key, where) for key in ("latency", "throughput", "errors"))
    hdr = latency.get("hdr")
    return RunFigures(
        name=where,
        p50_ms=_number(latency, "p50_ms", where),
        p95_ms=_number(latency, "p95_ms", where),
        p99_ms=_number(latency, "p99_ms", where, needed=True),
        ops_per_s=_number(throughput, "ops_per_sec", where),
        errors=_number(errors, "total", where),
        error_rate=_number(errors, "error_rate", where),
        operations=_operations(value, errors, where),
        duration_s=_number(value, "elapsed_seconds", where),
        memory_mb=_number(_table(value, "memory", where), "rss_mb", where),
        memory_source=str(value.get("memory_source", "")),
        latency=_histogram(hdr, where) if isinstance(hdr, str) else None,
        open_loop=bool(value.get("open_loop", False)),
        doubt=str(value.get("doubt", "")),
        lag_ms=_number(value, "schedule_lag_p99_ms", where) if "schedule_lag_p99_ms" in value else 0.0,
    )


def _operations(value: Mapping[str, Any], errors: Mapping[str, Any], where: str) -> float:
    """How many requests there were: told, or what count and rate of the errors make."""
    told = _number(_table(value, "operations", where), "total", where)
    total, rate = _number(errors, "total", where), _number(errors, "error_rate", where)
    if math.isnan(told) and total > 0 and rate > 0:
        return total / rate
    return told


def _flat(value: Mapping[str, Any], where: str) -> RunFigures:
    """The public build's result, and the runbook's §3.2 (which names throughput and errors otherwise)."""
    operations = _number(value, "total_operations", where)
    rate = _first(value, ("overall_error_rate", "error_rate"), where)
    errors = _number(value, "total_errors", where)
    if math.isnan(errors) and operations > 0 and not math.isnan(rate):
        errors = rate * operations
    return RunFigures(
        name=where,
        p50_ms=_number(value, "p50_latency_ms", where),
        p95_ms=_number(value, "p95_latency_ms", where),
        p99_ms=_number(value, "p99_latency_ms", where, needed=True),
        ops_per_s=_first(value, ("overall_throughput", "throughput_ops_per_sec"), where),
        errors=errors,
        error_rate=rate,
        operations=operations,
        duration_s=_number(value, "elapsed_seconds", where),
    )


def _load_summary(value: Mapping[str, Any], where: str) -> RunFigures:
    """``samples/load.json``, as every run of the load leaves it."""
    latency = _table(_table(value, "latency_ms", where), "all", where)
    payloads = _table(value, "latency_hdr", where).values()
    wrong, ended = _outcomes(_table(value, "outcomes", where))
    return RunFigures(
        name=where,
        p50_ms=_number(latency, "p50", where),
        p95_ms=_number(latency, "p95", where),
        p99_ms=_number(latency, "p99", where, needed=True),
        ops_per_s=_number(value, "achieved_per_s", where),
        errors=wrong,
        error_rate=wrong / ended if ended else math.nan,
        operations=ended,
        duration_s=_number(value, "duration_s", where),
        latency=Histogram.merged(_histogram(text, where) for text in payloads),
        open_loop=True,
    )


def _outcomes(table: Mapping[str, Any]) -> tuple[int, int]:
    rows = [(outcome, int(count)) for row in table.values() for outcome, count in row.items()]
    wrong = sum(count for outcome, count in rows if outcome not in ("ok", "cancelled"))
    return wrong, wrong + sum(count for outcome, count in rows if outcome == "ok")


def _below_metrics(value: Mapping[str, Any], where: str) -> RunFigures:
    return figures_from(value["metrics"], f"{where}: metrics")


_Value = Mapping[str, Any]
_SHAPES: tuple[tuple[Callable[[_Value], bool], Callable[[_Value, str], RunFigures]], ...] = (
    (lambda value: "latency_ms" in value and "outcomes" in value, _load_summary),
    (lambda value: isinstance(value.get("latency"), dict), _nested),
    (lambda value: "p99_latency_ms" in value, _flat),
    (lambda value: isinstance(value.get("metrics"), dict), _below_metrics),
)


def figures_of_soak(folder: Path) -> RunFigures:
    """The figures of a whole soak, without its warm-up and its faults, percentiles from merged histograms.

    Raises :class:`RecordError` where nothing of it is left then.
    """
    series = read_soak(folder).series
    steady = series.steady
    latency, sources = Histogram(), set()
    for record, counts in zip(Lines(folder / INTERVALS), steady, strict=False):
        if counts:
            sources.add(str(_table(record, "target", str(folder)).get("source", "")))
            parts = [_histogram(text, str(folder)) for text in record.get("latency", {}).values()]
            latency = Histogram.merged([latency, *parts])
    good, bad = (int(series.column(name)[steady].sum()) for name in ("good", "bad"))
    observed = float((series.column("to_s") - series.column("from_s"))[steady].sum()) / series.time_scale
    if not good + bad or observed <= 0:
        raise RecordError("the soak recorded no request outside its warm-up and its faults", where=str(folder))
    rss = series.column("rss_mb")[steady]
    return RunFigures(
        name=str(folder),
        p50_ms=latency.percentile(50) * 1e3,
        p95_ms=latency.percentile(95) * 1e3,
        p99_ms=latency.percentile(99) * 1e3,
        ops_per_s=(good + bad) / observed,
        errors=bad,
        error_rate=bad / (good + bad),
        operations=good + bad,
        duration_s=observed,
        memory_mb=float(np.nanmedian(rss)) if np.isfinite(rss).any() else math.nan,
        memory_source=" and ".join(sorted(sources - {""})),
        latency=latency,
        open_loop=True,
    )


def result_json(figures: RunFigures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The runbook's nested JSON, with ours beside it; :func:`figures_from` reads it back."""
    latency: dict[str, Any] = {"p50_ms": figures.p50_ms, "p95_ms": figures.p95_ms, "p99_ms": figures.p99_ms}
    if figures.latency is not None:
        latency["hdr"] = figures.latency.to_hdr()
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "latency": latency,
        "throughput": {"ops_per_sec": figures.ops_per_s},
        "errors": {"total": figures.errors, "error_rate": figures.error_rate},
        "operations": {"total": figures.operations},
        "memory": {"rss_mb": figures.memory_mb},
        **({"memory_source": figures.memory_source} if figures.memory_source else {}),
        "elapsed_seconds": figures.duration_s,
        "open_loop": figures.open_loop,
        "schedule_lag_p99_ms": figures.lag_ms,
        **facts,
    }
    return {**value, "doubt": figures.doubt} if figures.doubt else value


def write_result(path: Path, figures: RunFigures, facts: Mapping[str, Any]) -> None:
    """Write :func:`result_json`. Raises :class:`RecordError` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make the directory: {error.strerror}", where=str(path.parent)) from error
    write_json_atomically(path, result_json(figures, facts))


def log_entry(title: str, date: str, configuration: str, figures: RunFigures) -> str:
    """The runbook's entry of ``PERFORMANCE_LOG.md`` (its §0.3), memory added. ``date`` is a label."""
    hours = figures.duration_s / 3600
    lasted = f"{hours:.3g} hours" if hours >= 1 else f"{figures.duration_s:.0f} s"
    memory = [] if math.isnan(figures.memory_mb) else [f"  - Memory: {figures.memory_mb:.1f} MB"]
    lines = [
        f"## {title}",
        f"- Date: {date}",
        f"- Configuration: {configuration}",
        f"- Duration: {lasted}",
        "- Metrics:",
        f"  - P50 latency: {figures.p50_ms:.3f} ms",
        f"  - P95 latency: {figures.p95_ms:.3f} ms",
        f"  - P99 latency: {figures.p99_ms:.3f} ms",
        f"  - Throughput: {figures.ops_per_s:.1f} ops/s",
        f"  - Error rate: {figures.error_rate:.6f}",
        *memory,
        "- Status: Baseline established",
    ]
    return "\n" + "\n".join(lines) + "\n"


def append_entry(path: Path, entry: str) -> None:
    """Append to the performance log. Raises :class:`RecordError` where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(entry)
    except OSError as error:
        raise RecordError(f"cannot write: {error.strerror}", where=str(path)) from error


def _table(value: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = value.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RecordError(f"'{key}' is no object", where=where)
    return found


def _first(value: Mapping[str, Any], keys: tuple[str, ...], where: str) -> float:
    return next((_number(value, key, where) for key in keys if key in value), math.nan)


def _number(value: Mapping[str, Any], key: str, where: str, *, needed: bool = False) -> float:
    """A number of zero or more; NaN where it is missing or null. Raises :class:`RecordError` for anything else."""
    found = value.get(key)
    if found is None and not needed:
        return math.nan
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found < 0:
        raise RecordError(f"'{key}' is no number of zero or more: {found!r}", where=where)
    return float(found)


def _histogram(payload: Any, where: str) -> Histogram:
    try:
        return Histogram.from_hdr(str(payload))
    except ValueError as error:
        raise RecordError(f"holds a broken histogram: {error}", where=where) from error
