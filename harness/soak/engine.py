"""The soak itself: one thread that looks, records and judges, while load processes and target do the work.

Everything that is known goes to disk once an interval, fsynced, so that a soak killed at any point goes on from its
last checkpoint. The judge that runs along reads the same records as the one that reads the directory afterwards.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.clock import Clock, SystemClock
from harness.engram.client import EngramClient
from harness.errors import Aborted, HarnessError
from harness.faults.healing import heal_all
from harness.faults.ledger import Ledger
from harness.judge.soak_abort import Met
from harness.judge.soak_verdict import SoakJudgement
from harness.load.plan import LoadPlan
from harness.load.statistics import LiveStats
from harness.load.supervisor import LoadSupervisor
from harness.probes.soak import ServiceWatch
from harness.report.soak import INTERRUPTED, SoakRecord, read_soak
from harness.soak.nemesis import Nemesis
from harness.soak.observing import harness_record, requests_record, resource_line, target_record
from harness.soak.plan import LEAST_JUDGE_S, SoakPlan
from harness.soak.readback import ReadBack, SampleWindows, final_rows
from harness.soak.segment import Standing
from harness.targets.base import Target, boot_id
from harness.timeline.soak_record import SoakWriter

_UNREACHABLE_S = 60.0  # of real time at most; a scaled soak waits as much less, but some seconds
_LEAST_UNREACHABLE_S = 5.0
_DISPLAY_S = 1.0
_PROFILE_MARGIN_S = 900.0


@dataclass(frozen=True)
class SoakStatus:
    """What is happening now, for people; times in real seconds, NaN where not known yet."""

    phase: str
    at_s: float
    left_s: float
    rate_ops_per_s: float
    p99_ms: float
    error_rate: float
    rss_mb: float
    judgement: SoakJudgement | None


@dataclass
class _Due:
    """When each thing is to be done next (monotonic)."""

    poll: float = 0.0
    interval: float = 0.0
    judge: float = 0.0
    log: float = 0.0
    shown: float = field(default=-math.inf)


class SoakRun:
    """One segment of a soak: from its start, or from where it was cut off, to its end."""

    def __init__(
        self,
        plan: SoakPlan,
        folder: Path,
        make_target: Callable[[Ledger], Target],
        facts: dict[str, Any],
        *,
        resumed: Standing | None = None,
        clock: Clock | None = None,
        show: Callable[[SoakStatus], None] = lambda _: None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self._make_target = make_target
        self._facts = facts
        self._clock = clock or SystemClock()
        self._show_to = show
        self._resumed = resumed
        self._segment = resumed.segment if resumed else 0
        self._samples = folder / f"segment-{self._segment:02d}"
        self._writer = SoakWriter(folder, self._clock)
        self._record: SoakRecord | None = None
        self._judgement: SoakJudgement | None = None
        self._never = threading.Event()
        self._aborted = False
        self._due = _Due()
        self._origin = 0.0  # monotonic instant of the soak's second 0
        self._observed_s = resumed.observed_s if resumed else 0.0
        self._number = resumed.records if resumed else 0
        self._before: LiveStats | None = None
        self._answered_at = 0.0
        self._last: dict[str, Any] = {}
        self._cpu_before = (math.nan, math.nan)

    def run(self) -> SoakJudgement:
        """Run to the end and judge.

        Raises :class:`Aborted` where a trigger ended it or it could not go on; what was recorded stays, is judged and
        can be gone on with. Ctrl-C passes through.
        """
        try:
            if self._resumed is None:
                self._writer.manifest(self._facts | {"plan": self.plan.as_json(), "started": self._clock.wall()})
            with Ledger(self.folder / "ledger.jsonl", clock=self._clock) as ledger:
                target = self._make_target(ledger)
                try:
                    self._segment_on(target, ledger)
                finally:
                    target.stop()
        except HarnessError as error:
            if not self._aborted:
                self._writer.event("stopped", at_s=self._at(), reason=str(error))
            raise
        except BaseException as error:
            what = INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            self._writer.event("stopped", at_s=self._at(), reason=what)
            raise
        finally:
            self._writer.close()
        return self._judged()

    # the segment

    def _segment_on(self, target: Target, ledger: Ledger) -> None:
        self._show("start")
        heal_all(clock=self._clock)
        target.start()
        ledger.claim(target.base_url)
        self._writer.event(
            "target_ready",
            at_s=self._at(),
            target=target.describe(),
            capabilities=sorted(target.capabilities.names),
            missing=dict(target.capabilities.reasons),
        )
        with target.client(max(1.0, min(5.0, self.plan.interval_s))) as client:
            self._read_back = ReadBack(
                client, self.plan.workload.data.memory_spaces, self._keep_row, self.plan.seed + self._segment
            )
            if self._resumed is not None and self._resumed.records:
                self._show("read-back")
                self._read_back.everything(self.plan.workload.data.num_nodes, "resume", self._at)
            load = LoadSupervisor(self._load_plan(target), self._clock)
            try:
                self._start_load(load)
                with Nemesis(self.plan, target, ledger, self._event, self._clock, self._at) as nemesis:
                    self._record_until_end(target, client, load, nemesis)
                self._finish(load)
            finally:
                load.kill()

    def _load_plan(self, target: Target) -> LoadPlan:
        left_s = max(0.0, self.plan.real_duration_s - self._observed_s)
        return LoadPlan(
            workload=self.plan.workload,
            base_url=target.base_url,
            seed=self.plan.seed,
            folder=self._samples,
            max_duration_s=left_s + _PROFILE_MARGIN_S,
            processes=self.plan.processes,
            preload_deadline_s=self.plan.preload_s,
        )

    def _start_load(self, load: LoadSupervisor) -> None:
        self._show("preload")
        load.preload()
        load.keep_samples(False)
        begun = load.start()
        self._origin = begun - self._start_of_segment(begun)
        now = self._clock.now()
        self._windows = SampleWindows(self.plan, load, self._samples, self._read_back, begun, self._clock)
        self._due = _Due(
            poll=now,
            interval=begun + self.plan.interval_s,
            judge=now + self._judge_every_s,
            log=now,
        )
        self._answered_at = now
        self._before = load.live()
        self._from_s = self._at(begun)
        self._writer.event(
            "segment_started", segment=self._segment, at_s=self._from_s, begun=begun, boot=boot_id(), **self._how()
        )
        self._record = read_soak(self.folder, closing=False)

    def _start_of_segment(self, begun: float) -> float:
        """The soak's second at which this segment begins: all that passed since the last record is a gap."""
        if self._resumed is None:
            return 0.0
        return self._resumed.start_s + (begun - self._resumed_at)

    def _how(self) -> dict[str, Any]:
        if self._resumed is None:
            return {}
        return {
            "resumed_from_s": self._resumed.end_s,
            "gap_by": self._resumed.by,
            "target_meanwhile": self._resumed.target,
            "cut_bytes": self._writer.cut_bytes,
        }

    def went_on_at(self, instant: float) -> None:
        """The monotonic instant that :attr:`Standing.gap_s` was told at."""
        self._resumed_at = instant

    # recording

    def _record_until_end(self, target: Target, client: EngramClient, load: LoadSupervisor, nemesis: Nemesis) -> None:
        watch = ServiceWatch(client, target.capabilities.names)
        while True:
            now = self._clock.now()
            if now >= self._due.poll:
                self._poll(target, watch)
            if now >= self._due.interval:
                self._interval(target, watch, load, load.live(), nemesis)
                if self._observed_s >= self.plan.real_duration_s:
                    return
            load.check_alive()
            nemesis.check()
            self._look_at_windows(now)
            if now >= self._due.judge:
                self._due.judge = now + self._judge_every_s
                self._judgement = self._judged_so_far()
            if now - self._due.shown >= _DISPLAY_S:
                self._due.shown = now
                self._show("recording")
            due = min(self._due.poll, self._due.interval, self._due.judge, self._due.shown + _DISPLAY_S)
            due = min(due, self._windows.due)
            self._clock.wait(self._never, max(0.0, min(due - self._clock.now(), _DISPLAY_S)))

    def _poll(self, target: Target, watch: ServiceWatch) -> None:
        watch.poll()
        now = self._clock.now()
        self._due.poll = max(self._due.poll + self.plan.poll_s, now)
        if target.process is not None or target.pid is not None:
            alive = target.alive()
        elif watch.answering or target.alive():
            alive, self._answered_at = True, now
        else:
            patience_s = max(_LEAST_UNREACHABLE_S, min(_UNREACHABLE_S, self.plan.real(_UNREACHABLE_S * 10)))
            alive = now - self._answered_at < patience_s
        if not alive:
            self._died(target)

    def _died(self, target: Target) -> None:
        tail = target.log_tail(12)
        what = "the target's process is gone" if target.owned else "the target does not answer any more"
        self._event("target_died", at_s=self._at(), reason=what, log=tail)
        assert self._record is not None
        self._abort_on(self._record.watch.look(self._record.series, window_closed=False))
        raise Aborted(what + (f"; its log ends: {tail}" if tail else ""), where=str(self.folder))

    def _look_at_windows(self, now: float) -> None:
        if self._windows.look(now, self.plan.real_duration_s - self._observed_s, self._at):
            self._writer.event("final_window", at_s=self._at(), since=self._windows.final_since)

    def _interval(
        self, target: Target, watch: ServiceWatch, load: LoadSupervisor, now: LiveStats, nemesis: Nemesis
    ) -> None:
        assert self._before is not None and self._record is not None
        to_s = self._at(now.t)
        about = target_record(target, watch)
        record = {
            "n": self._number,
            "segment": self._segment,
            "from_s": self._from_s,
            "to_s": to_s,
            **requests_record(now, self._before),
            "target": about,
            "service": watch.take(),
            "harness": harness_record(load),
            "fault": nemesis.active,
        }
        self._writer.interval(record)
        self._observed_s += to_s - self._from_s
        self._number += 1
        self._before, self._from_s, self._last = now, to_s, record
        self._due.interval = max(self._due.interval + self.plan.interval_s, self._clock.now())
        if self._clock.now() >= self._due.log:
            self._due.log += self.plan.real(self.plan.scenario.record.resource_log_s, 1.0)
            self._writer.resources(self._resource_line(about))
        met = self._record.add(record)
        self._beat()
        self._abort_on(met)

    def _abort_on(self, met: Met | None) -> None:
        if met is not None:
            self._aborted = True
            self._writer.event("aborted", at_s=self._at(), trigger=met.trigger.name, reason=met.detail)
            raise Aborted(f"abort trigger {met.trigger.name}: {met.detail}", where=str(self.folder))

    @property
    def _judge_every_s(self) -> float:
        return self.plan.real(self.plan.scenario.record.judge_every_s, LEAST_JUDGE_S)

    def _resource_line(self, about: dict[str, Any]) -> str:
        now, cpu_s = self._clock.now(), float(about.get("cpu_s", math.nan))
        then, before = self._cpu_before
        self._cpu_before = (now, cpu_s)
        percent = 100.0 * (cpu_s - before) / (now - then) if now > then else 0.0
        return resource_line(self._clock.wall(), about, 0.0 if math.isnan(percent) else percent, _total_memory())

    # the end

    def _finish(self, load: LoadSupervisor) -> None:
        self._show("stopping")
        summary = load.stop()
        at_s = self._at()
        self._writer.event("load_stopped", at_s=at_s, completed=summary.completed, cpu_s=summary.cpu_s)
        self._show("read-back")
        checked = load.verify(deadline_s=120.0)
        for row in final_rows(self._samples / "verify.jsonl", self._windows.final(), at_s):
            self._keep_row(row)
        if checked.unanswered == 0:
            self._keep_row({"phase": "complete", "at_s": at_s, "asked": checked.asked})
        self._writer.event("soak_ended", at_s=at_s, unanswered=checked.unanswered)
        self._show("judging")

    def _event(self, event: str, /, **fields: Any) -> None:
        """Write an event down and let the running judge know it."""
        self._writer.event(event, **fields)
        if self._record is not None:
            self._record.series.event({"event": event, **fields})

    def _keep_row(self, row: dict[str, Any]) -> None:
        self._writer.read_back(row)
        if self._record is not None:
            self._record.read_back(row)

    # judging and telling

    def _judged_so_far(self) -> SoakJudgement | None:
        assert self._record is not None
        if len(self._record.series) < 2:
            return None
        return self._record.judge(running=True)

    def _judged(self) -> SoakJudgement:
        return read_soak(self.folder).judge()

    def _at(self, instant: float | None = None) -> float:
        """Real seconds since the soak's start; 0 before it."""
        if not self._origin:
            return self._resumed.end_s if self._resumed else 0.0
        return (self._clock.now() if instant is None else instant) - self._origin

    def _beat(self) -> None:
        state = self._status("recording")
        self._writer.heartbeat(
            {
                "at_s": state.at_s,
                "left_s": state.left_s,
                "interval": self._number,
                "next_within_s": 4 * self.plan.interval_s + 10.0,
                "rate_ops_per_s": state.rate_ops_per_s,
                "p99_ms": state.p99_ms,
                "error_rate": state.error_rate,
                "rss_mb": state.rss_mb,
                "verdict_so_far": state.judgement.standing if state.judgement else None,
            }
        )

    def _show(self, phase: str) -> None:
        self._show_to(self._status(phase))

    def _status(self, phase: str) -> SoakStatus:
        left_s = max(0.0, self.plan.real_duration_s - self._observed_s)
        if self._record is None or not len(self._record.series):
            return SoakStatus(phase, self._at(), left_s, math.nan, math.nan, math.nan, math.nan, None)
        series = self._record.series
        length_s = (series.last("to_s") - series.last("from_s")) / self.plan.time_scale
        judged = series.last("good") + series.last("bad")
        return SoakStatus(
            phase,
            self._at(),
            left_s,
            series.last("completed") / length_s if length_s > 0 else math.nan,
            series.last("p99_ms"),
            series.last("bad") / judged if judged else math.nan,
            series.last("rss_mb"),
            self._judgement,
        )


def _total_memory() -> int:
    return int(psutil.virtual_memory().total)
