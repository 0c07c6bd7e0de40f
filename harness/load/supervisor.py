"""The supervisor of the load processes: starts them, tells them when, watches them, ends them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from harness.clock import Clock, SystemClock
from harness.errors import LoadError
from harness.load.arrivals import CHUNK
from harness.load.live import LiveSnapshot
from harness.load.plan import LoadPlan, ProcessPlan
from harness.load.statistics import LiveStats, LoadSummary, live_stats
from harness.load.trace import arrivals_of
from harness.load.truth import truth_of
from harness.load.verify import VerifySummary
from harness.timeline.answers import write_truth
from harness.timeline.jsonl import write_json_atomically

_LEAD_S = 0.25  # between the order to start or stop and its instant, which all processes must know by then
_RECENT, _RECENT_S = 400, 5.0  # memories asked for right after a crash, and how long the answers may take
_END_S = 5.0
_DIGEST_ARRIVALS = 64 * CHUNK  # the digest names the load; a day of arrivals need not be hashed for it
_KEPT_SNAPSHOTS = 32


class LoadProcess:
    """One load process and the thread that reads what it says."""

    def __init__(self, plan: ProcessPlan, module: str = "harness.load.generator") -> None:
        self._plan = plan
        self._said: deque[dict[str, Any]] = deque()
        self._news = threading.Event()
        self._failure = ""
        write_json_atomically(plan.plan_path, plan.as_json())
        try:
            with plan.log_path.open("wb") as log:
                self.popen = subprocess.Popen(
                    [sys.executable, "-m", module, str(plan.plan_path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    # Of its own session: Ctrl-C is ours to handle, and the end of stdin ends it in any case.
                    start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            raise LoadError(f"cannot start a load process: {error.strerror}", where=str(plan.log_path)) from error
        self._reader = threading.Thread(target=self._read, name=f"load-{plan.process}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                continue
            if "failed" in message:
                self._failure = str(message["failed"])
            else:
                self._said.append(message)
            self._news.set()
        self._news.set()

    def tell(self, command: dict[str, Any]) -> None:
        """Send one command. Raises :class:`LoadError` where the process is gone."""
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(json.dumps(command).encode() + b"\n")
            self.popen.stdin.flush()
        except OSError as error:
            raise self.death() from error

    def expect(self, key: str, clock: Clock, deadline: float) -> Any:
        """Wait until the process has said ``key``. Raises :class:`LoadError` when it died or kept silent."""
        while True:
            self._news.clear()
            while self._said:
                message = self._said.popleft()
                if key in message:
                    return message[key]
            if self._failure or not self._reader.is_alive():
                raise self.death()
            if clock.now() >= deadline:
                raise LoadError(f"the load process did not answer ({key})", where=self._where, hint=self._tail())
            clock.wait(self._news, min(0.5, deadline - clock.now()))

    def check(self) -> None:
        """Raise :class:`LoadError` where the process failed or died."""
        if self._failure or not self._reader.is_alive() or self.popen.poll() is not None:
            raise self.death()

    def death(self) -> LoadError:
        """Why the process is gone, as far as it or its log says."""
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(2.0)
        self._reader.join(1.0)
        if self._failure:
            return LoadError(self._failure)
        code = self.popen.returncode
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return LoadError(f"a load process {how}", where=self._where, hint=self._tail())

    def end(self, grace_s: float) -> None:
        """Close its stdin, wait ``grace_s`` seconds, kill it if need be; idempotent."""
        assert self.popen.stdin is not None and self.popen.stdout is not None
        with suppress(OSError):
            self.popen.stdin.close()
        try:
            self.popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._reader.join(1.0)
        self.popen.stdout.close()

    @property
    def _where(self) -> str:
        return f"pid {self.popen.pid}, log {self._plan.log_path}"

    def _tail(self) -> str:
        return log_tail(self._plan.log_path)


def log_tail(path: Path, lines: int = 6) -> str:
    """The last lines of a log as one line, for a message; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())


class LoadSupervisor:
    """One load from launch to summary. Methods other than :meth:`live` belong to one thread."""

    def __init__(self, plan: LoadPlan, clock: Clock | None = None) -> None:
        self._plan = plan
        self._clock = clock or SystemClock()
        self._arrivals = arrivals_of(plan)
        self._counting = threading.Lock()
        self._processes: list[LoadProcess] = []
        self._launched = False
        self._ready = False
        self._page: str | None = None
        self._t0: float | None = None
        self._at_start: LiveStats | None = None
        self._history: deque[LiveStats] = deque(maxlen=_KEPT_SNAPSHOTS)
        self._standing: LoadProcess | None = None
        self._summary: LoadSummary | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pids(self) -> tuple[int, ...]:
        """The load processes, so that probes can leave them out or watch them."""
        return tuple(process.popen.pid for process in self._processes)

    def launch(self) -> None:
        """Start the processes without waiting for them (they take about a second); idempotent."""
        if self._launched:
            return
        self._launched = True
        try:
            self._plan.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LoadError(f"cannot create the folder: {error.strerror}", where=str(self._plan.folder)) from error
        for number in range(self._plan.processes):
            self._processes.append(LoadProcess(self._plan.for_process(number)))

    @property
    def page(self) -> str | None:
        """Where Locust's own page is, if the plan asked for it and the processes are ready."""
        return self._page

    def preload(self) -> None:
        """Store every item of every space once (version 1, flag PRELOAD).

        Raises :class:`LoadError` where the target refuses, is unreachable, or takes longer than the plan allows.
        """
        self.get_ready()
        self._tell_all({"do": "preload"})
        self._expect_all("preloaded", self._plan.preload_deadline_s + _END_S)

    def start(self) -> float:
        """Start the arrivals; gives the monotonic instant of arrival 0, a quarter of a second from now."""
        self.get_ready()
        self._at_start = self._read_live(self._clock.now(), 0.0, 0)
        t0 = self._clock.now() + _LEAD_S
        self._tell_all({"do": "start", "t0": t0})
        self._t0 = t0
        return t0

    def keep_samples(self, on: bool) -> int:
        """Turn raw samples on or off (a soak keeps them in drill windows only); counts go on either way.

        Writes of unknown outcome from before are among the samples once they are on. Gives the greatest version of
        one that is not, as there was no room for it; 0 where all are.
        """
        self.get_ready()
        self._tell_all({"do": "samples", "on": on})
        return max(int(version) for version in self._expect_all("samples", _END_S))

    def live(self) -> LiveStats:
        """Counts and histograms since the start of the arrivals; cheap (about a millisecond), from any thread."""
        if self._summary is not None:
            return self._summary.live
        now = self._clock.now()
        if self._t0 is None:
            return self._read_live(now, 0.0, 0)
        elapsed = max(0.0, now - self._t0)
        with self._counting:
            offered = self._arrivals.count_before(elapsed)
        return self._since_start(self._read_live(now, elapsed, offered))

    def recent(self, seconds: float) -> LiveStats:
        """What happened in about the last ``seconds``, by the difference to earlier calls of this method.

        Until it has been called for that long, it is what happened since the first call or the start. Callers of one
        supervisor should agree on ``seconds``: a few snapshots (0.3 MB each) are all that is kept.
        """
        now = self.live()
        with self._counting:
            history = self._history
            while len(history) > 1 and history[1].t <= now.t - seconds:
                history.popleft()
            earlier = history[0] if history else None
            if earlier is None or now.t - history[-1].t >= seconds / 10:
                history.append(now)
        return now.since(earlier) if earlier is not None and earlier.t < now.t else now

    def check_alive(self) -> None:
        """Raise :class:`LoadError` with the reason or the end of its log when a process has died."""
        if self._summary is None:
            for process in self._processes:
                process.check()

    def stop(self) -> LoadSummary:
        """End the arrivals, wait for what is in flight, end the processes, write ``load.json``.

        Idempotent. Raises :class:`LoadError` where a process died meanwhile (the samples written so far stay).
        """
        if self._summary is not None:
            return self._summary
        if self._t0 is None:
            self.kill()
            raise LoadError("the load was stopped before it was started")
        try:
            stop_at = max(self._clock.now(), self._t0) + _LEAD_S
            self._tell_all({"do": "stop", "at": stop_at})
            answers = self._expect_all("stopped", self._plan.workload.request_timeout_s + _LEAD_S + _END_S)
            summary = self._summarise(stop_at, answers)
            self._tell_all({"do": "quit"})
        finally:
            self._end(_END_S)
        self._summary = summary
        write_json_atomically(self._plan.folder / "load.json", summary.as_json())
        if any(self._plan.folder.glob("answers-*.bin")):
            write_truth(self._plan.folder, truth_of(self._plan.workload, self._plan.seed, self._plan.folder))
        for number in range(self._plan.processes):
            with suppress(OSError):
                self._plan.for_process(number).live_path.unlink()
        return summary

    def verify(self, *, deadline_s: float = 60.0, sample: int = 200) -> VerifySummary:
        """Read every acknowledged memory back by id, and ``sample`` of them by embedding, into ``verify.jsonl``.

        Belongs after :meth:`stop`, when nothing is written any more. Answers that do not come are asked for again
        until ``deadline_s`` seconds have passed. Raises :class:`LoadError` where the reading process broke.
        """
        process = self._reader(deadline_s)
        return self._read(process, deadline_s, {"do": "verify", "sample": sample})

    def stand_by(self) -> Callable[[float], VerifySummary]:
        """Start a process that reads back at once, when what is given is called, what was acknowledged last.

        What a crash took is overwritten by the load before long; so a few hundred memories are asked for by id, into
        ``recovered.jsonl``, while the load goes on: those whose last acknowledged write came last before an instant
        (monotonic seconds: when the target was still down). Raises :class:`LoadError`, as does the call.
        """
        self._standing = process = self._reader(_RECENT_S)

        def read_recent(before: float) -> VerifySummary:
            self._standing = None
            return self._read(process, _RECENT_S, {"do": "recent", "before": before, "most": _RECENT})

        return read_recent

    def _reader(self, deadline_s: float) -> LoadProcess:
        plan = dataclasses.replace(self._plan.for_process(0), role="readback", max_duration_s=deadline_s)
        process = LoadProcess(plan, "harness.load.readback")
        try:
            process.expect("ready", self._clock, self._clock.now() + self._plan.ready_deadline_s)
        except BaseException:
            process.end(0.5)
            raise
        return process

    def _read(self, process: LoadProcess, deadline_s: float, command: dict[str, Any]) -> VerifySummary:
        try:
            process.tell({**command, "deadline_s": deadline_s})
            patience = deadline_s + self._plan.workload.request_timeout_s + _END_S
            return VerifySummary(**process.expect("verified", self._clock, self._clock.now() + patience))
        finally:
            process.end(0.5)

    def kill(self) -> None:
        """End the processes at once; idempotent. Samples up to the last flush (80 ms) stay."""
        if self._standing is not None:
            self._standing.end(0.0)
            self._standing = None
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.kill()
        self._end(0.5)

    # -- inside -------------------------------------------------------------------------------------------------

    def _summarise(self, stop_at: float, answers: list[Any]) -> LoadSummary:
        assert self._t0 is not None
        elapsed = stop_at - self._t0
        due = self._arrivals.count_before(elapsed)
        live = self._since_start(self._read_live(stop_at, elapsed, due))
        unsent = sum(int(answer["unsent"]) for answer in answers)
        return LoadSummary(
            t0=self._t0,
            t_stop=stop_at,
            due=due,
            sent=live.sent,
            unsent=unsent,
            completed=live.completed - unsent,
            processes=self._plan.processes,
            slots=self._plan.slots_per_process * self._plan.processes,
            cpu_s=sum(float(answer["cpu_s"]) for answer in answers),
            digest=self._arrivals.digest(min(due, _DIGEST_ARRIVALS)),
            live=live,
        )

    def _since_start(self, stats: LiveStats) -> LiveStats:
        if self._at_start is None:
            return stats
        # Offered and elapsed count from arrival 0 already; the counters from the processes' start (the preload).
        since = stats.since(self._at_start)
        return dataclasses.replace(since, elapsed_s=stats.elapsed_s)

    def _read_live(self, now: float, elapsed: float, offered: int) -> LiveStats:
        paths = [self._plan.for_process(number).live_path for number in range(self._plan.processes)]
        found = [snapshot for path in paths if (snapshot := LiveSnapshot.read(path)) is not None]
        return live_stats(found, now, elapsed, offered)

    def get_ready(self) -> None:
        """Start the processes and wait until they could send; idempotent. Raises :class:`LoadError`."""
        self.launch()
        if not self._ready:
            said = self._expect_all("ready", self._plan.ready_deadline_s)
            self._page = next((one["page"] for one in said if isinstance(one, dict) and one.get("page")), None)
            self._ready = True

    def _tell_all(self, command: dict[str, Any]) -> None:
        for process in self._processes:
            process.tell(command)

    def _expect_all(self, key: str, within_s: float) -> list[Any]:
        deadline = self._clock.now() + within_s
        return [process.expect(key, self._clock, deadline) for process in self._processes]

    def _end(self, grace_s: float) -> None:
        for process in self._processes:
            process.end(grace_s)
