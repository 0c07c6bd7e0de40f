"""The table of defects: complete, honest about what decided nothing, and not lost when it is cut off."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.rollout.regressions import KINDS
from tests.defects import table as page
from tests.defects.catalogue import Drill, load_catalogue, load_drills
from tests.defects.runs import ROOT, Job, Kept, Outcome, as_it_must_be, caught, jobs_of
from tests.soak.defects import ROWS

# Defects of rollbacks, caught by the rollout's own checks and not by a drill.
OF_ROLLBACKS = {"replica_not_reached", "latency_stays", "restore_loses_memory"}
# Seen by comparing cohorts (tests/reference/test_quality_defects.py): no drill compares the quality of two.
QUALITY = {
    "quality_overlap", "recall_misses", "partial_cue_no_gain", "convergence_lost", "completion_overused",
    "semantic_late", "canary_slow",
}  # fmt: skip
# Each stops a rehearsal at its gate (docs/rehearsal.md).
OF_REHEARSALS = {defect.partition("=")[0] for regression in KINDS.values() for defect in regression.defects}
DRILL = Drill("control", "drills/control", "quick", "", idle=False)
FAIL = Outcome("FAIL", ("during.error_rate = 0.5, must be <= 0.001",), 1, 40.0, 0.5, 2, "abc")
PASS = replace(FAIL, verdict="PASS", reasons=())
OPEN = replace(FAIL, verdict="INCONCLUSIVE", reasons=("baseline.error_rate straddles",))
JOB = Job("defect", "error_rate=0.05", DRILL, (), "error_rate", True, "error_rate", 0.05)


def test_every_known_defect_has_its_row() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "harness.reference", "--list-defects"], capture_output=True, text=True, check=True
    )
    known = {line.split("=")[0].split()[0] for line in told.stdout.splitlines() if line[:1].strip()}
    rows = {entry.defect for entry in load_catalogue()}
    of_soaks = {row.defect.partition("=")[0] for row in ROWS}
    assert len(known) >= 50
    assert known - rows - of_soaks - OF_ROLLBACKS - OF_REHEARSALS - QUALITY == set()
    assert rows <= known


def test_every_drill_is_there_and_run_healthy_and_idle() -> None:
    drills = load_drills()
    assert all((ROOT / drill.path.split("::")[0]).exists() for drill in drills.values())
    jobs = jobs_of(load_catalogue(), drills, sweep=True)
    assert len({job.key for job in jobs}) == len(jobs)
    assert {job.drill.name for job in jobs if job.kind == "healthy"} == set(drills)
    assert {job.drill.name for job in jobs if job.kind == "idle"} == set(drills) - {
        "control",
        "monitoring",
        "phase0_load",
    }
    assert all(job.because for job in jobs if job.kind == "defect")


@pytest.mark.parametrize(
    ("text", "told"),
    [('[x]\ndrill = "nowhere"\nbecause = "y"\n', "nowhere"), ('[x]\ndrill = "control"\n', "because")],
)
def test_a_row_that_cannot_be_run_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_catalogue(path)


def test_an_undecided_run_has_caught_nothing() -> None:
    assert caught(JOB, FAIL) and as_it_must_be(JOB, FAIL)
    assert not caught(JOB, OPEN) and not as_it_must_be(JOB, OPEN)
    assert not caught(JOB, PASS) and not as_it_must_be(JOB, PASS)
    assert not caught(JOB, replace(FAIL, verdict="ABORTED"))
    assert as_it_must_be(replace(JOB, last=False), PASS)


def test_a_reason_must_name_it_in_whole_words() -> None:
    heal = replace(JOB, because="heal")
    assert not caught(heal, replace(FAIL, reasons=("fault: no effect was seen: /health answers 200",)))
    assert caught(heal, replace(FAIL, reasons=("heal: healed and acknowledged, yet 60 are invalid",)))
    assert not caught(replace(JOB, because="latency_ms"), FAIL)


def test_healthy_must_pass_and_idle_must_not_be_exercised() -> None:
    healthy, idle = replace(JOB, kind="healthy"), replace(JOB, kind="idle")
    assert as_it_must_be(healthy, PASS) and not as_it_must_be(healthy, OPEN)
    assert as_it_must_be(idle, replace(FAIL, verdict="NOT_EXERCISED"))
    assert not as_it_must_be(idle, PASS) and not as_it_must_be(idle, OPEN)


def test_what_was_run_is_kept_through_a_torn_line(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "runs.jsonl")
    kept.keep(JOB, OPEN)
    kept.keep(JOB, FAIL)
    with kept.path.open("a") as file:
        file.write('{"key": "defect torn')
    again = Kept(kept.path)
    again.read()
    assert again.outcomes == {JOB.key: replace(FAIL, attempts=2)}
    again.forget()
    assert not kept.path.exists() and kept.path.with_suffix(".before.jsonl").exists()


def test_the_page_says_what_is_missing_and_what_is_smallest() -> None:
    sweep = [replace(JOB, label=f"error_rate={m:g}", magnitude=m, last=m == 4.0) for m in (1.0, 2.0, 3.0, 4.0)]
    found = dict(zip((job.key for job in sweep), (PASS, OPEN, FAIL, FAIL), strict=True))
    whole = page.document(sweep, found)
    assert "Not finished" not in whole and "1 of 1 defects are caught" in whole and "0 are undecided" in whole
    assert "| `error_rate` | control | 3 | 1 | 2 |" in whole
    del found[sweep[-1].key]
    part = page.document(sweep, found)
    assert "Not finished: 1 of 4 runs" in part and "0 of 0 defects" in part


def test_it_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[str, int]] = []

    def run(job: Job, lanes: int, commit: str) -> Outcome:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((job.key, lanes))
        if job.kind == "healthy":
            return OPEN if len([key for key, _ in made if key == job.key]) == 1 else PASS
        if job.kind == "idle":
            return replace(FAIL, verdict="NOT_EXERCISED")
        return replace(FAIL, reasons=(job.because,))

    monkeypatch.setattr(page, "run", run)
    monkeypatch.setattr(page, "RUNS", tmp_path / "defects" / "runs.jsonl")
    monkeypatch.setattr(page, "DOCUMENT", tmp_path / "defects.md")
    assert page.main(["--lanes", "1"]) == 130
    assert "--resume goes on" in capsys.readouterr().out
    assert "Not finished" in (tmp_path / "defects.md").read_text()
    first = [key for key, _ in made]
    made.extend([("", 0)] * 1000)  # no second interruption
    assert page.main(["--resume", "--lanes", "2"]) == 0
    later = [pair for pair in made[len(first) :] if pair[0]]
    again = [pair for pair in later if pair[0] in first]
    assert again == [(key, 1) for key in first]  # undecided before: once more, alone
    assert "**unexpected**" not in (tmp_path / "defects.md").read_text()
    assert page.main(["--only", "no_such_defect"]) == 3
