"""``make defects``: every known defect against the drill that must catch it, and the healthy target against all.

Writes ``docs/defects.md``. Exits 1 where a defect passes at its largest magnitude, is caught for another reason than
the one it is known for, where the healthy target does not pass, or where idle injectors earn a PASS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.defects.catalogue import DRILLS, Entry, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "defects.md"


@dataclass(frozen=True)
class Job:
    """One run of one drill. ``last``: the largest magnitude of a sweep, which must be caught."""

    kind: str
    label: str
    drill: str
    options: tuple[str, ...]
    because: str = ""
    last: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    job: Job
    verdict: str
    reason: str
    attempts: int

    @property
    def good(self) -> bool:
        """Whether it is what was to be shown."""
        if self.job.kind == "healthy":
            return self.verdict == "PASS"
        if self.job.kind == "idle":
            return self.verdict == "NOT_EXERCISED"
        if not self.job.last:
            return True
        return self.verdict != "PASS" and self.job.because in self.reason


def jobs_of(entries: list[Entry], sweep: bool) -> list[Job]:
    """Healthy and idle runs of every drill, then every defect; with ``sweep`` at every magnitude."""
    jobs = [Job("healthy", "none", drill, ()) for drill in DRILLS]
    idle = ("-p", "tests.defects.idle_injectors")
    jobs += [Job("idle", "injector does nothing", drill, idle) for drill in DRILLS if drill != "control"]
    for entry in entries:
        magnitudes: list[float | None] = list(entry.magnitudes) or [None]
        for magnitude in magnitudes if sweep else magnitudes[-1:]:
            label = entry.defect if magnitude is None else f"{entry.defect}={magnitude:g}"
            label += "".join(f" + {name}" for name in entry.also)
            last = magnitude == magnitudes[-1]
            options = tuple(entry.options(magnitude))
            jobs.append(Job("defect", label, entry.drill, options, entry.because, last))
    return jobs


def run(job: Job) -> Outcome:
    """Run one drill in a session of its own and read its verdict."""
    path, profile = DRILLS[job.drill]
    with tempfile.TemporaryDirectory(prefix="engram-defects-") as folder:
        command = [sys.executable, "-m", "pytest", path, "-q", "--profile", profile, "--results-dir", folder]
        command += ["-k", "75pct", *job.options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        sessions = sorted(Path(folder).iterdir())
        if not sessions or not (sessions[0] / "verdict.json").exists():
            return Outcome(job, "CRASHED", done.stdout[-300:] + done.stderr[-300:], 0)
        cases = json.loads((sessions[0] / "verdict.json").read_text())["cases"]
    last = cases[-1]
    return Outcome(job, last["verdict"], "; ".join(last["reasons"]), len(cases))


def row(outcome: Outcome) -> str:
    """A line of the table."""
    reason = outcome.reason.replace("|", "/").replace("\n", " ")
    reason = reason if len(reason) <= 220 else reason[:217] + "..."
    mark = "" if outcome.good else " **unexpected**"
    again = f" (attempt {outcome.attempts})" if outcome.attempts > 1 else ""
    return f"| `{outcome.job.label}` | {outcome.job.drill} | {outcome.verdict}{again}{mark} | {reason} |"


def document(outcomes: list[Outcome], planned: int) -> str:
    """The whole of ``docs/defects.md``; it says so where only some of the ``planned`` runs have been made."""
    head = "| defect | drill | verdict | reason |\n|---|---|---|---|\n"

    def table(kind: str) -> str:
        return head + "\n".join(row(o) for o in outcomes if o.job.kind == kind)

    caught = [o for o in outcomes if o.job.kind == "defect" and o.job.last]
    missing = planned - len(outcomes)
    partial = f"**Not finished: {missing} of {planned} runs are missing.**\n\n" if missing else ""
    return (
        "# What the drills catch\n\n"
        "Written by `make defects`: the reference Engram with one known bug at a time, against the drill that must "
        "notice. Where a defect has a magnitude it is swept, smallest first, so that the smallest one caught can be "
        "read off; a PASS above it is the drill's blind spot, stated and not hidden.\n\n"
        f"{partial}"
        f"{sum(o.good for o in caught)} of {len(caught)} defects are caught at their largest magnitude, for the "
        "reason they are known for.\n\n"
        f"## Healthy target\n\n{table('healthy')}\n\n"
        "## Injectors that do nothing\n\nThe injector answers as if it had acted. Never a PASS.\n\n"
        f"{table('idle')}\n\n## Defects\n\n{table('defect')}\n"
    )


def main() -> int:
    """Run what was asked for, print as it goes, write the document where all of it ran."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", action="append", default=[], metavar="NAME", help="these defects alone")
    arguments.add_argument("--no-sweep", action="store_true", help="largest magnitudes only")
    arguments.add_argument("--lanes", type=int, default=2, help="drills at a time")
    given = arguments.parse_args()
    jobs = jobs_of(load_catalogue(), not given.no_sweep)
    if given.only:
        jobs = [job for job in jobs if job.label.split("=")[0].split(" ")[0] in given.only]
    outcomes = []
    with ThreadPoolExecutor(given.lanes) as pool:
        for outcome in pool.map(run, jobs):
            outcomes.append(outcome)
            print(row(outcome), flush=True)
            if not given.only and not given.no_sweep:
                # After every run: half an hour's work is not lost to the last minute.
                DOCUMENT.parent.mkdir(exist_ok=True)
                DOCUMENT.write_text(document(outcomes, len(jobs)), encoding="utf-8")
    bad = [o for o in outcomes if not o.good]
    print(f"{len(outcomes)} runs, {len(bad)} not as they must be")
    return 1 if bad or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
