"""``make calibrate``: does the recovery interval contain the truth as often as it says, and how wide is it?

Two tables, written to ``docs/calibration.md``:

* *live*: a stub service in a process of its own heals after a random known delay of 0.1 to 20 s, while requests come
  at a fixed rate over real connections; the judge dates the recovery from what the client saw, knowing nothing of
  the delay;
* *simulated*: the same judge on generated events, over shares and rates that would take days to measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.judge.recovery import Recovery, SignalEvents, recovery_of
from harness.model import Interval

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "calibration.md"
BEFORE_S, DURING_S, TAIL_S = 1.0, 1.0, 2.0
LONGEST_S = 20.0


@dataclass(frozen=True)
class Trial:
    """The delay that was, and what the judge said."""

    delay_s: float
    recovery: Recovery

    @property
    def dated(self) -> bool:
        """Whether the judge dated the recovery; otherwise it says that the record is too short to tell."""
        return self.recovery.state == "recovered"

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth; one that is open to the right holds whatever lies above its low end."""
        return self.recovery.seconds.known and self.recovery.seconds.contains(self.delay_s)


class Lane:
    """One stub service and one open-loop client; runs trials one after another."""

    def __init__(self, rate: float, seed: int) -> None:
        self._rate = rate
        self._random = np.random.default_rng(seed)
        self._stub = subprocess.Popen(
            [sys.executable, "-m", "tests.calibration.stub"], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        assert self._stub.stdout is not None
        self._port = int(self._stub.stdout.readline())
        self._rows: list[tuple[float, float, bool]] = []

    def close(self) -> None:
        """End the stub."""
        self._stub.kill()
        self._stub.wait()
        assert self._stub.stdout is not None
        self._stub.stdout.close()

    async def trials(self, count: int, told: Callable[[Trial], None]) -> list[Trial]:
        """Run ``count`` trials."""
        found = []
        for _ in range(count):
            trial = await self._trial()
            told(trial)
            found.append(trial)
        return found

    async def _trial(self) -> Trial:
        delay = float(self._random.uniform(0.1, LONGEST_S))
        self._rows = []
        stop = asyncio.Event()
        load = asyncio.create_task(self._load(stop))
        start = time.monotonic()
        await asyncio.sleep(BEFORE_S)
        fault_sent = time.monotonic()
        await self._ask("/fault")
        fault_on = time.monotonic()
        await asyncio.sleep(DURING_S)
        sent = time.monotonic()
        await self._ask(f"/heal?delay_s={delay!r}")
        acked = time.monotonic()
        await asyncio.sleep(delay + TAIL_S)
        stop.set()
        await load
        ended = json.loads(await self._ask("/true"))["ended"]
        rows = sorted(self._rows)
        begun, done, hit = (np.array(column) for column in zip(*rows, strict=True))
        signal = SignalEvents("stub", begun, done, hit.astype(np.bool_), 0.05, own=True)
        recovery = recovery_of(
            signal,
            baseline=(start, fault_sent),
            fault=(fault_on, sent),
            heal=Interval(sent, acked),
            end=float(done.max()),
        )
        # The truth is as uncertain as the instant of the heal: judge and stub agree within the same bracket.
        return Trial(float(ended) - (sent + acked) / 2, recovery)

    async def _load(self, stop: asyncio.Event) -> None:
        """Requests at intended instants, each sent by the next free connection."""
        pending: set[asyncio.Task[None]] = set()
        pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        due = time.monotonic()
        while not stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._request(pool))
            pending.add(task)
            task.add_done_callback(pending.discard)
            due += float(self._random.exponential(1 / self._rate))
        await asyncio.gather(*pending)
        for _, writer in pool:
            writer.close()

    async def _request(self, pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        connection = pool.pop() if pool else await asyncio.open_connection("127.0.0.1", self._port)
        sent = time.monotonic()
        body = await _exchange(connection, "/recall")
        self._rows.append((sent, time.monotonic(), bool(json.loads(body)["affected"])))
        pool.append(connection)

    async def _ask(self, target: str) -> bytes:
        connection = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            return await _exchange(connection, target)
        finally:
            connection[1].close()


async def _exchange(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], target: str) -> bytes:
    reader, writer = connection
    writer.write(f"GET {target} HTTP/1.1\r\nhost: stub\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def live(trials: int, lanes: int, rate: float, seed: int) -> list[Trial]:
    """``trials`` trials over ``lanes`` stubs side by side."""
    done = 0

    def told(trial: Trial) -> None:
        nonlocal done
        done += 1
        seconds = trial.recovery.seconds
        print(f"{done}/{trials} delay {trial.delay_s:.3f} s in [{seconds.low:.3f}, {seconds.high:.3f}]", flush=True)

    runners = [Lane(rate, seed + number) for number in range(lanes)]
    shares = [trials // lanes + (number < trials % lanes) for number in range(lanes)]
    try:
        groups = await asyncio.gather(*(r.trials(n, told) for r, n in zip(runners, shares, strict=True)))
    finally:
        for runner in runners:
            runner.close()
    return [trial for group in groups for trial in group]


def simulated(rate: float, affected: float, quiet: float, trials: int, seed: int) -> list[Trial]:
    """Trials on generated events: Poisson arrivals at ``rate``/s, affected with the given shares."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(trials):
        delay = float(random.uniform(0.1, LONGEST_S))
        begun = np.sort(random.uniform(0, 54.0, int(54 * rate)))
        service = 0.008 + random.exponential(0.003, len(begun))
        served = begun + random.uniform(0, 1, len(begun)) * service
        bad = (served > 12.0) & (served < 24.0 + delay)
        hit = random.random(len(begun)) < np.where(bad, affected, quiet)
        signal = SignalEvents("simulated", begun, begun + service, hit, 0.05, own=True)
        recovery = recovery_of(signal, baseline=(0, 12), fault=(12.1, 24), heal=Interval(24.0, 24.002), end=54.0)
        found.append(Trial(delay, recovery))
    return found


def row(label: str, trials: list[Trial]) -> str:
    """A table row: how many were dated, coverage, widths in ms of those dated."""
    widths = np.array([t.recovery.seconds.width * 1e3 for t in trials if t.dated])
    told = [t for t in trials if t.recovery.seconds.known]  # with too few events the judge gives no interval at all
    covered = sum(t.covered for t in told)
    return (
        f"| {label} | {len(trials)} | {len(widths) / len(trials):.1%} | {covered / max(1, len(told)):.1%} | "
        f"{np.median(widths):.0f} | {np.quantile(widths, 0.95):.0f} | {widths.max():.0f} |"
    )


SIMULATED = (
    (300.0, 1.0, 0.0),
    (100.0, 0.97, 0.002),
    (100.0, 0.9, 0.01),
    (40.0, 0.3, 0.01),
    (5.0, 0.5, 0.0),
    (10.0, 0.1, 0.0),
)


def main() -> int:
    """Run the trials and write the document; exit 1 where fewer than 95 % of the live intervals hold the truth."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=200)
    arguments.add_argument("--lanes", type=int, default=8)
    arguments.add_argument("--rate", type=float, default=110.0, help="affected events per second")
    arguments.add_argument("--seed", type=int, default=0xDEADBEEF)
    given = arguments.parse_args()
    trials = asyncio.run(live(given.trials, given.lanes, given.rate, given.seed))
    head = (
        "| events | trials | dated | interval holds the truth | median width, ms | 95 % | largest |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    measured = row(f"live stub, {given.rate:g} affected/s", trials)
    generated = [
        row(f"simulated, {rate:g}/s, share {affected:g} -> {quiet:g}", simulated(rate, affected, quiet, 1000, 7))
        for rate, affected, quiet in SIMULATED
    ]
    text = (
        "# How often a recovery interval is right\n\n"
        "Written by `make calibrate`. A service recovers a random 0.1-20 s after the heal was acknowledged; the judge "
        "sees only what requests saw. The interval is a 99 % credible interval of the change point, widened by the "
        "time each request took. Where too few events follow to exclude the fault, the recovery is not dated but "
        "open to the right, and a drill that asserts it is INCONCLUSIVE.\n\n"
        + head
        + "\n".join([measured, *generated])
        + "\n"
    )
    print(text)
    if given.trials >= 200:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text, encoding="utf-8")
    told = [trial for trial in trials if trial.recovery.seconds.known]
    covered = sum(trial.covered for trial in told) / max(1, len(told))
    return 0 if covered >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
