"""Verdict files: every case gets one, and a case that cannot be judged says why instead of taking the rest down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RecordError
from harness.model import Verdict
from harness.report.html import report_html, write_report
from harness.report.session import judge_session, session_folders, write_verdicts
from tests.cases import write_case

BROKEN: dict[str, tuple[str, bytes]] = {
    "no manifest": ("manifest.json", b""),
    "half a manifest": ("manifest.json", b'{"schema": 1, '),
    "a manifest that is a list": ("manifest.json", b"[]"),
    "no schema": ("manifest.json", b"{}"),
    "a newer schema": ("manifest.json", b'{"schema": 99}'),
    "a bad line in the middle": ("timeline.jsonl", b'{"t":1,"event":"a"}\nnonsense\n{"t":2,"event":"b"}\n'),
    "events without an instant": ("timeline.jsonl", b'{"event":"a"}\n'),
    "no sample file": ("samples/requests-0.bin", b"something else entirely"),
    "newer samples": ("samples/requests-0.bin", b"ENGRSMP9" + bytes(64)),
    "checks that are none": ("checks.json", b'{"schema":1,"checks":[{"a":1}],"ended":"completed"}'),
    "check of an unknown argument": (
        "checks.json",
        b'{"schema":1,"ended":"completed","checks":[{"quantity":{"window":"during","name":"error_rate",'
        b'"arguments":{"planet":"Mars"}},"op":"<=","bound":{"value":1,"name":"","source":""}}]}',
    ),
    "read-back of nothing": ("samples/verify.jsonl", b'{"space":0}\n'),
    "a probe without instants": ("metrics/consolidation.jsonl", b'{"ok":true}\n'),
}


@pytest.mark.parametrize("how", sorted(BROKEN))
def test_a_broken_case_is_inconclusive_with_a_reason_and_the_rest_is_judged(tmp_path: Path, how: str) -> None:
    session = tmp_path / "session"
    write_case(session / "good")
    write_case(session / "broken")
    name, content = BROKEN[how]
    if how == "no manifest":
        (session / "broken" / name).unlink()
    else:
        (session / "broken" / name).write_bytes(content)
    found = {case["name"]: case for case in write_verdicts(session)["cases"]}
    assert found["good"]["verdict"] == Verdict.PASS.value
    assert found["broken"]["verdict"] == Verdict.INCONCLUSIVE.value
    assert found["broken"]["reasons"][0]
    assert str(tmp_path) not in json.dumps(found["broken"])
    assert json.loads((session / "broken" / "verdict.json").read_text()) == found["broken"]
    assert "broken" in write_report(session).read_text()


def test_an_empty_session_is_inconclusive_and_has_a_report(tmp_path: Path) -> None:
    assert write_verdicts(tmp_path)["verdict"] == Verdict.INCONCLUSIVE.value
    assert "holds no case" in report_html(judge_session(tmp_path))


def test_a_session_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read the session"):
        write_verdicts(tmp_path / "nowhere")


def test_cases_stand_in_the_order_they_began(tmp_path: Path) -> None:
    def started(minute: int) -> dict[str, Any]:
        return {"started": f"2025-11-20T02:{minute:02d}:00Z"}

    write_case(tmp_path / "b", manifest=started(1))
    write_case(tmp_path / "a", manifest=started(2))
    write_case(tmp_path / "a~2", manifest=started(3))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "timeline.jsonl").write_bytes(b"")
    (tmp_path / "not-a-case").mkdir()
    assert [folder.name for folder in session_folders(tmp_path)] == ["b", "a", "a~2", "torn"]


def test_a_target_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    write_case(tmp_path / "session" / "case")
    (tmp_path / "session" / "report.html").mkdir()
    with pytest.raises(RecordError, match="cannot write the report"):
        write_report(tmp_path / "session")
