"""What a slot does: take the next arrival, wait for its instant, send, check, record. Knows gevent, not Locust."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable

import gevent
from gevent.event import Event
from gevent.pool import Pool

from harness.errors import ExchangeFailed, HarnessError, LoadError
from harness.load.alarm import Alarm
from harness.load.answers import Reading
from harness.load.arrivals import Planned
from harness.load.exchange import HttpPool, endpoint_of
from harness.load.live import W_CONNECTS, W_IN_FLIGHT, W_NO_SLOT, W_SENT, W_TAKEN, LiveWriter
from harness.load.payload import PRELOAD_VERSION, version_of
from harness.load.plan import KEY_VARIABLE, ProcessPlan
from harness.load.recording import AnswerWriter, RequestWriter
from harness.load.source import source_of
from harness.load.truth import ASKED, panel_stride
from harness.model import Cue, Flag, Op, Outcome

_PULSE_S = 0.02
_FLUSH_EVERY = 4  # pulses: 80 ms
_NO_SLOT, _NEW, _PRELOAD = int(Flag.NO_FREE_SLOT), int(Flag.NEW_CONNECTION), int(Flag.PRELOAD)
_NOTHING = Reading(int(Outcome.CANCELLED))
_PAGE = os.sysconf("SC_PAGE_SIZE")
_RETRIES = 6
_DOUBT = 1.5  # a preload estimated to take so much longer than allowed is not gone on with


class Engine:
    """The state that all slots of a process share."""

    def __init__(self, plan: ProcessPlan, api_key: str | None, on_failure: Callable[[str], None]) -> None:
        endpoint = endpoint_of(plan.base_url)
        self._plan = plan
        self._on_failure = on_failure
        self._source = source_of(plan, endpoint, api_key)
        self._stream = self._source.stream
        self._pool = HttpPool(endpoint)
        self._timeout_s = plan.workload.request_timeout_s
        self._samples = RequestWriter(plan.samples_path)
        self._answers = AnswerWriter(plan.answers_path)
        self._stride = panel_stride(plan.workload)
        self._live = LiveWriter(plan.live_path)
        self._alarm = Alarm()
        self._go = Event()
        self._t0 = math.inf
        self._stop_at = math.inf
        self._in_flight = 0
        self._storing: dict[int, tuple[Planned, int, float, float, int]] = {}
        self.waiting_slots = 0
        self.on_request: Callable[[Op, Outcome, float], None] | None = None
        self._beat()

    def warm(self) -> None:
        """Prepare payloads and start recording the process' own state."""
        self._source.warm()
        gevent.spawn(self._pulse)

    def keep_samples(self, on: bool) -> int:
        """Whether requests leave raw samples (counters and histograms always count them).

        A write may take effect long after it was sent: those of unknown outcome from before are among the samples
        once they are kept, and those in flight (as cancelled) when they no longer are. Gives the greatest version of
        a write of unknown outcome that is not: there was no room for it; 0 where there was for all.
        """
        if self._samples.keeping and not on:
            now = time.monotonic()
            for arrival, version, intended, sent, flags in self._storing.values():
                self._sample(arrival, version, intended, sent, now, flags, 0, _NOTHING)
        self._samples.keep(on)
        self._answers.keeping = on
        self._samples.flush()
        return self._samples.forgotten

    # -- the load -----------------------------------------------------------------------------------------------

    def start(self, t0: float) -> None:
        """Let the slots go; arrival 0's origin is the monotonic instant ``t0``."""
        self._t0 = t0
        self._go.set()

    def run_slot(self) -> None:
        """One slot, until the load stops. A slot sends one request at a time."""
        self.waiting_slots += 1
        self._go.wait()
        t0, stream, words, now_of = self._t0, self._stream, self._live.words, time.monotonic
        while now_of() < self._stop_at:
            arrival = next(stream, None)
            if arrival is None:
                return  # a trace has an end
            sequence, offset, op, user, item, space, cue = arrival
            words[W_TAKEN] += 1
            intended = t0 + offset
            # Built before the instant, so that what it costs delays nobody.
            request = self._source.build(op, item, space, user, cue, version_of(sequence))
            if now_of() < intended:
                if intended >= self._stop_at:
                    return
                self._alarm.wait_until(intended)
                if intended >= self._stop_at:
                    return
                flags = 0
                sent = now_of()
                self._live.lag.record(sent - intended)
            else:
                # Nobody was waiting when it fell due: every slot was busy with the target.
                flags = _NO_SLOT
                words[W_NO_SLOT] += 1
                sent = now_of()
            words[W_SENT] += 1
            self._perform(request, arrival, version_of(sequence), intended, sent, flags)

    def _perform(
        self, request: bytes, arrival: Planned, version: int, intended: float, sent: float, flags: int
    ) -> tuple[Reading, int, bytes]:
        """Send, judge and record one request; gives the reading, the HTTP status and the answer."""
        words = self._live.words
        status, body, done = 0, b"", 0.0
        reading = _NOTHING
        self._in_flight += 1
        words[W_IN_FLIGHT] = self._in_flight
        if arrival[2] == Op.STORE:
            self._storing[arrival[0]] = (arrival, version, intended, sent, flags)
        try:
            status, body, fresh = self._pool.exchange(request, self._timeout_s)
            done = time.monotonic()
            if fresh:
                flags |= _NEW
            reading = self._source.read(arrival[2], status, body, arrival[4], arrival[5], version)
        except ExchangeFailed as failed:
            done = time.monotonic()
            status = failed.status
            reading = Reading(int(failed.outcome))
        finally:
            # A greenlet killed in flight (GreenletExit) passes here too: its request was sent and must be recorded.
            self._in_flight -= 1
            words[W_IN_FLIGHT] = self._in_flight
            self._storing.pop(arrival[0], None)
            self._record(arrival, version, intended, sent, done or time.monotonic(), flags, status, reading)
        return reading, status, body

    def _record(
        self,
        arrival: Planned,
        version: int,
        intended: float,
        sent: float,
        done: float,
        flags: int,
        status: int,
        reading: Reading,
    ) -> None:
        sequence, _, op, _, item, _, cue = arrival
        live = self._live
        if not flags & _PRELOAD:
            live.count(op, reading.outcome)
            if reading.outcome != Outcome.CANCELLED:
                live.latency[op].record(done - intended)
                live.service[op].record(done - sent)
            if self.on_request is not None:
                self.on_request(Op(op), Outcome(reading.outcome), done - intended)
        if self._samples.keeping or (op == Op.STORE and reading.outcome not in _CERTAIN):
            self._sample(arrival, version, intended, sent, done, flags, status, reading)
        if self._stride and item % self._stride == 0 and cue in ASKED and reading.answered:
            self._answers.answer(sequence, reading.items, reading.confidence)

    def _sample(
        self,
        arrival: Planned,
        version: int,
        intended: float,
        sent: float,
        done: float,
        flags: int,
        status: int,
        reading: Reading,
    ) -> None:
        sequence, _, op, user, item, space, cue = arrival
        write = self._samples.append if self._samples.keeping else self._samples.hold
        write(
            intended,
            sent,
            done,
            sequence,
            user,
            item,
            space,
            status,
            reading.results,
            reading.bindings_filtered,
            reading.convergent,
            op,
            reading.outcome,
            reading.cohort,
            reading.pathway,
            reading.semantic_missing,
            cue,
            reading.found,
            flags | reading.flags,
            reading.rank,
            version if op == Op.STORE else reading.version,
        )

    def stop(self, stop_at: float) -> int:
        """End the load: arrivals due from ``stop_at`` on are not sent. Gives the number due but never sent.

        Waits for what is in flight, which the request timeout bounds, and records the arrivals that fell due while
        every slot was busy as cancelled, so that no sequence number is missing.
        """
        self._stop_at = stop_at
        self._alarm.release_after(math.nextafter(stop_at, 0.0))
        gevent.sleep(max(0.0, stop_at - time.monotonic()) + 0.005)
        give_up = time.monotonic() + self._timeout_s + 1.0
        while self._in_flight and time.monotonic() < give_up:
            gevent.sleep(0.01)
        unsent = 0
        if math.isfinite(self._t0):
            for arrival in self._stream:
                intended = self._t0 + arrival[1]
                if intended >= stop_at:
                    break
                unsent += 1
                self._record(arrival, version_of(arrival[0]), intended, stop_at, stop_at, _NO_SLOT, 0, _NOTHING)
        return unsent

    def close(self) -> None:
        """Write what is left and let go of the target."""
        self._beat()
        self._samples.close()
        self._answers.close()
        self._pool.close()

    # -- the preload --------------------------------------------------------------------------------------------

    def preload(self) -> int:
        """Store this process' share of all (space, item) pairs once. Gives how many; raises LoadError."""
        total = self._plan.workload.data.memories
        begun = time.monotonic()
        deadline = begun + self._plan.preload_deadline_s
        pool = Pool(self._plan.preload_concurrency)
        mine = range(self._plan.process, total, self._plan.processes)
        refusals: list[LoadError] = []
        stored, look = 0, begun + self._plan.preload_look_s

        def store(index: int) -> None:
            # One refusal is enough: the others would only repeat it.
            if refusals:
                return
            nonlocal stored
            try:
                self._preload_one(index, deadline)
                stored += 1
            except LoadError as error:
                refusals.append(error)

        for index in mine:
            if (now := time.monotonic()) >= look:
                look = now + self._plan.preload_look_s
                refusals += self._preload_too_long(stored / (now - begun), len(mine))
            if refusals:
                break
            pool.spawn(store, index)
        pool.join()
        if refusals:
            raise refusals[0]
        self._samples.flush()
        return len(mine)

    def _preload_too_long(self, rate: float, mine: int) -> list[LoadError]:
        """An error where the preload will not be done in time at this rate; better now than at the deadline."""
        allowed_s = self._plan.preload_deadline_s
        if not rate or mine / rate <= allowed_s * _DOUBT:
            return []
        data, rate_of_all = self._plan.workload.data, rate * self._plan.processes
        what = f"{data.memories:,} memories ({data.num_nodes:,} in each of {data.memory_spaces} spaces)"
        return [
            LoadError(
                f"storing {what} takes {_spoken(mine / rate)} at the {rate_of_all:,.0f}/s this target takes; "
                f"{_spoken(allowed_s)} are allowed",
                where=self._plan.base_url,
                hint="--nodes N for fewer in each space, or --preload-time for all of them",
            )
        ]

    def _preload_one(self, index: int, deadline: float) -> None:
        space, item = divmod(index, self._plan.workload.data.num_nodes)
        arrival = (index, 0.0, int(Op.STORE), index % self._plan.workload.users, item, space, int(Cue.NONE))
        request = self._source.build(Op.STORE, item, space, arrival[3], Cue.NONE, PRELOAD_VERSION)
        for attempt in range(_RETRIES):
            now = time.monotonic()
            if now >= deadline:
                break
            reading, status, body = self._perform(request, arrival, PRELOAD_VERSION, now, now, _PRELOAD)
            outcome = Outcome(reading.outcome)
            if outcome == Outcome.OK:
                return
            if outcome in _HOPELESS:
                break
            gevent.sleep(min(0.05 * 2**attempt, 1.0))
        else:
            now = time.monotonic()
        url = self._plan.base_url
        if now >= deadline:
            seconds = self._plan.preload_deadline_s
            raise LoadError(
                f"the preload was not done after {seconds:g} s", where=url, hint="--nodes N or --preload-time"
            )
        shown = body[:200].decode("utf-8", "replace").replace("\n", " ")
        said = f": {shown!r}" if shown else ""
        hint = f"set {KEY_VARIABLE}" if status in (401, 403) else "is this an Engram, and is it healthy?"
        raise LoadError(f"the target refused the preload: {outcome.name} (HTTP {status}){said}", where=url, hint=hint)

    # -- the process itself -------------------------------------------------------------------------------------

    def _pulse(self) -> None:
        """Measure the loop's own lateness, flush samples, show signs of life."""
        alarm = Alarm()
        due = time.monotonic()
        count = 0
        while True:
            due = max(due + _PULSE_S, time.monotonic())
            alarm.wait_until(due)
            self._live.loop_lag.record(time.monotonic() - due)
            count += 1
            if count % _FLUSH_EVERY == 0:
                self._beat()
                try:
                    self._samples.flush()
                    self._answers.flush()
                except HarnessError as error:
                    self._on_failure(str(error))
                    return

    def _beat(self) -> None:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - twelve times a second
            rss = int(file.read().split()[1]) * _PAGE
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self._live.beat(time.monotonic(), time.process_time(), rss, peak)
        self._live.words[W_CONNECTS] = self._pool.connects


def _spoken(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 600
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


_CERTAIN = frozenset({Outcome.OK, Outcome.REFUSED})  # a refused connection carried nothing to the target
_HOPELESS = frozenset(
    {
        Outcome.HTTP_4XX,
        Outcome.UNEXPECTED_STATUS,
        Outcome.NOT_JSON,
        Outcome.WRONG_SHAPE,
        Outcome.WRONG_ANSWER,
        Outcome.TOO_LARGE,
    }
)
