"""The ledger: on disk before anything is done, lenient when read, silent about secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.errors import FaultError, HealFailed, RecordError, RecordTooNew, TargetBusy
from harness.faults import state
from harness.faults.healing import heal_all, heal_journal
from harness.faults.journal import read_journal
from harness.faults.ledger import Ledger
from harness.faults.recipe import HttpRecipe
from harness.timeline.jsonl import read_lines
from tests.engram.stub import Stub, always, http

URL = "http://127.0.0.1:9"
DEAD = {"pid": 1, "start_time": 1, "boot": "another boot"}


def heal_at(url: str) -> tuple[HttpRecipe, ...]:
    return (HttpRecipe("POST", f"{url}/heal", "{}", "ENGRAM_API_KEY"),)


def open_ledger(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.jsonl", guard=False)


def make_stale(journal: Path, **header: object) -> None:
    """Turn a journal into that of a harness that is dead."""
    lines = journal.read_text().splitlines(keepends=True)
    first = {**json.loads(lines[0]), "owner": DEAD, **header}
    journal.write_text(json.dumps(first) + "\n" + "".join(lines[1:]))


def test_an_intent_is_on_disk_with_its_recipe_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", "s3cr3t")
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with open_ledger(tmp_path) as ledger:
        synced.clear()
        number = ledger.intent("slow", target=URL, slot="latency", recipes=heal_at(URL), expires=5.0)
        assert len(synced) == 2
        entry = read_journal(ledger.journal_path).entries[number]
        assert (entry.recipes, entry.expires, entry.acknowledged) == (heal_at(URL), 5.0, False)
        ledger.injected(number)
        assert read_journal(ledger.journal_path).entries[number].acknowledged
        for path in (ledger.journal_path, tmp_path / "ledger.jsonl"):
            assert "s3cr3t" not in path.read_text()
        ledger.healed(number, "by hand")
    assert not ledger.journal_path.exists()
    assert [line["entry"] for line in read_lines(tmp_path / "ledger.jsonl")] == ["intent", "injected", "healed"]


def test_two_of_a_kind_on_one_target_are_refused(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        first = ledger.intent("slow", target=URL, slot="latency", recipes=heal_at(URL))
        with pytest.raises(FaultError, match="slow is in force already"):
            ledger.intent("slower", target=URL, slot="latency", recipes=heal_at(URL))
        other = ledger.intent("other", target=URL, slot="another", recipes=heal_at(URL))
        ledger.healed(first)
        ledger.healed(other)


def test_a_full_disk_is_noticed_before_anything_is_done(state_dir: Path) -> None:
    ledger = Ledger(Path("/dev/full"), guard=False)
    with pytest.raises(RecordError, match="No space left"):
        ledger.intent("slow", target=URL, slot="latency", recipes=heal_at(URL))
    assert ledger.open_entries == ()
    ledger.close()
    assert state.journals(state_dir) == []


def test_a_record_that_cannot_be_opened_is_an_error(tmp_path: Path, state_dir: Path) -> None:
    with pytest.raises(RecordError, match="cannot open"):
        Ledger(tmp_path / "missing" / "ledger.jsonl", guard=False)
    assert state.journals(state_dir) == []


def test_what_is_open_at_the_end_is_said_and_anybody_may_heal_it(tmp_path: Path) -> None:
    with Stub(always(http(200))) as stub:
        ledger = open_ledger(tmp_path)
        ledger.claim(stub.url)
        ledger.intent("slow", target=stub.url, slot="latency", recipes=heal_at(stub.url))
        assert heal_all().in_use
        with pytest.raises(TargetBusy, match="another harness"):
            open_ledger(tmp_path).claim(stub.url)
        with pytest.raises(HealFailed, match="slow on"):
            ledger.close()
        ledger.close()
        with open_ledger(tmp_path) as after:
            assert after.claim(stub.url).healed == [f"slow on {stub.url}"]


def test_the_case_keeps_its_own_error_when_a_heal_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the case") as raised, open_ledger(tmp_path) as ledger:
        ledger.intent("slow", target=URL, slot="latency", recipes=heal_at(URL))
        raise ValueError("the case")
    assert "still in force at the end" in raised.value.__notes__[0]


def stale_journal(tmp_path: Path, url: str, **header: object) -> Path:
    ledger = open_ledger(tmp_path)
    ledger.injected(ledger.intent("slow", target=url, slot="latency", recipes=heal_at(url)))
    with pytest.raises(HealFailed):
        ledger.close()
    make_stale(ledger.journal_path, **header)
    return ledger.journal_path


def test_a_run_does_not_start_on_what_cannot_be_healed(tmp_path: Path) -> None:
    stale_journal(tmp_path, URL)
    with open_ledger(tmp_path) as ledger:
        with pytest.raises(HealFailed, match="an earlier run left what cannot be healed"):
            ledger.claim(URL, heal_s=0.2)
        with Stub(always(http(200))) as stub:
            assert ledger.claim(stub.url).healed == [], "another target's trouble is not ours"


def test_a_journal_is_healed_though_its_results_are_deleted_or_torn(tmp_path: Path) -> None:
    with Stub(always(http(200))) as stub:
        for damage in ("deleted", "torn"):
            journal = stale_journal(tmp_path, stub.url)
            record = tmp_path / "ledger.jsonl"
            with journal.open("ab") as file:
                file.write(b'{"entry":"int')
            if damage == "deleted":
                record.unlink()
            else:
                with record.open("ab") as file:
                    file.write(b'{"entry":"hea')
            report = heal_all()
            assert report.clean, report
            assert report.healed == [f"slow on {stub.url}"]
            assert record.exists() == (damage == "torn")
        assert [line["entry"] for line in read_lines(record)][-1] == "healed"


def test_a_torn_line_in_the_middle_hides_no_entry(tmp_path: Path) -> None:
    journal = stale_journal(tmp_path, URL)
    with journal.open("ab") as file:
        file.write(b'{"entry":"healed","id":1\n\xff\xfe\n[]\n{"entry":"healed","id":9}\n{"entry":"healed"}\n')
    found = read_journal(journal)
    assert [entry.id for entry in found.open_entries] == [1]
    assert found.damaged == 5


def test_what_this_version_cannot_heal_is_said_and_kept(tmp_path: Path) -> None:
    newer = stale_journal(tmp_path, URL, version=2)
    with pytest.raises(RecordTooNew, match="version 2"):
        read_journal(newer)
    assert "newer harness" in heal_all(deadline_s=0).problems[0]
    newer.unlink()
    unknown = stale_journal(tmp_path, URL)
    unknown.write_text(unknown.read_text().replace('"type":"http"', '"type":"magic"'))
    report = heal_all(deadline_s=0)
    assert "unknown kind of recipe" in report.still_open[f"slow on {URL}"]
    assert unknown.exists()


def test_two_healers_do_not_disturb_each_other(tmp_path: Path) -> None:
    with Stub(always(http(200))) as stub:
        journal = stale_journal(tmp_path, stub.url)
        with state.exclusively(journal, 0.0) as held:
            assert held
            assert "somebody else" in heal_journal(journal, "heal", deadline_s=0.0).still_open[journal.name]
        assert heal_journal(journal, "heal", deadline_s=1.0).healed
        assert heal_journal(journal, "heal", deadline_s=1.0).clean, "gone meanwhile"


def test_an_unacknowledged_injection_is_healed_twice(tmp_path: Path) -> None:
    """Its request may still have been on the way when the first heal arrived."""
    with Stub(always(http(200))) as stub:
        ledger = open_ledger(tmp_path)
        ledger.intent("slow", target=stub.url, slot="latency", recipes=heal_at(stub.url))
        with pytest.raises(HealFailed):
            ledger.close()
        assert heal_all().healed == [f"slow on {stub.url}"]
        assert len(stub.requests) == 2


def test_a_journal_with_nothing_in_it_goes_when_its_harness_is_dead(tmp_path: Path, state_dir: Path) -> None:
    dead = open_ledger(tmp_path)
    make_stale(dead.journal_path)
    with open_ledger(tmp_path) as ledger:
        assert ledger.claim(URL).clean
        assert state.journals(state_dir) == [ledger.journal_path]
    dead.close()
