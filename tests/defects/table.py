"""``make defects``: every known defect against the drill that must catch it, and the healthy target against all.

Writes ``docs/defects.md`` after every run, from ``results/defects/runs.jsonl``; ``--resume`` goes on where it was cut
off. Runs that decided nothing are made once more at the end, alone on the machine; a FAIL or a PASS never is. Exits 1
where a defect is not caught at its largest magnitude for the reason it is known for, where the healthy target does not
pass, or where idle injectors earn more than NOT_EXERCISED; 130 when interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from harness.cores import keep_to_share
from tests.defects.catalogue import load_catalogue, load_drills
from tests.defects.runs import ROOT, Job, Kept, Outcome, as_it_must_be, caught, commit_of, jobs_of, run

DOCUMENT = ROOT / "docs" / "defects.md"
RUNS = ROOT / "results" / "defects" / "runs.jsonl"
_HEAD = "| defect | drill | verdict | reason |\n|---|---|---|---|\n"


def row(job: Job, outcome: Outcome) -> str:
    """A line of the table."""
    reason = "; ".join(outcome.reasons).replace("|", "/").replace("\n", " ")
    reason = reason if len(reason) <= 220 else reason[:217] + "..."
    mark = "" if as_it_must_be(job, outcome) else " **unexpected**"
    again = f" (attempt {outcome.attempts})" if outcome.attempts > 1 else ""
    return f"| `{job.label}` | {job.drill.name} | {outcome.verdict}{again}{mark} | {reason} |"


def document(jobs: Sequence[Job], outcomes: dict[str, Outcome]) -> str:
    """The whole of ``docs/defects.md``; it says so where only some of the runs have been made."""
    made = [(job, outcomes[job.key]) for job in jobs if job.key in outcomes]

    def table(kind: str) -> str:
        return _HEAD + "\n".join(row(job, outcome) for job, outcome in made if job.kind == kind)

    last = [(job, outcome) for job, outcome in made if job.kind == "defect" and job.last]
    missing = len(jobs) - len(made)
    partial = f"**Not finished: {missing} of {len(jobs)} runs are missing; `make defects ARGS=--resume` goes on.**\n\n"
    undecided = sum(outcome.undecided for _, outcome in last)
    return (
        "# What the drills catch\n\n"
        "Written by `make defects`: the reference Engram with one known bug at a time, against the drill that must "
        "notice. Where a defect has a magnitude it is swept, smallest effect first; a PASS is the drill's blind spot, "
        "stated and not hidden. INCONCLUSIVE has caught nothing: it says that the machine or the sample could not "
        "tell.\n\n"
        f"{partial if missing else ''}"
        f"{_how(made)}\n\n"
        f"{sum(caught(*pair) for pair in last)} of {len(last)} defects are caught at their largest magnitude, for the "
        f"reason they are known for; {undecided} are undecided.\n\n"
        f"## Healthy target\n\n{table('healthy')}\n\n"
        "## Injectors that do nothing\n\nThe injector answers as if it had acted. Never a PASS.\n\n"
        f"{table('idle')}\n\n"
        "## The smallest magnitude caught\n\n"
        "From this one on every magnitude tried was caught; a magnitude's meaning stands in "
        "`python -m harness.reference --list-defects`.\n\n"
        f"{_smallest(made)}\n\n"
        f"## Defects\n\n{table('defect')}\n"
    )


def _how(made: Sequence[tuple[Job, Outcome]]) -> str:
    """How these runs were made, as far as it bears on what they are worth."""
    if not made:
        return "No run was made yet."
    found = [outcome for _, outcome in made]
    loads, commits = sorted(o.load for o in found), [o.commit for o in found]
    lanes = {n: sum(o.lanes == n for o in found) for n in sorted({o.lanes for o in found})}
    side = ", ".join(
        f"{count} with {'nothing beside them' if n == 1 else f'{n} at a time'}" for n, count in lanes.items()
    )
    which = ", ".join(f"{commits.count(name)} of {name}" for name in dict.fromkeys(commits))
    hours = sum(o.seconds for o in found) / 3600
    return (
        f"{len(found)} runs ({side}), {hours:.1f} hours of drills; load average of the machine {loads[0]:g} to "
        f"{loads[-1]:g}, in the middle {loads[len(loads) // 2]:g}; commits: {which}."
    )


def _smallest(made: Sequence[tuple[Job, Outcome]]) -> str:
    sweeps: dict[str, list[tuple[Job, Outcome]]] = {}
    for job, outcome in made:
        if job.kind == "defect" and job.magnitude is not None:
            sweeps.setdefault(job.defect, []).append((job, outcome))
    lines = ["| defect | drill | caught from | missed at | undecided at |", "|---|---|---|---|---|"]
    for defect, sweep in sweeps.items():
        from_on = None
        for job, outcome in reversed(sweep):
            if not caught(job, outcome):
                break
            from_on = job.magnitude
        missed = [f"{j.magnitude:g}" for j, o in sweep if not caught(j, o) and not o.undecided]
        open_ = [f"{j.magnitude:g}" for j, o in sweep if o.undecided]
        shown = "**nothing**" if from_on is None else f"{from_on:g}"
        lines.append(f"| `{defect}` | {sweep[0][0].drill.name} | {shown} | {', '.join(missed)} | {', '.join(open_)} |")
    return "\n".join(lines)


class Table:
    """The runs of one call: what is to be made, how, and where it is written."""

    def __init__(self, jobs: Sequence[Job], kept: Kept, page: Path | None) -> None:
        self._jobs = jobs
        self._kept = kept
        self._page = page
        self._commit = commit_of()

    def make(self, jobs: Sequence[Job], lanes: int) -> None:
        """Make runs, ``lanes`` at a time, each on cores of its own; each is on disk before the next is told."""
        number = itertools.count()
        # The cores of a thread are those of the processes it starts.
        pool = ThreadPoolExecutor(lanes, initializer=lambda: keep_to_share(next(number), lanes))
        futures = {pool.submit(run, job, lanes, self._commit): job for job in jobs}
        try:
            for done in as_completed(futures):
                job, outcome = futures[done], done.result()
                if self._page is None:
                    self._kept.outcomes[job.key] = outcome
                else:
                    outcome = self._kept.keep(job, outcome)
                    self._page.parent.mkdir(exist_ok=True)
                    self._page.write_text(document(self._jobs, self._kept.outcomes), encoding="utf-8")
                print(row(job, outcome), flush=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def undecided(self, jobs: Sequence[Job]) -> list[Job]:
        """Which of them decided nothing."""
        return [job for job in jobs if job.key in self._kept.outcomes and self._kept.outcomes[job.key].undecided]


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for, print as it goes, write the document."""
    parser = argparse.ArgumentParser(prog="make defects", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="these defects alone")
    parser.add_argument("--no-sweep", action="store_true", help="largest magnitudes only")
    parser.add_argument("--lanes", type=int, default=2, help="drills at a time (default 2)")
    parser.add_argument(
        "--resume", action="store_true", help="keep the runs already made; with --only, make those anew"
    )
    parser.add_argument("--document", action="store_true", help="write the document from the runs kept, make none")
    given = parser.parse_args(words)
    every = jobs_of(load_catalogue(), load_drills(), sweep=True)
    wanted = [job for job in every if job.defect in given.only] if given.only else every
    wanted = [job for job in wanted if job.last] if given.no_sweep else wanted
    if not wanted or given.lanes < 1:
        print(
            f"there is nothing to run: no defect named {', '.join(given.only)}" if given.only else "--lanes is below 1"
        )
        return 3
    kept = Kept(RUNS)
    # A look at one defect, or at the largest magnitudes, leaves no trace; the whole table does.
    page = DOCUMENT if given.resume or given.document or len(wanted) == len(every) else None
    if given.resume or given.document:
        kept.read()
    elif page is not None:
        kept.forget()
    if given.document:
        DOCUMENT.write_text(document(every, kept.outcomes), encoding="utf-8")
        return 0
    todo = wanted if given.only else [job for job in wanted if job.key not in kept.outcomes]
    table = Table(every, kept, page)
    try:
        table.make(todo, given.lanes)
        table.make(table.undecided(wanted if given.resume else todo), 1)
    except KeyboardInterrupt:
        print("interrupted" + ("; --resume goes on" if page else ""))
        return 130
    bad = [job for job in wanted if not as_it_must_be(job, kept.outcomes[job.key])]
    print(f"{len(wanted)} runs, {len(bad)} not as they must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
