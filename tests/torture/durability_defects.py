"""``python -m tests.torture.durability_defects``: each defect of durability under a crash, caught and named.

A drill in miniature for each: the durability load, the fault, the read-back and the judge of a drill, at a tenth of
its rate and with windows of a second or two, so that limits on latency and errors say nothing and only the read-back
decides. Prints a table; exit status 1 where a defect was not named or a healthy service was blamed.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.drilling import engram_toml
from harness.faults.base import Fault
from harness.faults.double_crash import DoubleCrash
from harness.faults.ledger import Ledger
from harness.faults.lost_unsynced import LostUnsynced
from harness.faults.no_fault import NoFault
from harness.faults.process_crash import ProcessCrash
from harness.judge.case import judge_case
from harness.judge.durability import BAD
from harness.runner import Experiment, ExperimentRun
from harness.scenario.profiles import load_profile
from harness.scenario.slo import load_objectives
from harness.scenario.workload import load_workload
from harness.settings import scenarios_folder
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.record import CaseWriter, read_case

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "durability.md"
RATE_OPS_PER_S = 60.0
ITEMS = 60


@dataclass(frozen=True)
class Trial:
    """A defect (empty: none), the fault that brings it out, and the classes its losses may have."""

    defect: str
    fault: Fault
    named: tuple[str, ...]


# An acknowledged write that is gone: the memory is lost, or shows the version before it (stale).
GONE = ("lost", "stale")
TRIALS = (
    Trial("", ProcessCrash(), ()),
    Trial("", DoubleCrash(), ()),
    Trial("", LostUnsynced(), ()),
    # Beside what the crash takes it resurrects, without one: a store that comes late undoes the delete after it.
    Trial("ack_before_write=0.5", ProcessCrash(), GONE),
    Trial("lost_tail=5", ProcessCrash(), GONE),
    Trial("never_synced", LostUnsynced(), GONE),
    Trial("second_generation_loss", DoubleCrash(), GONE),
    Trial("resurrected_deletes", ProcessCrash(), ("resurrected",)),
    Trial("lost_nth=10", NoFault(), GONE),
    Trial("leaked_write=10", NoFault(), ("leaked",)),
)


@dataclass(frozen=True)
class Found:
    """What the judge found: memories of each class that is above none, and how it says so."""

    trial: Trial
    acknowledged: int
    counts: dict[str, int]
    reason: str
    took_s: float
    injected: bool = True

    @property
    def good(self) -> bool:
        """The defect is named; a healthy service is not blamed."""
        if not self.injected:
            return False
        if not self.trial.named:
            return not self.counts and self.acknowledged > 0
        return any(self.counts.get(name) for name in self.trial.named) and "durability: " in self.reason


def run(trial: Trial, folder: Path) -> Found:
    """One miniature drill, judged from its record."""
    started = time.monotonic()
    scenarios = scenarios_folder()
    profile = load_profile(scenarios / "profiles.toml", "quick")
    profile = replace(profile, baseline_s=2.0, fault_s=1.5, after_s=1.5, rate_ops_per_s=RATE_OPS_PER_S)
    profile = replace(profile, min_achieved_share=0.5, max_schedule_lag_p99_ms=1e6)  # lateness loses nothing
    workload = load_workload(scenarios / "durability.toml").at_rate(RATE_OPS_PER_S)
    objectives = load_objectives(scenarios / "slo.toml").at_scale(300.0)
    wide = {
        name: replace(one, value=math.inf) for name, one in objectives.limits.items() if not name.startswith("drill_")
    }
    experiment = Experiment(
        name=folder.name,
        fault=trial.fault,
        workload=replace(workload, data=replace(workload.data, num_nodes=ITEMS)),
        profile=profile,
        objectives=replace(objectives, limits={**objectives.limits, **wide}),
        seed=1,
        cohort_rate=0.75,
    )
    writer = CaseWriter(folder)
    with Ledger(folder / "ledger.jsonl") as ledger:
        target = EmbeddedTarget(
            folder,
            config_text=engram_toml(profile),
            defects=(trial.defect,) if trial.defect else (),
            register=ledger.register_process,
            disk_shim="disk_shim" in trial.fault.wants,
        )
        ExperimentRun(experiment, target, writer, ledger).run()
    judgement = judge_case(read_case(folder))
    read_back = judgement.summary.read_back
    counts: dict[str, int] = {name: getattr(read_back, name) for name in BAD if getattr(read_back, name)}
    reason = next((text for text in judgement.reasons if text.startswith("durability: ")), "")
    injected = trial.fault.kind == NoFault.kind or judgement.summary.record.first("fault_in_force") is not None
    return Found(trial, read_back.acknowledged, counts, reason, time.monotonic() - started, injected)


def found(trials: Iterable[Trial], folder: Path) -> Iterator[Found]:
    """One after the other."""
    for number, trial in enumerate(trials):
        yield run(trial, folder / f"{number:02d}-{(trial.defect or 'none').partition('=')[0]}")


def table(rows: Iterable[Found]) -> str:
    """A line per trial."""
    text = ["| defect | fault | memories acknowledged | found | first of them |", "|---|---|---|---|---|"]
    for row in rows:
        counts = ", ".join(f"{count} {name}" for name, count in row.counts.items()) or "nothing"
        counts += "" if row.injected else ", the fault was never in force"
        first = row.reason.partition("read back: ")[2].partition("; space ")[0]
        shown = counts if row.good else f"**{counts}**"
        fault = row.trial.fault.describe()
        text.append(f"| {row.trial.defect or 'none'} | {fault} | {row.acknowledged} | {shown} | {first or '-'} |")
    return "\n".join(text)


def document(text: str, took_s: float) -> str:
    """The whole of ``docs/durability.md``."""
    return (
        "# Nothing acknowledged is lost: the checker's own trial\n\n"
        f"Written by `make durability` ({took_s / 60:.0f} min). The reference Engram with each of its defects of "
        "durability, and without, under the durability load, through the fault that brings the defect out; then "
        "everything is read back and judged as in a drill. Right after the heal the memories that were written last "
        "before it are read, too: the load soon overwrites them, and with them what a crash took. A memory is *lost* "
        "where nothing is there, *stale* where an acknowledged write of it is lost and the version before is shown, "
        "*resurrected* where an acknowledged delete is undone, *leaked* where it shows a write to another space. "
        "Bold: not as it must be.\n\n"
        f"{text}\n"
    )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--defect", action="append", default=[], help="only those whose name begins so")
    parser.add_argument("--folder", type=Path, help="keep the records here (default: a temporary directory)")
    parser.add_argument("--document", action="store_true", help="write docs/durability.md")
    given: Any = parser.parse_args()
    chosen = [t for t in TRIALS if not given.defect or any(t.defect.startswith(name) for name in given.defect)]
    keep = nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory(prefix="engram-durability-")
    with keep as folder:
        rows = list(found(chosen, Path(folder)))
    print(table(rows))
    if given.document:
        DOCUMENT.write_text(document(table(rows), sum(row.took_s for row in rows)), encoding="utf-8")
    return 0 if rows and all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
