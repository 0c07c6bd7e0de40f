"""``make calibrate``: how often would a rollout be rolled back for nothing, and what does seeing a change take?

Simulated runs through the very functions that gates use, written to ``docs/ab_calibration.md``, the runbook's methods
beside them. ``python -m tests.calibration.rollout [--runs N] [--jobs J] [--seconds S] [--cache D] [--out FILE]``: with
``--seconds`` it stops after that long (exit 4) and goes on from ``--cache`` the next time; with ``--partial`` it then
writes what there is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np

from harness.judge import runbook
from harness.judge.arms import Arm
from harness.judge.compare import compare_quantile
from harness.judge.error_evidence import ErrorEProcess, first_errors
from harness.judge.intervals import binomial_interval
from harness.judge.power import requests_for_quantile, tail_weight_log_normal
from harness.judge.runbook import Moments
from harness.judge.sequential import SequentialMean, SequentialQuantile
from harness.judge.shares import share_bounds
from harness.model import Verdict
from tests.calibration.bench import Bench, Row
from tests.calibration.burst_worlds import burst_table
from tests.calibration.worlds import MINUTE_S, WORLDS, World, draw, draw_bursts, draw_errors, until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ab_calibration.md"
SEED = 6_000_000


def watch(world: World, seed: int) -> Row:
    """One run without a change, looked at every minute: which methods would have rolled back at any look."""
    control, canary = draw(world, np.random.default_rng(SEED + seed))
    p99, mean = SequentialQuantile(), SequentialMean()
    found: Row = dict.fromkeys(("p99", "p99_slower", "mean", "welch", "stopped", "minutely"), False)
    old, new = (_Running(arm) for arm in (control, canary))
    for minute in range(1, world.minutes + 1):
        a, b = (until(arm, minute * MINUTE_S) for arm in (control, canary))
        if not a.count or not b.count:
            continue
        look = p99.look(a, b)
        found["p99"] |= look.verdict is Verdict.FAIL
        found["p99_slower"] |= look.change.interval.low > 0
        if minute % 5 == 0:  # the mean is the same machinery; every fifth minute is enough to show it
            found["mean"] |= mean.look(a, b).verdict is Verdict.FAIL
        tested = runbook.welch_of(old.until(a.count), new.until(b.count))
        if tested is not None and tested.difference > 0:
            found["welch"] |= tested.p < runbook.SIGNIFICANT
            found["stopped"] |= tested.advice is runbook.Advice.STOP
        series = old.p99[:minute], new.p99[:minute]
        tested = runbook.welch(*series) if minute > 2 else None
        found["minutely"] |= tested is not None and tested.difference > 0 and tested.p < runbook.SIGNIFICANT
    once = compare_quantile(control, canary)
    found["once"] = once.verdict is Verdict.FAIL
    found["passed"] = once.verdict is Verdict.PASS
    return found


class _Running:
    """One arm's moments after each request, and its P99 of each minute."""

    def __init__(self, arm: Arm) -> None:
        self._sum, self._squares = np.cumsum(arm.values), np.cumsum(np.square(arm.values))
        self.p99 = runbook.p99_per_minute(arm)

    def until(self, count: int) -> Moments:
        if count < 2:
            return Moments(count, float("nan"), float("nan"))
        mean = float(self._sum[count - 1]) / count
        return Moments(count, mean, (float(self._squares[count - 1]) - count * mean**2) / (count - 1))


@dataclass(frozen=True)
class ErrorWorld:
    """Errors of two arms; ``prone`` users fail again and again."""

    name: str
    users: int
    prone: float
    base: float = 0.001
    per_minute: float = 3000.0
    rate: float = 0.05
    minutes: int = 60
    harm: float = 1.0


ERROR_WORLDS = (
    ErrorWorld("10,000 users alike", 10_000, 0.0, base=0.002),
    ErrorWorld("2,000 users, some prone", 2000, 1.5, base=0.002),
    ErrorWorld("200 users, some prone", 200, 1.5, base=0.002),
    ErrorWorld("50 users at 25 %, some prone", 50, 1.5, base=0.002, rate=0.25),
)
HARM_WORLDS = tuple(
    ErrorWorld(f"{rate:g} requests/s", 10_000, 0.0, per_minute=rate * 60, minutes=30, harm=3.0)
    for rate in (100.0, 200.0, 425.0)
)


def watch_errors(world: ErrorWorld, seed: int) -> Row:
    """One run of errors, looked at every minute: in which minute each method rolled back, 0 for never."""
    rng = np.random.default_rng(2 * SEED + seed)
    control, canary = draw_errors(
        rng,
        users=world.users,
        minutes=world.minutes,
        per_minute=world.per_minute,
        rate=world.rate,
        base=world.base,
        harm=world.harm,
        prone=world.prone,
    )
    found: Row = {"evidence": 0, "proportions": 0, "runbook": 0}
    process = ErrorEProcess()
    for minute, errors in enumerate(first_errors(control, canary, MINUTE_S), 1):
        verdict = process.update(errors.canary, errors.control, errors.share).verdict
        if verdict is Verdict.FAIL and not found["evidence"]:
            found["evidence"] = minute
    a, b = (_per_minute(arm, world.minutes) for arm in (control, canary))
    for minute in range(1, world.minutes + 1):
        counts = [(float(part[0][:minute].sum()), float(part[1][:minute].sum())) for part in (a, b)]
        if not found["proportions"] and _proportions_differ(*counts):
            found["proportions"] = minute
        last = slice(max(0, minute - 10), minute)
        rates = b[0][last] / np.maximum(b[1][last], 1)
        if minute >= 10 and not found["runbook"] and bool((rates > 0.01).all()):
            found["runbook"] = minute
    return found


def _per_minute(arm: Arm, minutes: int) -> tuple[Any, Any]:
    assert arm.at is not None
    place = np.minimum((arm.at / MINUTE_S).astype(np.int64), minutes - 1)
    return np.bincount(place, weights=arm.values, minlength=minutes), np.bincount(place, minlength=minutes)


def _proportions_differ(control: tuple[float, float], canary: tuple[float, float]) -> bool:
    """A one-sided test of two proportions at 0.05, the usual way."""
    errors, requests = control[0] + canary[0], control[1] + canary[1]
    if not errors or not control[1] or not canary[1]:
        return False
    pooled = errors / requests
    error = np.sqrt(pooled * (1 - pooled) * (1 / control[1] + 1 / canary[1]))
    return bool((canary[0] / canary[1] - control[0] / control[1]) / error > 1.645)


CHUNK = 1000  # canary requests between two looks of the power study


def see(slower: float, users: int | None, seed: int) -> Row:
    """How many canary requests it takes to decide a P99 that is ``slower`` times the control's; 0 where it did not.

    25 % canary, latencies log-normal with a total standard deviation of 0.5; looks after every 1,000 canary requests.
    """
    spreads = {"user_spread": 0.0, "request_spread": 0.5} if users is None else {}
    world = World("power", users, minutes=60, per_minute=4 * 40, skew=0.5, **spreads)  # type: ignore[arg-type]
    scaled = World(**{**world.__dict__, "per_minute": 4.0 * CHUNK * 40 / 60})
    control, canary = draw(scaled, np.random.default_rng(3 * SEED + seed), slower)
    found: Row = {"sequence": 0, "passed": 0}
    process = SequentialQuantile()
    for part in range(1, 41):
        seconds = part * scaled.minutes * MINUTE_S / 40
        look = process.look(until(control, seconds), until(canary, seconds))
        if look.verdict is Verdict.FAIL and not found["sequence"]:
            found["sequence"] = part * CHUNK
        if look.verdict is Verdict.PASS and not found["passed"]:
            found["passed"] = part * CHUNK
    for part in (5, 10, 20, 40):
        seconds = part * scaled.minutes * MINUTE_S / 40
        found[str(part * CHUNK)] = compare_quantile(until(control, seconds), until(canary, seconds)).verdict.value
    return found


BURSTS = (
    *((f"{n} bursts of 20", n, 20.0, True, 1) for n in (2, 3, 5, 10)),
    *((f"{n} bursts of 20 on average", n, 20.0, False, 1) for n in (2, 3, 5, 10, 30)),
    ("5 bursts of 3 on average", 5, 3.0, False, 1),
    ("5 bursts of 40 on average, three moments long", 5, 40.0, False, 3),
)


def cover(case: tuple[str, float, float, bool, int], runs: int) -> str:
    """How often each bound of a share holds the truth, given that the sample shows any hit at all."""
    name, bursts, size, equal, spans = case
    rng = np.random.default_rng(4 * SEED)
    drawn = [draw_bursts(rng, bursts, size, equal=equal, spans=spans) for _ in range(runs)]
    truth = float(np.mean([hit.mean() for hit, _ in drawn]))
    seen = [(hit, moments) for hit, moments in drawn if hit.any()]
    bounds = [share_bounds(hit, moments, in_order=True) for hit, moments in seen]
    single = [binomial_interval(int(hit.sum()), len(hit)) for hit, _ in seen]
    high, low = (sum(i.high >= truth for i in bounds), sum(i.low <= truth for i in bounds))
    naive = sum(i.high >= truth for i in single)
    wide = float(np.median([i.high for i in bounds])) / truth
    n = len(seen)
    return f"| {name} | {runs - n} | {high / n:.1%} | {low / n:.1%} | {naive / n:.1%} | {wide:.1f} |"


def share(rows: list[Row], name: str) -> str:
    """How many of the runs did, with the 95 % upper bound where it is small."""
    hits = sum(bool(row[name]) for row in rows)
    small = f" (≤ {binomial_interval(hits, len(rows)).high:.1%})" if hits < len(rows) / 10 else ""
    return f"{hits / len(rows):.1%}{small}"


def false_rollbacks(bench: Bench, runs: int, worlds: Sequence[World] = WORLDS) -> list[str]:
    """The first table."""
    lines = [
        f"| nothing changed; {worlds[0].minutes} looks | runs | P99 + 5 %, ours | any slowdown, ours "
        "| mean + 5 %, ours | ours, one look at the end | Welch p < 0.05 | early stop p < 0.001 "
        "| t-test on P99 per minute |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for world in worlds:
        rows = bench.run(watch, [world], runs)
        if not rows:
            continue
        names = ("p99", "p99_slower", "mean", "once", "welch", "stopped", "minutely")
        lines.append(f"| {world.name} | {len(rows):,} | " + " | ".join(share(rows, name) for name in names) + " |")
        print(lines[-1], flush=True)
    return lines


def false_errors(bench: Bench, runs: int, worlds: Sequence[ErrorWorld] = ERROR_WORLDS) -> list[str]:
    """The second table."""
    lines = [
        "| nothing changed; 60 looks at 50 requests/s | runs | e-process, ours | two proportions, p < 0.05 | "
        "runbook: > 1 % for 10 min |",
        "|---|---|---|---|---|",
    ]
    for world in worlds:
        rows = bench.run(watch_errors, [world], runs)
        if not rows:
            continue
        names = ("evidence", "proportions", "runbook")
        lines.append(f"| {world.name} | {len(rows):,} | " + " | ".join(share(rows, name) for name in names) + " |")
        print(lines[-1], flush=True)
    return lines


def seen_errors(bench: Bench, runs: int, worlds: Sequence[ErrorWorld] = HARM_WORLDS) -> list[str]:
    """The third table."""
    lines = [
        "| error rate 0.1 -> 0.3 %, 5 % canary | runs | seen within 30 min | median | 90 % of runs within | "
        "runbook: > 1 % for 10 min |",
        "|---|---|---|---|---|---|",
    ]
    for world in worlds:
        rows = bench.run(watch_errors, [world], runs)
        if not rows:
            continue
        minutes = [row["evidence"] or 99 for row in rows]
        middle, late = (_minutes(np.quantile(minutes, p, method="higher")) for p in (0.5, 0.9))
        seen = f"{share(rows, 'evidence')} | {middle} | {late} | {share(rows, 'runbook')}"
        lines.append(f"| {world.name} | {len(rows):,} | {seen} |")
        print(lines[-1], flush=True)
    return lines


def _minutes(value: float) -> str:
    return "> 30 min" if value > 60 else f"{value:.0f} min"


def seen_latency(bench: Bench, runs: int) -> list[str]:
    """The fourth table."""
    lines = [
        "| canary's true P99 | users | runs | FAIL / HOLD / PASS with 5,000 canary requests | 10,000 | 20,000 | 40,000 "
        "| watched: FAIL | median canary requests | 90 % within | watched: PASS |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for slower in (1.0, 1.05, 1.15, 1.30):
        for users in (None, 2000):
            rows = bench.run(see, [slower, users], runs)
            if not rows:
                continue
            cells = [_three([row[n] for row in rows]) for n in ("5000", "10000", "20000", "40000")]
            needed = [row["sequence"] or 10**9 for row in rows]
            middle, late = (_requests(np.quantile(needed, p, method="higher")) for p in (0.5, 0.9))
            who = "each request its own" if users is None else f"{users:,}"
            watched = f"{share(rows, 'sequence')} | {middle} | {late} | {share(rows, 'passed')}"
            lines.append(f"| {slower - 1:+.0%} | {who} | {len(rows):,} | {' | '.join(cells)} | {watched} |")
            print(lines[-1], flush=True)
    return lines


def _three(verdicts: list[str]) -> str:
    n = len(verdicts)
    return " / ".join(f"{verdicts.count(name) / n:.0%}" for name in ("FAIL", "INCONCLUSIVE", "PASS"))


def _requests(value: float) -> str:
    return "> 40,000" if value > 10**8 else f"{value:,.0f}"


def coverage(runs: int) -> list[str]:
    """The fifth table."""
    lines = [
        "| errors of 3,600 requests in 48 moments | runs without any | upper bound holds | lower bound holds | "
        "per request, upper | upper bound, times the truth |",
        "|---|---|---|---|---|---|",
    ]
    for case in BURSTS:
        lines.append(cover(case, runs))
        print(lines[-1], flush=True)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """All tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.calibration.rollout", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    parts: dict[str, list[str]] = {}
    with Pool(given.jobs) as pool:
        bench = Bench(pool, given.cache, begun + given.seconds, partial=given.partial)
        try:
            parts["errors"] = false_errors(bench, given.runs)
            parts["harm"] = seen_errors(bench, max(10, given.runs // 4))
            parts["rollbacks"] = false_rollbacks(bench, given.runs)
            parts["power"] = seen_latency(bench, max(10, given.runs // 10))
        except TimeoutError as late:
            print(f"time is over: {late}", file=sys.stderr)
            return 4
    parts["coverage"] = coverage(given.runs)
    parts["bursts"] = burst_table(given.runs, 5 * SEED)
    weight = tail_weight_log_normal(0.99, 0.5)
    planned = requests_for_quantile(0.99, 0.05, weight, true_change=0.15, control_per_canary=3)
    given.out.write_text(document(parts, given.runs, planned or 0), encoding="utf-8")
    print(f"{given.out} after {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return 0


def document(parts: dict[str, list[str]], runs: int, planned: int) -> str:
    """The page."""
    text = (Path(__file__).with_name("rollout.md")).read_text(encoding="utf-8")
    for name, lines in parts.items():
        text = text.replace(f"{{{name}}}", "\n".join(lines))
    return text.replace("{runs}", f"{runs:,}").replace("{planned}", f"{planned:,}")


if __name__ == "__main__":
    sys.exit(main())
