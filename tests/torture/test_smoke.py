"""Ten kills of the torture: no residue, every run ABORTED. The whole of it is ``make torture``."""

from __future__ import annotations

from pathlib import Path

from harness.faults.catalogue import FAULTS
from tests.torture.doses import doses, undosed
from tests.torture.run import document, summary, torture

KINDS = ("semantic_latency", "binding_corruption", "process_crash", "network_latency")


def test_ten_kills_leave_nothing(tmp_path: Path) -> None:
    rows = list(torture(10, 2, 11, tmp_path, KINDS))
    dead = [row for row in rows if row["killed"]]
    text, bad = summary(rows)
    assert bad == [], text
    assert len(dead) == 10
    assert {row["verdict"] for row in dead} == {"ABORTED"}
    assert sum(row["step"] == "end" for row in rows) == 2, "each lane ends with one more heal"
    assert "| **all** | 10 |" in document(text, 10, 11, 1.0, [], "Commit abc.")


def test_every_kind_of_the_catalogue_is_tortured() -> None:
    assert undosed() == []
    assert set(doses()) == {fault.kind for fault in FAULTS} - {"no_fault"}


def test_a_residue_or_another_verdict_is_bad() -> None:
    row = {"number": 1, "kind": "x", "step": "random", "guardian_too": False, "whole": False, "killed": True}
    good = row | {"open_entries": 1, "healed_s": 0.1, "residual": "", "verdict": "ABORTED"}
    assert summary([good])[1] == []
    assert len(summary([good, good | {"residual": "a rule"}, good | {"verdict": "PASS"}])[1]) == 2
