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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import FaultError, HarnessError, HealFailed
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
from tests.provenance import Provenance

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "aborts.md"
LIMIT_S = 1.0
_LATEST_S = 1.5  # after the injection began; by then most effects have been seen
NEVER, UNSEEN, IN_FORCE = "before it went in", "before its effect was seen", "in force"
IN_PLACE, RESTART = "in place", "by a restart"
_CONDITION = AbortCondition("errors", "error_rate", 0.01, 0.0, True, "the measurement")


@dataclass(frozen=True)
class Abort:
    """One trial: in which ``phase`` the condition was met, how it was healed, what was left; seconds from then.

    ``begun_s``: the heal began. ``undone_s``: all that the harness did to the target is undone; where the target had
    to be started for that, its process is started. ``healed_s``: the last heal is acknowledged, and the target ready,
    where it was down. Where the condition was met an instant before the fault went in, the seconds run from when that
    went in.
    """

    fault: str
    phase: str
    how: str
    begun_s: float
    undone_s: float
    healed_s: float
    left: str

    @property
    def start_s(self) -> float:
        """Of :attr:`healed_s`, what the target took to start."""
        return self.healed_s - self.undone_s


class _Times:
    """The first instant of each event, and the last heal's."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def record(self, event: str, /, **fields: Any) -> None:
        now = float(fields.get("at", time.monotonic()))
        self.first.setdefault(event.removeprefix("part_"), now)
        self.last[event.removeprefix("part_")] = now


def abort(fault: Fault, case: Case, after_s: float) -> Abort:
    """Inject, let the condition be met ``after_s`` later, heal as the runner does; answers how long that took."""
    met, met_at = threading.Event(), math.inf
    times = _Times()

    def meet() -> None:
        nonlocal met_at
        met_at = time.monotonic()
        met.set()

    watch = AbortWatch((_CONDITION,), lambda: {"error_rate": float(met.is_set())})
    watch.start()
    timer = threading.Timer(after_s, meet)
    timer.start()
    recipes = fault.recipes(case.target)
    injection = injection_for(
        fault, case.target, case.ledger, hold_s=60.0, record=times.record, cancel=watch.tripped, observe_heal_s=15.0
    )
    left: list[str] = []
    try:
        with injection:
            while not watch.tripped.is_set():
                watch.tripped.wait(TICK_S)
    except HealFailed as error:
        left.append(f"not healed: {error}")
    finally:
        timer.join()
        watch.stop()
    left += [repr(recipe) for recipe in recipes if still_there(recipe)]
    last = dict(times.last)
    if "heal_acked" not in last and left:
        with suppress(HealFailed):  # once more, for the trials to come; it does not count
            injection.__exit__(None, None, None)
    left += _harm(case)
    sent = times.first.get("inject_sent", math.inf)
    if sent == math.inf:
        return Abort(fault.kind, NEVER, IN_PLACE, 0.0, 0.0, 0.0, "; ".join(left))
    phase = IN_FORCE if times.first.get("effective_observed", math.inf) < met_at else UNSEEN
    begun, healed = (last.get(event, math.inf) for event in ("heal_sent", "heal_acked"))
    starts = [at for at in case.launched if begun <= at <= healed]
    undone, how = (starts[-1], RESTART) if starts else (healed, IN_PLACE)
    taken = (max(0.0, at - max(met_at, sent)) for at in (begun, undone, healed))
    return Abort(fault.kind, phase, how, *taken, "; ".join(left))


def _harm(case: Case) -> list[str]:
    """What the target did not get back in time; where anything, it is started again for the trials to come."""
    try:
        case.is_whole()
        return []
    except (AssertionError, HarnessError) as error:
        case.target.restart(kill=True)
        return [f"the target was not whole: {error}"]


def aborts(trials: int, seed: int, folder: Path, kinds: Sequence[str] = ()) -> Iterator[Abort]:
    """That many trials, the faults (of ``kinds``, or all) in turn."""
    dice = random.Random(seed)
    faults: list[Fault] = [dose.fault for dose in DOSES]
    faults.append(parallel(SemanticLatency(50.0), ConsolidationFailure(1.0), BindingCorruption(0.5)))
    with Bench(folder) as bench:
        able = [fault for fault in faults if not kinds or fault.kind in kinds]
        able = [fault for fault in able if not bench.case(fault).lacks(fault)]
        for number in range(trials if able else 0):
            fault = able[number % len(able)]
            try:
                yield abort(fault, bench.case(fault), dice.uniform(0.0, _LATEST_S))
            except FaultError as error:  # the machine would not take it this time; that is no abort
                print(f"not injected: {fault.describe()}: {error}", file=sys.stderr)


def quantile(found: list[Abort], q: float, of: Callable[[Abort], float] = lambda one: one.healed_s) -> float:
    """Of the times, in seconds."""
    times = sorted(of(one) for one in found)
    return times[min(len(times) - 1, int(q * len(times)))]


def classes(found: list[Abort]) -> dict[str, str]:
    """How each kind is healed: by a restart, where the target was ever started for it."""
    restarted = {one.fault for one in found if one.how == RESTART}
    return {kind: RESTART if kind in restarted else IN_PLACE for kind in sorted({one.fault for one in found})}


def table(found: list[Abort]) -> str:
    """A line per kind, one for each way of healing, and all of them."""
    heads = ["fault", "healed", "aborts", NEVER, UNSEEN, IN_FORCE, "left", "heal begins p99 s", "undone p50 s", "p99 s"]
    heads += ["start of the target p50 s", "all healed p50 s", "p99 s", "worst s"]
    text = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    known = classes(found)
    for way in (IN_PLACE, RESTART):
        kinds = [kind for kind in known if known[kind] == way]
        text += [_row(kind, way, [one for one in found if one.fault == kind]) for kind in kinds]
    for way in (IN_PLACE, RESTART):
        text.append(_row(f"**{way}**", way, [one for one in found if known[one.fault] == way]))
    text.append(_row("**all**", "", found))
    return "\n".join(text)


def _row(name: str, way: str, rows: list[Abort]) -> str:
    cells = [name, way, str(len(rows))]
    cells += [str(sum(one.phase == phase for one in rows)) for phase in (NEVER, UNSEEN, IN_FORCE)]
    cells.append(str(sum(bool(one.left) for one in rows)))
    went_in = [one for one in rows if one.phase != NEVER]
    started = [one for one in went_in if one.how == RESTART]
    cells.append(_shown(went_in, 0.99, lambda one: one.begun_s))
    cells += [_shown(went_in, q, lambda one: one.undone_s) for q in (0.5, 0.99)]
    cells.append(_shown(started, 0.5, lambda one: one.start_s))
    cells += [_shown(went_in, q, lambda one: one.healed_s) for q in (0.5, 0.99, 1.0)]
    return f"| {' | '.join(cells)} |"


def _shown(rows: list[Abort], q: float, of: Callable[[Abort], float]) -> str:
    return f"{quantile(rows, q, of):.3f}" if rows else "-"


def shortfalls(found: list[Abort]) -> list[str]:
    """What is not as it must be, in words; empty where all was healed in time and nothing was left."""
    went_in = [one for one in found if one.phase != NEVER]
    said = [] if went_in else ["no fault went in"]
    said += [f"{one.fault} left {one.left}" for one in found if one.left]
    if went_in and (p99 := quantile(went_in, 0.99)) > LIMIT_S:
        said.append(f"all healed p99 {p99:.2f} s is above {LIMIT_S:g} s")
    return said


def document(found: list[Abort], trials: int, seed: int, took_s: float, where: str) -> str:
    """The whole of ``docs/aborts.md``; ``where`` says what machine and commit."""
    short = shortfalls(found)
    verdict = "Not as it must be: " + "; ".join(short) + "." if short else "As it must be, and nothing was left."
    return (
        "# From an abort condition to all healed\n\n"
        f"Written by `make aborts TRIALS={trials}` (seed {seed}, {_spent(took_s, len(found))}). {where}\n\n"
        "Every fault of the catalogue is put into a live reference Engram; at a random instant within "
        f"{_LATEST_S:g} s an abort condition is met, and the clock runs from then. The watch looks every "
        f"{TICK_S * 1000:.0f} ms, so an eighth of a second of each is its pace. *Undone*: everything that the harness "
        "did to the target is taken back; where the target has to be started for that, its process is started. *All "
        "healed*: the last heal is acknowledged, and a target that was down answers healthy again. *Start of the "
        "target*: the time between the two, which is the service's own and no doing of the harness.\n\n"
        f"The promise is all healed within {LIMIT_S:g} s at the 99th percentile. Faults healed in place hold it of "
        "any service that answers the heal. For those healed by a restart the harness promises that all is *undone* in "
        "that time; when the service is ready again is up to how fast it starts on its data: the reference leaves "
        f"room for it, one that takes longer to start is healed that much later. {verdict}\n\n"
        f"{table(found)}\n"
    )


def _spent(took_s: float, trials: int) -> str:
    return f"{took_s / 60:.0f} min, {took_s / max(1, trials):.1f} s a trial"


def main() -> int:
    """Measure, print, write the document where asked; exit status 1 where it took too long or something was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", default=[], help="only faults of this kind; may be repeated")
    parser.add_argument("--document", action="store_true", help="write docs/aborts.md")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="engram-aborts-") as folder, Provenance() as machine:
        found: list[Abort] = []
        try:
            for one in aborts(given.trials, given.seed, Path(folder), given.fault):
                found.append(one)
                print(f"{one.fault} · {one.phase} · {one.how} · {one.healed_s:.3f} s · {one.left}", flush=True)
        except HealFailed as error:  # at the end; its own row says as much
            print(error, file=sys.stderr)
    if found:
        print(table(found))
    print(machine.sentence)
    for short in shortfalls(found):
        print(short)
    if given.document:
        took_s = time.monotonic() - started
        DOCUMENT.write_text(document(found, given.trials, given.seed, took_s, machine.sentence), encoding="utf-8")
    return 1 if shortfalls(found) else 0


if __name__ == "__main__":
    sys.exit(main())
