"""A soak's directory without a soak: 24 hours at 1,000 ops/s as an engine would have recorded them, in seconds.

``python -m tests.soak.synthetic DIR`` writes a clean one; the arguments of :class:`Shape` break it in every way a
criterion looks for. Counts are drawn bucket by bucket (multinomial): 86.4 million requests cost 17,280 draws.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.histogram import BUCKETS, Histogram
from harness.judge.intervals import Floats
from harness.scenario.soak import load_soak
from harness.timeline.jsonl import dump_line
from harness.timeline.soak_record import CASE, SoakWriter

ROOT = Path(__file__).resolve().parents[2]
SHARES = {"store": 0.5, "recall": 0.425, "embedding_search": 0.075}
MEDIAN_MS = {"store": 1.8, "recall": 2.4, "embedding_search": 3.1}
SIGMA = 0.45
DAY_S = 86400.0
_GRID = 20_000


@dataclass(frozen=True)
class Shape:
    """What the run looks like. Hours count from the start; rates are per hour."""

    duration_s: float = DAY_S
    interval_s: float = 15.0
    rate: float = 1000.0
    seed: int = 7
    time_scale: float = 1.0
    rss_mb: float = 300.0
    rss_noise_mb: float = 2.0
    warm_up_mb: float = 40.0
    leak_mb_per_h: float = 0.0
    drift_per_h: float = 0.0
    p99_noise: float = 0.02
    error_rate: float = 0.00002
    creeping_errors: float = 0.0  # the share of recalls that fail in the last hour, rising from none
    crash_at_h: float | None = None
    gaps_h: tuple[tuple[float, float], ...] = ()
    restart_in_gap: bool = True
    faults_h: tuple[tuple[float, float], ...] = ()
    consolidation_stops_at_h: float | None = None
    breaker_at_h: tuple[float, ...] = ()
    fds_per_h: float = 0.0
    lost: int = 0
    cpu_share: float = 0.7  # of one core
    scenario: str = "phase0"


def write(session: Path, shape: Shape | None = None) -> Path:
    """Write a session holding one soak; answers the soak's own directory."""
    shape = shape or Shape()
    folder = session / CASE
    writer = SoakWriter(folder)
    scenario = load_soak(ROOT / "scenarios" / "soak" / f"{shape.scenario}.toml")
    plan = {"scenario": scenario.as_json(), "duration_s": shape.duration_s, "time_scale": shape.time_scale}
    plan |= {"seed": shape.seed, "target": "embedded", "defects": [], "processes": 1, "claimed": False, "faults": []}
    plan["workload"] = {"name": "M17 Baseline", "arrival": {"pattern": "constant", "rate": shape.rate}}
    writer.manifest(
        {"plan": plan, "started": "2026-01-05T20:00:00Z", "command": "harness soak", "commit": "synthetic",
         "versions": {"python": "3"}, "machine": {"system": "Linux", "release": "6", "cpus": 2}}
    )  # fmt: skip
    writer.close()
    events = _events(shape)
    with (folder / "timeline.jsonl").open("wb") as out:
        out.writelines(dump_line({"t": e["at_s"], "wall": "", **e}) for e in events)
    with (folder / "intervals.jsonl").open("wb") as out:
        out.writelines(dump_line(record) for record in records(shape))
    with (folder / "read_back.jsonl").open("wb") as out:
        out.writelines(dump_line(row) for row in _read_back(shape))
    return folder


def _events(shape: Shape) -> list[dict[str, Any]]:
    scale = shape.time_scale
    end = shape.duration_s / scale
    names = ["memory", "metrics.prometheus", "metrics.dual_memory", "consolidations"]
    events: list[dict[str, Any]] = [
        {"event": "target_ready", "at_s": 0.0, "capabilities": names},
        {"event": "segment_started", "at_s": 0.0, "segment": 0, "boot": "b"},
    ]
    for number, (_, stop) in enumerate(shape.gaps_h, start=1):
        events.append({"event": "segment_started", "at_s": stop * 3600 / scale, "segment": number, "boot": "b"})
    for start, stop in shape.faults_h:
        events.append({"event": "fault_begins", "at_s": start * 3600 / scale, "text": "20% of bindings corrupted"})
        events.append({"event": "fault_ends", "at_s": stop * 3600 / scale, "text": "20% of bindings corrupted"})
    if shape.crash_at_h is not None:
        at = shape.crash_at_h * 3600 / scale
        events.append({"event": "target_died", "at_s": at, "reason": "the target's process is gone"})
        events.append({"event": "stopped", "at_s": at, "reason": "the target's process is gone"})
    else:
        events.append({"event": "soak_ended", "at_s": end})
    return sorted(events, key=lambda e: float(e["at_s"]))


def records(shape: Shape) -> list[dict[str, Any]]:
    """The interval records."""
    draw = np.random.default_rng(shape.seed)
    step = shape.interval_s
    # What nobody observed comes on top: a soak goes on until its duration was observed.
    missing = sum(stop - start for start, stop in shape.gaps_h) * 3600
    edges = np.arange(0.0, shape.duration_s + missing + step / 2, step)
    starts, ends = edges[:-1], edges[1:]
    keep = np.ones(len(starts), dtype=bool)
    for start, stop in shape.gaps_h:
        keep &= (starts >= stop * 3600) | (ends <= start * 3600)
    if shape.crash_at_h is not None:
        keep &= ends <= shape.crash_at_h * 3600
    memory = _memory(shape, ends / 3600, draw)
    found = []
    cpu_s = runs = 0.0
    for number in np.flatnonzero(keep).tolist():
        hour = float(ends[number]) / 3600
        cpu_s += shape.cpu_share * step / shape.time_scale * (1 + 0.05 * draw.standard_normal())
        stopped = shape.consolidation_stops_at_h is not None and hour > shape.consolidation_stops_at_h
        runs += 0 if stopped else step / 300.0
        segment = sum(stop * 3600 <= float(starts[number]) + 1e-6 for _, stop in shape.gaps_h)
        found.append(
            _record(
                shape,
                draw,
                number,
                float(starts[number]),
                float(ends[number]),
                float(memory[number]),
                cpu_s,
                runs,
                segment,
            )
        )
    return found


def _record(
    shape: Shape, draw: np.random.Generator, number: int, start: float, end: float, rss: float, cpu_s: float,
    runs: float, segment: int,
) -> dict[str, Any]:  # fmt: skip
    hour, scale = end / 3600, shape.time_scale
    total = round(shape.rate * shape.interval_s / scale)
    slower = float(np.exp(shape.p99_noise * draw.standard_normal()) * (1 + shape.drift_per_h) ** hour)
    creeping = shape.creeping_errors * min(1.0, end / shape.duration_s)
    ops, latency, bad_total = {}, {}, 0
    for name, share in SHARES.items():
        count = round(total * share)
        bad = int(draw.binomial(count, shape.error_rate + (creeping if name != "store" else 0.0)))
        ops[name], bad_total = [count - bad, bad], bad_total + bad
        latency[name] = _histogram(MEDIAN_MS[name] * slower, count, draw).to_hdr()
    stopped = shape.consolidation_stops_at_h
    stale = max(0.0, (hour - stopped) * 3600) if stopped is not None else 0.0
    opened = any(0 <= hour - at < 0.02 for at in shape.breaker_at_h)
    fault = any(a <= hour <= b for a, b in shape.faults_h)
    process = segment if shape.restart_in_gap else 0
    return {
        "t": end / scale, "wall": "", "n": number, "segment": segment, "from_s": start / scale, "to_s": end / scale,
        "offered": total, "sent": total, "completed": total, "no_free_slot": 0, "in_flight": 2, "cancelled": 0,
        "ops": ops, "errors": {"http_5xx": bad_total} if bad_total else {}, "latency": latency, "service_time": None,
        "lag_p99_ms": 0.6 + 0.2 * float(draw.random()), "fault": fault,
        "target": {"pid": 4711 + process, "identity": [4711 + process, 12345 + process, "boot"], "rss_bytes": rss * 1e6,
                   "vsz_bytes": 1.2e9, "cpu_s": cpu_s, "fds": 40 + shape.fds_per_h * hour, "threads": 6,
                   "disk_bytes": 4e7},
        "service": {"polls": 3, "unhealthy": 0, "breaker_open": 3 if opened else 0,
                    "freshness_max_s": ((end % 300) + 1 + stale) / scale, "runs": float(int(runs)), "failures": 0.0},
        "harness": {"harness_rss_bytes": 1.31e8, "harness_cpu_s": end / 200, "load_rss_bytes": 1.2e8,
                    "load_cpu_s": end / 3},
    }  # fmt: skip


def _memory(shape: Shape, hours: Floats, draw: np.random.Generator) -> Floats:
    noise = np.zeros(len(hours))
    shocks = draw.standard_normal(len(hours)) * shape.rss_noise_mb * np.sqrt(1 - 0.97**2)
    for i in range(1, len(hours)):
        noise[i] = 0.97 * noise[i - 1] + shocks[i]
    warm = shape.warm_up_mb * (1 - np.exp(-hours / 0.5))
    level: Floats = shape.rss_mb - shape.warm_up_mb + warm + shape.leak_mb_per_h * hours + noise
    return level


_CACHE: dict[float, tuple[npt.NDArray[np.int64], Floats]] = {}


def _histogram(median_ms: float, count: int, draw: np.random.Generator) -> Histogram:
    """Log-normal latencies, drawn as counts per bucket; medians are rounded to half a per cent."""
    key = round(float(np.log(median_ms)) * 200) / 200
    if key not in _CACHE:
        normal = np.sqrt(2.0) * _erfinv(2 * (np.arange(_GRID) + 0.5) / _GRID - 1)
        counts = Histogram.of_seconds(np.exp(key + SIGMA * normal) / 1e3).counts
        used = np.flatnonzero(counts)
        _CACHE[key] = used, counts[used] / _GRID
    used, shares = _CACHE[key]
    found = np.zeros(BUCKETS, dtype=np.int64)
    found[used] = draw.multinomial(count, shares)
    return Histogram(found)


def _erfinv(x: Floats) -> Floats:
    from scipy import special

    found: Floats = special.erfinv(x)
    return found


def _read_back(shape: Shape) -> list[dict[str, Any]]:
    at = shape.duration_s / shape.time_scale
    rows: list[dict[str, Any]] = []
    for item in range(1000):
        row: dict[str, Any] = {
            "phase": "final",
            "by": "id",
            "at_s": at,
            "space": 0,
            "item": item,
            "acked": 9,
            "allowed": [9],
        }
        if item < shape.lost:
            rows.append({**row, "status": 404, "exact": True})
        else:
            rows.append({**row, "status": 200, "seen_item": item, "seen_version": 9, "exact": True})
    if shape.crash_at_h is None:
        rows.append({"phase": "complete", "at_s": at, "asked": 1000})
    return rows


if __name__ == "__main__":
    write(Path(sys.argv[1]), replace(Shape(), leak_mb_per_h=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
