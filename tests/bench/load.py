"""``make bench``: what the load generator can do, beside plain Locust, against the same stub; and the reference itself.

``python -m tests.bench.load [rates|stall|memory|reference]...`` (all without an argument). One generator process, so
every figure is per core. "corrected" counts from the instant the schedule asked for; Locust can only count from
sending. The stability of the reference's memory wants ten minutes: ``reference --reference-seconds 600``. Exit code 1
where something the reference promises was not met.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from harness.load import LiveStats, LoadPlan, LoadSummary, LoadSupervisor
from tests.bench import reference
from tests.bench.shape import PER_USER, bench_workload
from tests.load.servers import stub

RATES = (1000, 3000, 5000)
STALL_S, EVERY_S = 1.0, 10.0


def ours(url: str, folder: Path, rate: float, seconds: float) -> tuple[LoadSummary, list[LiveStats]]:
    """One run of our generator, and its state once a second."""
    folder.mkdir(parents=True)
    plan = LoadPlan(bench_workload(rate), url, 7, folder / "samples", seconds + 60.0)
    seen: list[LiveStats] = []
    pause = threading.Event()
    with LoadSupervisor(plan) as load:
        load.preload()
        load.start()
        while (state := load.live()).elapsed_s < seconds:
            load.check_alive()
            seen.append(state)
            pause.wait(min(1.0, seconds - state.elapsed_s))
        return load.stop(), seen


def locust(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """One run of plain Locust."""
    command = [sys.executable, "-m", "tests.bench.locust_baseline", url, str(rate), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60.0)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rates(folder: Path, seconds: float) -> None:
    """Rate held, lag, latency and CPU at each rate."""
    _say("### Rate, lag and CPU per generator core\n")
    _say(
        "| offered/s | generator | achieved/s | schedule lag p50 / p99 / p99.9 ms | p99 ms | CPU us/request | RSS MB |"
    )
    _say("|---|---|---|---|---|---|---|")
    for rate in RATES:
        with stub(folder) as (url, _):
            summary, _ = ours(url, folder / f"rate-{rate}", rate, seconds)
            told = summary.as_json()
            lag, rss = told["schedule_lag_ms"], told["peak_rss_mb"]
            assert summary.live.errors == {}, summary.live.errors
            _say(
                f"| {rate} | slot user | {told['achieved_per_s']:.0f} | {lag['p50']:.2f} / {lag['p99']:.2f} / "
                f"{lag['p99.9']:.2f} | {told['latency_ms']['all']['p99']:.2f} (corrected) | "
                f"{told['cpu_us_per_request']:.0f} | {rss:.0f} |"
            )
            plain = locust(url, rate, seconds)
            _say(
                f"| {rate} | FastHttpUser | {plain['achieved_per_s']:.0f} | not known to it | {plain['p99_ms']:.0f} | "
                f"{plain['cpu_us_per_request']:.0f} | {max(plain['rss_mb']):.0f} |"
            )
    _say()


def stall(folder: Path, rate: float = 1000.0) -> None:
    """Corrected p99 under a target that stalls, beside what it must be by arithmetic."""
    seconds = 2 * EVERY_S
    options = ("--stall-s", str(STALL_S), "--every-s", str(EVERY_S))
    # Arrivals are even in time: a share (stall - x) / period waits longer than x, which is 1 % at stall - period / 100.
    expected_ms = (STALL_S - 0.01 * EVERY_S) * 1000
    _say(f"### A target that stalls {STALL_S:g} s in {EVERY_S:g}, {rate:g} ops/s, {seconds:g} s\n")
    _say("| | p99 ms | share slower than 100 ms | achieved/s |")
    _say("|---|---|---|---|")
    _say(f"| by arithmetic | {expected_ms:.0f} | {(STALL_S - 0.1) / EVERY_S:.3f} | {rate:.0f} |")
    with stub(folder, *options) as (url, _):
        summary, _ = ours(url, folder / "stall", rate, seconds)
    latency = summary.live.latency
    achieved = summary.completed / summary.duration_s
    p99, share = latency.percentile(99) * 1000, latency.share_above(0.1)
    _say(f"| slot user, corrected | {p99:.0f} | {share:.3f} | {achieved:.0f} |")
    with stub(folder, *options) as (url, _):
        plain = locust(url, rate, seconds)
    who = f"FastHttpUser, {rate / PER_USER:.0f} users, constant_throughput({PER_USER:g})"
    _say(f"| {who} | {plain['p99_ms']:.0f} | | {plain['achieved_per_s']:.0f} |")
    _say(f"\nLocust's p99 is {expected_ms / max(plain['p99_ms'], 1):.0f} times too small.\n")


def memory(folder: Path, seconds: float, rate: float = 3000.0) -> None:
    """RSS of the load process over time, and the size of its live file."""
    with stub(folder) as (url, _):
        _, seen = ours(url, folder / "memory", rate, seconds)
        plain = locust(url, rate, seconds / 2)
    at = [seen[int(share * (len(seen) - 1))] for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
    first, last = at[0], at[-1]
    growth = (last.rss_bytes - first.rss_bytes) / 1e6
    requests = last.completed - first.completed
    _say(f"### Memory of the load process, {rate:g} ops/s\n")
    _say("| after s | " + " | ".join(f"{state.elapsed_s:.0f}" for state in at) + " |")
    _say("|---|" + "---|" * len(at))
    _say("| RSS MB | " + " | ".join(f"{state.rss_bytes / 1e6:.1f}" for state in at) + " |")
    _say(f"\nGrowth {growth:+.2f} MB over {requests} requests; plain Locust {plain['rss_mb'][-1]:.0f} MB.\n")


def subject(folder: Path, seconds: float, rate: float) -> bool:
    """The reference under m17's mix, blended recall off and on; whether it kept what is promised."""
    _say("### The reference Engram\n")
    kept = True
    for blended in (False, True):
        # How memory goes is a question of the whole length; the other figures need less.
        lasting = min(seconds, 60.0) if blended else seconds
        found = reference.measure(folder / f"reference-{blended}", lasting, rate, blended=blended)
        _say("\n".join(reference.lines(found, lasting, rate)))
        kept = kept and all(met for *_, met in found.limits())
    return kept


def main() -> int:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="*", choices=["rates", "stall", "memory", "reference", []])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run of the section 'rates'")
    parser.add_argument("--memory-seconds", type=float, default=30.0)
    parser.add_argument("--reference-seconds", type=float, default=60.0, help="600 for the stability of its memory")
    parser.add_argument("--reference-rate", type=float, default=1000.0, metavar="OPS")
    options = parser.parse_args()
    wanted = options.section or ["rates", "stall", "memory", "reference"]
    kept = True
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "rates" in wanted:
            rates(folder, options.seconds)
        if "stall" in wanted:
            stall(folder)
        if "memory" in wanted:
            memory(folder, options.memory_seconds)
        if "reference" in wanted:
            kept = subject(folder, options.reference_seconds, options.reference_rate)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
