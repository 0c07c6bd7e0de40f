"""The witnesses of the watch, each over answers that were made up: what is missing or went back is not seen."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from harness.clock import FakeClock
from harness.engram import parse_prometheus
from harness.errors import TargetUnreachable
from harness.judge.triggers import BREACH, CLEAR, UNSEEN, Reading, judge_reading
from harness.probes.machine import own_delay_s
from harness.rollout.witnesses import PrometheusCounters, ServiceMetrics, WitnessRecall, WitnessRecalls, reading_of
from harness.scenario.watch import slower_than
from tests.rollout.watched import rules_and_triggers


class Value:
    def __init__(self, value: float | None) -> None:
        self._value = value

    def value(self) -> float | None:
        return self._value


class Prometheus:
    """Counters by the first metric name of a query; ``down`` refuses every query."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.down = False
        self.queries: list[str] = []

    def query(self, expr: str) -> Value:
        self.queries.append(expr)
        if self.down:
            raise TargetUnreachable("refused", where="http://p")
        edge = re.search(r'le=~"([^"]*)"', expr)
        name = next(word for word in re.findall(r"[a-z_]+", expr) if word not in ("sum", "max"))
        return Value(self.values.get(name + (f" {edge[1]}" if edge else "")))

    def close(self) -> None:
        pass


def counted(recalls: float, errors: float, within: float) -> dict[str, float]:
    return {
        "engram_recall_total": recalls,
        "engram_recall_errors_total": errors,
        "engram_recall_duration_seconds_count": recalls,
        "engram_recall_duration_seconds_bucket 0\\\\.020*": within,
        "engram_consolidation_runs_total": 10.0,
        "engram_consolidation_failures_total": 0.0,
        "process_resident_memory_bytes": 0.4,
    }


def test_prometheus_is_asked_for_what_was_counted_since() -> None:
    prometheus, clock = Prometheus(), FakeClock()
    source = PrometheusCounters(prometheus, (15.0, 20.0, 37.0), every_s=60.0, clock=clock)  # type: ignore[arg-type]
    prometheus.values = counted(1000.0, 5.0, 990.0)
    first = source.read()
    assert first is not None and dict(first.shares) == {}  # nothing to compare with yet
    assert source.read() is None  # asked again only after a minute
    clock.advance(60.0)
    prometheus.values = counted(2000.0, 25.0, 1890.0)
    reading = source.read()
    assert reading is not None
    assert reading.shares["error_rate"] == (20, 1000)
    assert reading.shares[slower_than(20.0)] == (100, 1000)
    assert slower_than(15.0) not in reading.shares  # no such bucket was answered
    assert reading.levels == {"memory_share": 0.4}
    assert (reading.start, reading.end) == (1000.0, 1060.0)
    assert not any("37" in query for query in prometheus.queries)


def test_a_counter_that_went_back_and_an_outage_are_not_seen() -> None:
    prometheus, clock = Prometheus(), FakeClock()
    source = PrometheusCounters(prometheus, (20.0,), every_s=60.0, clock=clock)  # type: ignore[arg-type]
    prometheus.values = counted(1000.0, 5.0, 990.0)
    source.read()
    clock.advance(60.0)
    prometheus.values = counted(10.0, 0.0, 10.0)  # the service was started again
    reading = source.read()
    assert reading is not None and "error_rate" not in reading.shares
    clock.advance(60.0)
    prometheus.down = True
    assert source.read() is None
    assert "refused" in source.trouble
    clock.advance(60.0)
    prometheus.down, prometheus.values = False, {}
    reading = source.read()
    assert reading is not None and dict(reading.shares) == {}
    assert "no data on recalls" in source.trouble


class Service:
    def __init__(self) -> None:
        self.text: str | None = ""

    def metrics(self) -> Any:
        if self.text is None:
            raise TargetUnreachable("refused", where="http://t")
        return parse_prometheus(self.text)

    def close(self) -> None:
        pass


def scrape(started: float, rss: float, limit: float, failed: float = 0.0, runs: float = 0.0) -> str:
    return (
        f"process_start_time_seconds {started}\nprocess_resident_memory_bytes {rss}\n"
        f"engram_memory_limit_bytes {limit}\n"
        f"engram_consolidation_failures_total {failed}\nengram_consolidation_runs_total {runs}\n"
        "engram_spreading_breaker_state 0\n"
    )


def test_the_service_tells_memory_restarts_and_consolidation() -> None:
    service, clock = Service(), FakeClock()
    source = ServiceMetrics(service, unreachable_s=60.0, clock=clock)  # type: ignore[arg-type]
    service.text = scrape(100.0, 9.0, 10.0)
    reading = source.read()
    assert reading is not None
    assert reading.levels == {"crashes": 0.0, "memory_share": 0.9, "breaker_state": 0.0}
    clock.advance(30.0)
    service.text = scrape(100.0, 5.0, 10.0, failed=3.0, runs=10.0)
    reading = source.read()
    assert reading is not None and reading.shares["consolidation_failure_rate"] == (3, 10)
    service.text = scrape(160.0, 5.0, 10.0)
    reading = source.read()
    assert reading is not None and reading.levels["crashes"] == 1.0
    assert "consolidation_failure_rate" not in reading.shares
    reading = source.read()
    assert reading is not None and reading.levels["crashes"] == 0.0


def test_a_restart_while_nobody_watched_is_seen_by_the_next_watch() -> None:
    service, clock = Service(), FakeClock()
    source = ServiceMetrics(service, unreachable_s=60.0, clock=clock)  # type: ignore[arg-type]
    service.text = scrape(100.0, 5.0, 10.0)
    source.read()
    following = ServiceMetrics(service, unreachable_s=60.0, clock=clock)  # type: ignore[arg-type]
    following.resume(source.remembered())
    service.text = scrape(200.0, 5.0, 10.0)
    reading = following.read()
    assert reading is not None and reading.levels["crashes"] == 1.0


def test_nobody_answering_is_a_crash_only_after_its_time_and_once() -> None:
    service, clock = Service(), FakeClock()
    source = ServiceMetrics(service, unreachable_s=60.0, clock=clock)  # type: ignore[arg-type]
    service.text = None
    crashes = []
    for _ in range(6):
        reading = source.read()
        crashes.append(0.0 if reading is None else reading.levels["crashes"])
        assert "refused" in source.trouble
        clock.advance(30.0)
    assert crashes == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("text", ["", "process_resident_memory_bytes NaN\nengram_memory_limit_bytes 10\n"])
def test_a_level_that_is_no_number_is_not_seen(text: str) -> None:
    service = Service()
    service.text = text
    source = ServiceMetrics(service, unreachable_s=60.0, clock=FakeClock())  # type: ignore[arg-type]
    reading = source.read()
    assert reading is not None
    assert "memory_share" not in reading.levels
    assert math.isnan(source.memory_bytes)


LATENCY = next(t for t in rules_and_triggers()[1] if t.name.endswith("auto_latency"))


def recalls(took_s: float, own_s: float, count: int) -> list[WitnessRecall]:
    return [WitnessRecall(n * 0.25, n * 0.25 + took_s, own_s=own_s) for n in range(count)]


@pytest.mark.parametrize(
    ("slow", "state"),
    [
        (recalls(0.100, 0.0, 10), BREACH),  # the target took that long
        (recalls(0.100, 0.050, 10), BREACH),  # and it did so beside a busy machine, too
        (recalls(0.100, 0.095, 10), CLEAR),  # ten that this machine held up say nothing; the others were fast
        (recalls(0.100, 0.095, 130), UNSEEN),  # of most nothing is known
        (recalls(0.100, 0.095, 130) + recalls(0.100, 0.0, 1), UNSEEN),  # and the rest is too few to speak for all
    ],
)
def test_what_this_machine_held_up_is_no_slow_target(slow: list[WitnessRecall], state: str) -> None:
    reading, unknown = reading_of([*recalls(0.004, 0.0, 110), *slow], (15.0, 20.0), 0.0, 30.0)
    assert judge_reading(LATENCY, reading)[0] == state
    assert unknown == sum(one.own_s > 0.09 for one in slow)
    assert reading.shares["error_rate"] == (0, 110 + len(slow))


class Handed(WitnessRecalls):
    """Recalls that were made up instead of asked for."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(lambda: pytest.fail("nothing is asked here"), (20.0,), per_s=1.0, clock=clock)

    def _run(self) -> None:
        return

    def hand(self, seen: list[WitnessRecall]) -> Reading | None:
        self._seen = seen
        return self.read()


def test_a_recall_that_outlasts_looks_was_looked_at_all_the_while() -> None:
    clock = FakeClock(100.0)
    source = Handed(clock)
    starts = []
    for at, seen in ((100.5, [(100.1, 100.4)]), (101.0, []), (101.5, [(100.45, 101.4)]), (102.5, [(102.0, 102.1)])):
        clock.advance(at - clock.now())
        reading = source.hand([WitnessRecall(*one) for one in seen])
        starts.append(None if reading is None else reading.start)
    assert starts == [100.0, None, 100.5, 101.5]  # never before what was told already


def test_a_starved_machine_is_said() -> None:
    source = Handed(FakeClock())
    assert source.hand(recalls(0.1, 0.095, 8)) is not None
    assert "of 8 witness recalls 8 were held up by this machine" in source.trouble
    source.hand(recalls(0.004, 0.0, 8))
    assert source.trouble == ""


def test_our_own_wait_for_a_processor_only_grows() -> None:
    first = own_delay_s()
    assert 0.0 <= first <= own_delay_s()
