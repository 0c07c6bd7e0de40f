"""``harness drill`` runs all drills unless some are named; the value of an option names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands.drill import names_drills
from tests.drills.session import ROOT

DRILLS = ROOT / "drills"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], False),
        (["-k", "control"], False),
        (["--results-dir", "DIR"], False),
        (["--results-dir=DIR"], False),
        (["--scenario", "scenarios/drill.toml", "-x"], False),
        (["drills/control"], True),
        (["-x", "drills/control/test_no_fault.py::test_nothing_injected_nothing_degraded"], True),
        (["--strict-capabilities", "drills/control"], True),
        (["--results-dir", "DIR", "drills/control"], True),
        (["-q", "DIR"], True),
        (["--collect-only", "DIR"], True),
        (["DIR"], True),
        (["drills/no_such_family"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_names_drills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], named: bool) -> None:
    monkeypatch.chdir(ROOT)
    assert names_drills([word.replace("DIR", str(tmp_path)) for word in words], DRILLS) is named
