"""Each regression stops at its gate and is named; none is ever let pass."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.judge.gate import Decision
from harness.rollout.plan import load_plan
from harness.rollout.regressions import KINDS, parse_regression
from tests.rollout.regressions import ROWS, Row, full_size

PLAN = load_plan()
HOLDS = {row.name for row in ROWS if "vanish" in row.name}  # what is not there cannot be judged


# The canary's phase needs a large sample and takes a second each; `make rehearsals` runs every row.
QUICK = [r for r in ROWS if r.names and (r.phase != "5" or "+15" in r.name)]


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.name)
def test_a_regression_is_named_at_its_gate(row: Row) -> None:
    result = full_size(row)
    wanted = Decision.HOLD if row.name in HOLDS else Decision.NO_GO
    assert result.decision is wanted
    assert row.names in [a.criterion.id for a in result.of(wanted)]


def test_every_kind_of_the_command_is_in_the_table() -> None:
    assert {row.live for row in ROWS if row.live} == set(KINDS)
    assert len(KINDS) >= 12


@pytest.mark.parametrize("text", ["5", "5:tsunami", "60:leak", ":leak", ""])
def test_an_unknown_regression_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_regression(text, PLAN)
