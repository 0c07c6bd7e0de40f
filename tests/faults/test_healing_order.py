"""Two heals of one thing: the older entry, which knows what was there first, has the last word."""

from __future__ import annotations

from pathlib import Path

from harness.faults.healing import heal_journal
from harness.faults.journal import FAULT, VERSION
from harness.faults.recipe import HttpRecipe, to_json
from harness.timeline.jsonl import dump_line
from tests.engram.stub import Stub, always, http

NOBODY = {"pid": 2**22 + 1, "start_time": 1, "boot": "another boot"}


def journal_of(folder: Path, url: str, acknowledged: dict[int, bool]) -> Path:
    """A dead harness' journal with one entry for each id, each healed by its own body to one place."""
    path = folder / "dead.jsonl"
    lines: list[dict[str, object]] = [
        {"entry": "opened", "version": VERSION, "owner": NOBODY, "program": "x", "ledger": str(folder / "none")}
    ]
    for number, acked in acknowledged.items():
        recipe = HttpRecipe("POST", url, f'{{"entry": {number}}}')
        lines.append(
            {"entry": "intent", "id": number, "what": f"flags {number}", "lifetime": FAULT, "slot": f"slot {number}"}
            | {"target": url, "recipes": [to_json(recipe)]}
        )
        if acked:
            lines.append({"entry": "injected", "id": number})
    path.write_bytes(b"".join(dump_line({**line, "t": 0.0}) for line in lines))
    return path


def healed(tmp_path: Path, acknowledged: dict[int, bool]) -> list[int]:
    """The ids in the order in which their heals arrived."""
    with Stub(always(http(200, b"{}"))) as stub:
        report = heal_journal(journal_of(tmp_path, f"{stub.url}/flags", acknowledged), "test", deadline_s=5.0)
        assert report.clean
        return [int(request.rpartition(b": ")[2].rstrip(b"}")) for request in stub.requests]


def test_the_newest_goes_first(tmp_path: Path) -> None:
    assert healed(tmp_path, {1: True, 2: True, 3: True}) == [3, 2, 1]


def test_what_is_sent_again_is_followed_by_what_came_after_it(tmp_path: Path) -> None:
    assert healed(tmp_path, {1: True, 2: False, 3: True}) == [3, 2, 1, 2, 1]
