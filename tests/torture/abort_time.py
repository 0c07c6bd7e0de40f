"""``python -m tests.torture.abort_time [--trials N]``: from the moment an abort condition is met until all is healed.

Every fault of the catalogue, alone and three of Engram's own at once, is put into a live reference as a drill does it,
with the abort watch beside it. At a random instant, while the effect is still looked for or long after, the condition
is met; the time runs until the target has acknowledged the last heal (or is up again, where it was down). Afterwards
nothing of the fault may be there. Prints a table; ``--document`` writes it to ``docs/aborts.md``.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import FaultError
from harness.faults.abort_watch import TICK_S, AbortWatch
from harness.faults.base import Fault
from harness.faults.binding_corruption import BindingCorruption
from harness.faults.composition import injection_for, parallel
from harness.faults.consolidation_failure import ConsolidationFailure
from harness.faults.recipe import still_there
from harness.faults.semantic_latency import SemanticLatency
from harness.scenario.abort import AbortCondition
from tests.doses.catalogue import DOSES
from tests.doses.trial import Bench
from tests.faults.family import Case

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "aborts.md"
LIMIT_S = 1.0
_LATEST_S = 1.5  # after the injection began; by then most effects have been seen
NEVER, UNSEEN, IN_FORCE = "before it went in", "before its effect was seen", "in force"
_CONDITION = AbortCondition("errors", "error_rate", 0.01, 0.0, True, "the measurement")


@dataclass(frozen=True)
class Abort:
    """One trial: seconds from the condition being met to the last heal; ``phase`` it came in; what was left.

    Where the condition was met an instant before the fault went in, the seconds run from when that went in.
    """

    fault: str
    phase: str
    healed_s: float
    left: str


def abort(fault: Fault, case: Case, after_s: float) -> Abort:
    """Inject, let the condition be met ``after_s`` later, heal as the runner does; answers how long that took."""
    met = threading.Event()
    times: dict[str, float] = {}

    def record(event: str, /, **fields: Any) -> None:
        times.setdefault(event, float(fields.get("at", time.monotonic())))
        if event.endswith("heal_acked"):
            times["last heal"] = float(fields.get("at", time.monotonic()))

    def meet() -> None:
        times["met"] = time.monotonic()
        met.set()

    watch = AbortWatch((_CONDITION,), lambda: {"error_rate": float(met.is_set())})
    watch.start()
    timer = threading.Timer(after_s, meet)
    timer.start()
    recipes = fault.recipes(case.target)
    injection = injection_for(
        fault, case.target, case.ledger, hold_s=60.0, record=record, cancel=watch.tripped, observe_heal_s=15.0
    )
    try:
        with injection:
            while not watch.tripped.is_set():
                watch.tripped.wait(TICK_S)
    finally:
        timer.join()
        watch.stop()
    left = [recipe for recipe in recipes if still_there(recipe)]
    case.is_whole()
    sent = min(times.get("inject_sent", math.inf), times.get("part_inject_sent", math.inf))
    seen = times.get("effective_observed", times.get("part_effective_observed", math.inf))
    phase = NEVER if sent == math.inf else IN_FORCE if seen < times["met"] else UNSEEN
    healed_s = 0.0 if phase == NEVER else max(0.0, times["last heal"] - max(times["met"], sent))
    return Abort(fault.kind, phase, healed_s, repr(left) if left else "")


def aborts(trials: int, seed: int, folder: Path) -> list[Abort]:
    """That many trials, the faults in turn."""
    dice = random.Random(seed)
    faults: list[Fault] = [dose.fault for dose in DOSES]
    faults.append(parallel(SemanticLatency(50.0), ConsolidationFailure(1.0), BindingCorruption(0.5)))
    found: list[Abort] = []
    with Bench(folder) as bench:
        able = [fault for fault in faults if not bench.case(fault).lacks(fault)]
        for number in range(trials):
            fault = able[number % len(able)]
            try:
                found.append(abort(fault, bench.case(fault), dice.uniform(0.0, _LATEST_S)))
            except FaultError as error:  # the machine would not take it this time; that is no abort
                print(f"not injected: {fault.describe()}: {error}", file=sys.stderr)
    return found


def quantile(found: list[Abort], q: float) -> float:
    """Of the times, in seconds."""
    times = sorted(one.healed_s for one in found)
    return times[min(len(times) - 1, int(q * len(times)))]


def table(found: list[Abort]) -> str:
    """A line per kind, and all of them."""
    text = [f"| fault | aborts | {NEVER} | {UNSEEN} | {IN_FORCE} | left | p50 s | p99 s | worst s |"]
    text.append("|---|---|---|---|---|---|---|---|---|")
    for kind in [*sorted({one.fault for one in found}), ""]:
        rows = [one for one in found if kind in ("", one.fault)]
        phases = " | ".join(str(sum(one.phase == phase for one in rows)) for phase in (NEVER, UNSEEN, IN_FORCE))
        left = sum(bool(one.left) for one in rows)
        healed = [one for one in rows if one.phase != NEVER]
        shown = " | ".join(f"{quantile(healed, q):.3f}" if healed else "-" for q in (0.5, 0.99, 1.0))
        text.append(f"| {kind or '**all**'} | {len(rows)} | {phases} | {left} | {shown} |")
    return "\n".join(text)


def main() -> int:
    """Measure, print, write the document where asked; exit status 1 where it took too long or something was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--document", action="store_true", help="write docs/aborts.md")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="engram-aborts-") as folder:
        found = aborts(given.trials, given.seed, Path(folder))
    text = table(found)
    print(text)
    if given.document:
        took = (time.monotonic() - started) / 60
        DOCUMENT.write_text(
            "# From an abort condition to all healed\n\n"
            f"Written by `make aborts TRIALS={given.trials}` (seed {given.seed}, {took:.0f} min). "
            "Every fault of the catalogue is put into a live reference Engram; at a random instant within "
            f"{_LATEST_S:g} s an abort condition is met, and the time runs until the last heal is acknowledged (the "
            f"target up again, where it was down). The watch looks every {TICK_S * 1000:.0f} ms, so an eighth of a "
            f"second of each is its pace. To be at most {LIMIT_S:g} s at the 99th percentile.\n\n"
            f"{text}\n",
            encoding="utf-8",
        )
    healed = [one for one in found if one.phase != NEVER]
    return 1 if not healed or quantile(healed, 0.99) > LIMIT_S or any(one.left for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
