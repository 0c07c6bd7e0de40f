"""One lost memory among many is found and named; the full 100,000 are ``python -m tests.torture.one_in_many``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.one_in_many import run


@pytest.mark.parametrize(("defects", "lost"), [(("lost_nth=600",), 1), ((), 0)], ids=["one lost", "healthy"])
def test_one_in_six_hundred(tmp_path: Path, defects: tuple[str, ...], lost: int) -> None:
    found = run(tmp_path, 600, defects)
    assert (found.acknowledged, found.lost, found.unreachable) == (600, lost, 0)
    assert len(found.examples.get("lost", [])) == lost
