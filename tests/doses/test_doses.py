"""Injectors that lie are told from honest ones; all of the catalogue is ``make doses``, a few are here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.doses.catalogue import DOSES, Dose
from tests.doses.table import document, summary, untried
from tests.doses.trial import HONEST, LIES, Bench, Row

BY_KIND = {dose.fault.kind: dose for dose in DOSES}
# Of Engram's own chaos API, of those that take it down, and of the proxy's.
FEW = [BY_KIND["binding_corruption"], BY_KIND["double_crash"], BY_KIND["black_hole"]]
# How long half a dose may try to fool in these few; ``make doses`` gives it as long as the fault itself.
HALF_S = 3.0
ROW = Row(BY_KIND["black_hole"].name, "half", False, False, "NOT_EXERCISED", "as before", "", 1.0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("doses")) as bench:
        yield bench


@pytest.mark.parametrize("dose", FEW, ids=lambda dose: dose.fault.kind)
@pytest.mark.parametrize("lie", [HONEST, *LIES])
def test_a_lie_is_never_taken_for_the_fault(dose: Dose, lie: str, bench: Bench) -> None:
    if why := bench.lacks(dose):
        pytest.skip(why)
    row = bench.trial(dose, lie, HALF_S)
    assert row.good, row
    assert row.verdict == ("PASS" if lie == HONEST else "NOT_EXERCISED")


def test_every_kind_of_the_catalogue_is_tried() -> None:
    assert untried() == []
    assert len({dose.name for dose in DOSES}) == len(DOSES), "each dose has a name of its own"


def test_what_is_not_as_it_must_be_is_bold() -> None:
    black_hole = [BY_KIND["black_hole"]]
    fooled = replace(ROW, lie="nothing", seen=True, verdict="PASS")
    left = replace(ROW, lie="late", residual="a rule")
    blind = replace(ROW, lie=HONEST)
    assert [row.good for row in (ROW, fooled, left, blind)] == [True, False, False, False]
    text = summary([ROW, fooled, left, blind], black_hole)
    assert text.splitlines()[-1].split(" | ")[2:] == [
        "**NOT_EXERCISED**",
        "**PASS**",
        "NOT_EXERCISED",
        "-",
        "**NOT_EXERCISED; left: a rule** |",
    ]
    assert "3 false injections, 2 not told" in document(text, [ROW, fooled, left, blind], [], 60.0, "Commit abc.")
