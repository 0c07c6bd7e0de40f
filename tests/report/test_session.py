"""Verdict files: every case gets one, and a case that cannot be judged says why instead of taking the rest down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import EXIT_FAILED, EXIT_UNUSABLE, RecordError
from harness.model import Verdict
from harness.report.html import report_html, write_report
from harness.report.session import judge_session, session_folders, write_verdicts
from harness.timeline.jsonl import dump_line
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
    "fewer samples than the load counted": ("samples/load.json", b'{"completed":1000000,"t0":0.0}'),
    "a load's account that is none": ("samples/load.json", b"[]"),
    "samples of noise": ("samples/requests-0.bin", b"ENGRSMP1" + b"\xff" * 720),
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


NOT_READY = "the target could not be started: engram is not ready after 30 s"


def _never_started(folder: Path) -> None:
    write_case(folder)
    lines = [{"t": 1.0, "event": "run_started"}, {"t": 31.0, "event": "aborted", "reason": NOT_READY}]
    (folder / "timeline.jsonl").write_bytes(b"".join(map(dump_line, lines)))


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ([], EXIT_UNUSABLE),
        ([{}], EXIT_UNUSABLE),
        ([{"ended": "KeyboardInterrupt", "missing_events": ("run_ended",)}], EXIT_FAILED),
        ([{"missing_events": ("effective_observed", "fault_in_force")}], EXIT_FAILED),
    ],
    ids=["alone", "beside a good case", "beside one cut short", "beside a fault that never happened"],
)
def test_judging_a_target_that_never_started_ends_as_its_session_did(
    tmp_path: Path, others: list[dict[str, Any]], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    _never_started(tmp_path / "session" / "unready")
    for number, knobs in enumerate(others):
        write_case(tmp_path / "session" / f"other-{number}", **knobs)
    assert main(["judge", str(tmp_path / "session")]) == code
    assert NOT_READY in capsys.readouterr().out
    assert main(["judge", str(tmp_path / "session" / "unready")]) == EXIT_UNUSABLE
    assert NOT_READY in capsys.readouterr().out


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


@pytest.mark.parametrize("command", ["judge", "report"])
def test_a_directory_that_holds_nothing_of_ours_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "photos").mkdir()
    assert main([command, str(tmp_path)]) == EXIT_UNUSABLE
    assert "holds no case" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
