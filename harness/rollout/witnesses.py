"""Who tells the watch how things are: our own witness recalls, the service's metrics, Prometheus.

Each answers a :class:`~harness.judge.triggers.Reading` of what happened since it was asked last, or says why not: what
was not seen is neither healthy nor a breach.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.clock import Clock
from harness.engram import EngramClient, MetricsSnapshot
from harness.errors import HarnessError, TargetError, TargetUnreachable
from harness.histogram import Histogram
from harness.judge.triggers import Reading
from harness.probes.machine import own_delay_s
from harness.prometheus import PrometheusClient
from harness.rollout import behaviour
from harness.scenario.watch import slower_than

_USERS = 64
_MOST_PER_S = 40.0
Counters = dict[str, float]


class Source(ABC):
    """One witness. ``trouble`` says why the last reading is missing or partial; empty where it is whole."""

    name: str
    trouble: str = ""

    @abstractmethod
    def read(self) -> Reading | None:
        """What was seen since the last call; None where nothing was."""

    def remembered(self) -> dict[str, Any]:
        """What a watch that is started again needs to go on from here."""
        return {}

    def resume(self, value: Mapping[str, Any]) -> None:  # noqa: B027  most remember nothing
        """The inverse of :meth:`remembered`."""

    def close(self) -> None:  # noqa: B027  some have nothing to end
        """End it; idempotent."""


@dataclass(frozen=True)
class WitnessRecall:
    """One recall of ours: when it began and was answered or given up (monotonic s), whether it failed.

    ``own_s``: for how much of that this process was ready to run and not let; no target's doing.
    """

    begun: float
    ended: float
    failed: bool = False
    own_s: float = 0.0

    def slower_than(self, limit_s: float) -> bool | None:
        """Whether the target took longer; None where only the wait of this machine makes it so."""
        took_s = self.ended - self.begun
        if took_s > limit_s >= took_s - self.own_s:
            return None
        return took_s > limit_s


class WitnessRecalls(Source):
    """Recalls of our own, ``per_s`` of them a second, as users of both cohorts; the first witness.

    A recall that was slow only for the wait of this machine for a processor is neither slow nor fast: not seen.
    """

    name = "witness recalls"

    def __init__(
        self, make: Callable[[], EngramClient], limits_ms: Sequence[float], *, per_s: float, clock: Clock
    ) -> None:
        self._make = make
        self._limits_ms = tuple(limits_ms)
        self._pause_s = 1.0 / min(per_s, _MOST_PER_S)
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: list[WitnessRecall] = []
        self._since = self._told = clock.now()
        self._over = threading.Event()
        self.hour = Histogram()
        self.failed = self.asked = 0
        self._thread = threading.Thread(target=self._run, name="witness-recalls", daemon=True)
        self._thread.start()

    def read(self) -> Reading | None:
        now = self._clock.now()
        with self._lock:
            seen, self._seen = self._seen, []
        since, self._since = self._since, now
        if not seen:
            self.trouble = "no witness recall was answered or given up on"
            return None
        self.hour = self.hour + Histogram.of_seconds([one.ended - one.begun for one in seen])
        self.asked += len(seen)
        self.failed += sum(one.failed for one in seen)
        start = max(self._told, min(since, seen[0].begun))  # while a recall is under way, it is looked at
        reading, unknown = reading_of(seen, self._limits_ms, start, now)
        self._told = now
        self.trouble = ""
        if unknown * 2 > len(seen):
            self.trouble = f"of {len(seen)} witness recalls {unknown} were held up by this machine, which is too busy"
        return reading

    def row(self) -> tuple[float, float, int]:
        """P99 in ms, error rate and number of recalls since the last row; begins a new one."""
        p99_ms = self.hour.percentile(99) * 1e3
        rate = self.failed / self.asked if self.asked else math.nan
        asked, self.hour, self.failed, self.asked = self.asked, Histogram(), 0, 0
        return p99_ms, rate, asked

    def close(self) -> None:
        self._over.set()
        self._thread.join(15.0)

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            due = self._clock.now() + self._pause_s
            with self._make() as client:  # a new connection now and then shows the replicas behind a balancer
                for _ in range(8):
                    self._ask(client, number)
                    number += 1
                    self._clock.wait(self._over, due - self._clock.now())
                    due = max(due + self._pause_s, self._clock.now())
                    if self._over.is_set():
                        return

    def _ask(self, client: EngramClient, number: int) -> None:
        before, begun = own_delay_s(), self._clock.now()
        answer = behaviour.one(client, behaviour.witness_user(number % _USERS))
        ended, after = self._clock.now(), own_delay_s()
        with self._lock:
            self._seen.append(WitnessRecall(begun, ended, bool(answer.error), max(0.0, after - before)))


def reading_of(
    seen: Sequence[WitnessRecall], limits_ms: Sequence[float], start: float, end: float
) -> tuple[Reading, int]:
    """What recalls show of errors and of slowness, and how many could not show the latter.

    Where that is most of them, the rest shows nothing either: the measure of our own wait is not that exact.
    """
    shares: dict[str, tuple[int, int]] = {}
    spans: dict[str, tuple[float, float]] = {}
    _put(shares, spans, "error_rate", [(one.ended, one.failed) for one in seen])
    unknown = 0
    for limit_ms in limits_ms:
        slow = [(one.ended, found) for one in seen if (found := one.slower_than(limit_ms / 1e3)) is not None]
        unknown = max(unknown, len(seen) - len(slow))
        if len(slow) * 2 >= len(seen):
            _put(shares, spans, slower_than(limit_ms), slow)
    return Reading(WitnessRecalls.name, start, end, shares, spans), unknown


def _put(
    shares: dict[str, tuple[int, int]],
    spans: dict[str, tuple[float, float]],
    key: str,
    events: Sequence[tuple[float, bool]],
) -> None:
    hits = [at for at, hit in events if hit]
    shares[key] = (len(hits), len(events))
    if hits:
        spans[key] = (hits[0], hits[-1])


def _rise(now: Counters, before: Counters, hits: str, trials: str) -> tuple[int, int] | None:
    """What two counters rose by; None where one is missing or went back (a restart: what was lost is not known)."""
    values = [now.get(hits), before.get(hits), now.get(trials), before.get(trials)]
    if any(value is None or math.isnan(value) for value in values):
        return None
    up, of = values[0] - values[1], values[2] - values[3]  # type: ignore[operator]
    return (round(up), round(of)) if 0 <= up <= of else None


class ServiceMetrics(Source):
    """The service's own ``/metrics``: memory, restarts, breaker, consolidation. Nobody answering for too long counts
    as a crash, as the process is gone or as good as gone.
    """

    name = "the service's metrics"

    def __init__(self, client: EngramClient, *, unreachable_s: float, clock: Clock) -> None:
        self._client = client
        self._unreachable_s = unreachable_s
        self._clock = clock
        self._since = clock.now()
        self._before: Counters = {}
        self._started: float | None = None
        self._dead_since: float | None = None
        self._told_dead = False
        self.memory_bytes = math.nan

    def read(self) -> Reading | None:
        start, now = self._since, self._clock.now()
        try:
            scraped = self._client.metrics()
        except TargetError as error:
            self.trouble = error.what
            return self._dead(start, now) if isinstance(error, TargetUnreachable) else None
        self.trouble, self._since = "", now
        self._dead_since, self._told_dead = None, False
        levels = {"crashes": float(self._restarted(scraped))}
        self.memory_bytes = _known(scraped.value("process_resident_memory_bytes"))
        limit = _known(scraped.value("engram_memory_limit_bytes"))
        if limit > 0 and not math.isnan(self.memory_bytes):
            levels["memory_share"] = self.memory_bytes / limit
        breaker = scraped.value("engram_spreading_breaker_state")
        if breaker is not None:
            levels["breaker_state"] = breaker
        names = ("engram_consolidation_failures_total", "engram_consolidation_runs_total")
        counters = {name: _known(scraped.total(name)) for name in names}
        risen = _rise(counters, self._before, *names)
        self._before = counters
        return Reading(self.name, start, now, {"consolidation_failure_rate": risen} if risen else {}, {}, levels)

    def _dead(self, start: float, now: float) -> Reading | None:
        self._dead_since = self._dead_since if self._dead_since is not None else now
        if self._told_dead or now - self._dead_since < self._unreachable_s:
            return None
        self._told_dead = True
        return Reading(self.name, start, now, levels={"crashes": 1.0})

    def _restarted(self, scraped: MetricsSnapshot) -> bool:
        started = scraped.value("process_start_time_seconds")
        before, self._started = self._started, started if started is not None else self._started
        return started is not None and before is not None and abs(started - before) > 0.5

    def remembered(self) -> dict[str, Any]:
        return {"started": self._started}

    def resume(self, value: Mapping[str, Any]) -> None:
        started = value.get("started")
        self._started = float(started) if isinstance(started, int | float) else None

    def close(self) -> None:
        self._client.close()


def _known(value: float | None) -> float:
    return math.nan if value is None else value


_LE = {15.0: "0\\\\.0150*", 20.0: "0\\\\.020*"}


class PrometheusCounters(Source):
    """What Prometheus counted since the last look, from raw counters: no rate whose window smears a breach."""

    name = "Prometheus"

    def __init__(self, client: PrometheusClient, limits_ms: Sequence[float], *, every_s: float, clock: Clock) -> None:
        self._client = client
        self._limits_ms = tuple(limit for limit in limits_ms if limit in _LE)  # where the contract has bucket edges
        self._every_s = every_s
        self._clock = clock
        self._asked = -math.inf
        self._since = clock.now()
        self._before: Counters = {}

    def read(self) -> Reading | None:
        now = self._clock.now()
        if now - self._asked < self._every_s:
            return None
        self._asked = now
        try:
            counters = {name: self._one(query) for name, query in self._queries().items()}
        except HarnessError as error:
            self.trouble = error.what
            return None
        start, before = self._since, self._before
        self._since, self._before = now, counters
        missing = [name for name in ("recalls", "errors") if math.isnan(counters[name])]
        self.trouble = f"no data on {', '.join(missing)}" if missing else ""
        shares = {"error_rate": _rise(counters, before, "errors", "recalls")}
        for limit_ms in self._limits_ms:
            within = _rise(counters, before, f"within_{limit_ms:g}", "timed")
            shares[slower_than(limit_ms)] = (within[1] - within[0], within[1]) if within else None
        shares["consolidation_failure_rate"] = _rise(counters, before, "failed_runs", "runs")
        levels = {name: counters[name] for name in ("memory_share", "breaker_state") if not math.isnan(counters[name])}
        return Reading(self.name, start, now, {k: v for k, v in shares.items() if v and v[1] > 0}, {}, levels)

    def _queries(self) -> dict[str, str]:
        bucket = "engram_recall_duration_seconds_bucket"
        return {
            "recalls": "sum(engram_recall_total)",
            "errors": "sum(engram_recall_errors_total)",
            "timed": "sum(engram_recall_duration_seconds_count)",
            **{f"within_{ms:g}": f'sum({bucket}{{le=~"{_LE[ms]}"}})' for ms in self._limits_ms},
            "runs": "sum(engram_consolidation_runs_total)",
            "failed_runs": "sum(engram_consolidation_failures_total)",
            "memory_share": "max(process_resident_memory_bytes / on (instance) engram_memory_limit_bytes)",
            "breaker_state": "max(engram_spreading_breaker_state)",
        }

    def _one(self, query: str) -> float:
        return _known(self._client.query(query).value())

    def close(self) -> None:
        self._client.close()
