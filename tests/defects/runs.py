"""The runs of ``make defects``: which there are, making one, and the file they are kept in so that none is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model import Verdict
from tests.defects.catalogue import Drill, Entry

ROOT = Path(__file__).resolve().parents[2]
CRASHED = "CRASHED"  # no verdict at all
UNDECIDED = frozenset({Verdict.INCONCLUSIVE.value, Verdict.ABORTED.value, CRASHED})  # cut short says nothing either


@dataclass(frozen=True)
class Job:
    """One run of one drill. ``last``: the largest magnitude of a sweep, which must be caught."""

    kind: str
    label: str
    drill: Drill
    options: tuple[str, ...]
    because: str = ""
    last: bool = True
    defect: str = ""
    magnitude: float | None = None

    @property
    def key(self) -> str:
        """What a run of this job is found again by."""
        return f"{self.kind} {self.label} {self.drill.name}"


@dataclass(frozen=True)
class Outcome:
    """What a run came to. ``attempts`` counts over all runs of the job; ``load`` is the machine's, over a minute."""

    verdict: str
    reasons: tuple[str, ...]
    attempts: int
    seconds: float
    load: float
    lanes: int
    commit: str

    @property
    def undecided(self) -> bool:
        """Whether it says nothing; only such a run may be made again."""
        return self.verdict in UNDECIDED

    def names(self, because: str) -> bool:
        """Whether a reason names ``because``, as whole words: 'heal' does not stand in '/health'."""
        wanted = re.compile(rf"(?<!\w){re.escape(because.strip())}(?!\w)")
        return any(wanted.search(reason) for reason in self.reasons)


def caught(job: Job, outcome: Outcome) -> bool:
    """Whether a defect was caught for the reason it is known for; an undecided run has caught nothing."""
    return not outcome.undecided and outcome.verdict != Verdict.PASS and outcome.names(job.because)


def as_it_must_be(job: Job, outcome: Outcome) -> bool:
    """Whether a run is what was to be shown."""
    if job.kind == "healthy":
        return outcome.verdict == Verdict.PASS
    if job.kind == "idle":
        return outcome.verdict == Verdict.NOT_EXERCISED
    return caught(job, outcome) or not job.last


def jobs_of(entries: list[Entry], drills: dict[str, Drill], sweep: bool) -> list[Job]:
    """Healthy and idle runs of every drill, then every defect; with ``sweep`` at every magnitude."""
    jobs = [Job("healthy", "none", drill, ()) for drill in drills.values()]
    idle = ("-p", "tests.defects.idle_injectors")
    jobs += [Job("idle", "injector does nothing", drill, idle) for drill in drills.values() if drill.idle]
    for entry in entries:
        magnitudes: list[float | None] = list(entry.magnitudes) or [None]
        for magnitude in magnitudes if sweep else magnitudes[-1:]:
            label = entry.defect if magnitude is None else f"{entry.defect}={magnitude:g}"
            label += "".join(f" + {name}" for name in entry.also)
            options, last = tuple(entry.options(magnitude)), magnitude == magnitudes[-1]
            drill = drills[entry.drill]
            jobs.append(Job("defect", label, drill, options, entry.because, last, entry.defect, magnitude))
    return jobs


def run(job: Job, lanes: int, commit: str) -> Outcome:
    """Run one drill in a session of its own and read its verdict."""
    begun = time.monotonic()
    # Options of whoever calls would change what is run.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENGRAM_")}
    environment |= {name: os.environ[name] for name in ("ENGRAM_STATE_DIR",) if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="engram-defects-") as folder:
        command = [sys.executable, "-m", "pytest", *job.drill.words(), "-q", "--results-dir", folder, *job.options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        sessions = sorted(Path(folder).iterdir())
        path = sessions[0] / "verdict.json" if sessions else None
        if path is None or not path.exists():
            verdict, reasons, attempts = CRASHED, ((done.stdout + done.stderr)[-300:],), 1
        else:
            verdict, reasons, attempts = _worst(json.loads(path.read_text())["cases"])
    seconds = time.monotonic() - begun
    return Outcome(verdict, reasons, attempts, round(seconds, 1), round(os.getloadavg()[0], 1), lanes, commit)


def _worst(cases: list[dict[str, Any]]) -> tuple[str, tuple[str, ...], int]:
    """Of every case its last attempt; of these the worst."""
    last: dict[str, dict[str, Any]] = {}
    for case in cases:
        last[str(case["name"]).split("~")[0]] = case
    if not last:
        return CRASHED, ("the session holds no case",), 1
    verdict = Verdict.worst(Verdict(case["verdict"]) for case in last.values())
    worst = next(case for case in last.values() if case["verdict"] == verdict.value)
    return verdict.value, tuple(str(reason) for reason in worst["reasons"]), len(cases) - len(last) + 1


class Kept:
    """The runs made so far, a line each; a torn last line costs that run alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, Outcome] = {}

    def read(self) -> None:
        """Take in what an earlier call left."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                value = json.loads(line)
                key = str(value.pop("key"))
                self.outcomes[key] = Outcome(**{**value, "reasons": tuple(value["reasons"])})
            except (ValueError, KeyError, TypeError):
                continue

    def forget(self) -> None:
        """Begin anew; what there was stands beside it."""
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".before.jsonl"))

    def keep(self, job: Job, outcome: Outcome) -> Outcome:
        """Write one run down, its attempts counted over all runs of the job."""
        earlier = self.outcomes.get(job.key)
        if earlier is not None:
            outcome = Outcome(**{**outcome.__dict__, "attempts": outcome.attempts + earlier.attempts})
        self.outcomes[job.key] = outcome
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": job.key, **outcome.__dict__}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return outcome


def commit_of() -> str:
    """The commit that is run, with a plus where files differ from it."""
    try:
        names = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=7"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return names.stdout.strip()
