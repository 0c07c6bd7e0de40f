"""What a load process sends and how it reads the answers: a seeded schedule's requests, or a trace's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.load.answers import Reading, read_answer
from harness.load.arrivals import Planned
from harness.load.exchange import Endpoint
from harness.load.payload import PayloadBank
from harness.load.plan import ProcessPlan
from harness.load.trace import TraceArrivals, TraceRequests, arrivals_of, read_trace_answer
from harness.load.wire import Requests, common_headers


@dataclass(frozen=True)
class Source:
    """``build`` and ``read`` take what :class:`~harness.load.wire.Requests` and ``read_answer`` take."""

    stream: Iterator[Planned]
    build: Callable[[int, int, int, int, int, int], bytes]
    read: Callable[[int, int, bytes, int, int, int], Reading]
    warm: Callable[[], None]


def source_of(plan: ProcessPlan, endpoint: Endpoint, api_key: str | None) -> Source:
    """One process' part. Raises :class:`~harness.errors.LoadError` for a key or a trace that cannot be used."""
    arrivals = arrivals_of(plan)
    stream = arrivals.stream(plan.process, plan.processes)
    if isinstance(arrivals, TraceArrivals):
        traced = TraceRequests(arrivals, plan.trace_spaces, endpoint.prefix, common_headers(endpoint, api_key))
        return Source(stream, traced.build, read_trace_answer, lambda: None)
    bank = PayloadBank(plan.workload, plan.seed)
    return Source(stream, Requests(plan.workload, bank, endpoint, api_key).build, read_answer, bank.warm)
