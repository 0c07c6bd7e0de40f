"""The page, the JUnit file, the lines on the terminal, and the commands that judge a recorded soak again."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.clock import FakeClock
from harness.errors import RecordError
from harness.judge.soak_verdict import SoakJudgement
from harness.report.session import judge_session
from harness.report.soak import read_soak, soak_verdict_json, write_soak_verdict
from harness.report.soak_html import soak_html
from harness.report.soak_junit import junit_xml
from harness.report.soak_terminal import SoakDisplay, plain_line, verdict_text
from harness.soak.segment import standing
from tests.soak.synthetic import Shape, write

DAY = Shape(interval_s=300.0)
BAD = replace(
    DAY, leak_mb_per_h=5.0, gaps_h=((9.0, 9.5),), faults_h=((7.0, 7.5),), creeping_errors=0.003, breaker_at_h=(20.0,)
)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clean day and a broken one."""
    return {name: write(tmp_path_factory.mktemp(name), shape) for name, shape in (("good", DAY), ("bad", BAD))}


def page(folder: Path) -> str:
    record = read_soak(folder)
    return soak_html(record, record.judge())


def first_screen(text: str) -> str:
    return text[text.index("<header>") : text.index("</header>")]


def test_the_first_screen_says_go(days: dict[str, Path]) -> None:
    text = page(days["good"])
    assert ">GO<" in first_screen(text)
    assert "every criterion is met" in first_screen(text)
    assert "24 h of 24 h observed" in first_screen(text)


def test_the_first_screen_says_no_go_and_why(days: dict[str, Path]) -> None:
    text = page(days["bad"])
    top = first_screen(text)
    assert ">NO-GO<" in top
    assert "Leak: grows by more than" in top
    assert "Breaker trips: seen open" in top
    assert text.index("Breaker trips</td>") < text.index("Consolidation success</td>")  # the broken ones come first
    assert "Not observed from 9 h to 9 h 30 min" in text
    assert "20% of bindings corrupted" in text
    assert "its interval" in text


def test_the_page_is_one_file_without_network_or_script(days: dict[str, Path]) -> None:
    text = page(days["bad"])
    assert len(text.encode()) < 3_000_000
    assert not re.search(r"<script|<link|@import|url\(\s*['\"]?http|src=", text)
    assert "prefers-color-scheme: dark" in text
    assert text.count('<svg class="chart"') == 7


def test_hostile_words_of_a_target_stay_words(days: dict[str, Path], tmp_path: Path) -> None:
    folder = write(tmp_path, replace(DAY, duration_s=7200.0))
    with (folder / "timeline.jsonl").open("a") as events:
        events.write(
            json.dumps({"event": "target_died", "at_s": 100.0, "t": 1, "reason": "<img src=x onerror=alert(1)>"}) + "\n"
        )
    text = page(folder)
    assert "<img" not in text
    assert "&lt;img src=x" in text


def test_a_scaled_soak_is_called_a_rehearsal(tmp_path: Path) -> None:
    text = page(write(tmp_path, replace(DAY, time_scale=480.0, rate=60_000.0)))
    assert "Rehearsal: time is scaled by 480" in first_screen(text)
    assert "MB/scaled h" in text


def test_an_empty_soak_has_a_page(tmp_path: Path) -> None:
    folder = write(tmp_path, DAY)
    for name in ("intervals.jsonl", "read_back.jsonl", "timeline.jsonl"):
        (folder / name).write_text("")
    assert "NO DECISION" in first_screen(page(folder))


def test_the_same_files_give_the_same_bytes(days: dict[str, Path]) -> None:
    written = []
    for _ in range(2):
        record = read_soak(days["bad"])
        write_soak_verdict(record, record.judge())
        written.append((days["bad"] / "verdict.json").read_bytes() + page(days["bad"]).encode())
    assert written[0] == written[1]


def verdict_of(folder: Path) -> dict[str, Any]:
    record = read_soak(folder)
    return soak_verdict_json(record, record.judge())


def test_junit_has_a_case_a_criterion(days: dict[str, Path]) -> None:
    suite = ElementTree.fromstring(junit_xml(verdict_of(days["bad"])))
    assert int(suite.get("tests", "0")) == len(suite.findall("testcase")) == 15
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("errors") == "0"
    failed = {case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None}
    assert {"leak", "error_rate", "breaker_trips"} <= failed


def test_the_end_on_the_terminal(days: dict[str, Path]) -> None:
    assert verdict_text(verdict_of(days["good"])).startswith("GO (PASS)")
    text = verdict_text(verdict_of(days["bad"]))
    assert text.startswith("NO-GO (FAIL)")
    assert re.search(r"FAIL +Leak +\d", text)


@dataclass
class Now:
    phase: str = "recording"
    at_s: float = 60.0
    left_s: float = 7200.0
    rate_ops_per_s: float = 999.6
    p99_ms: float = 7.25
    error_rate: float = 0.0001
    rss_mb: float = 301.0
    judgement: SoakJudgement | None = None


def test_a_plain_line_says_it_all() -> None:
    assert (
        plain_line(Now(), "within every bound so far")
        == "soak recording · 2 h left · 1,000/s · P99 7.2 ms · errors 0.010% · RSS 301 MB · within every bound so far"
    )


def test_without_a_terminal_there_is_a_line_a_minute_and_one_a_change() -> None:
    stream, clock = io.StringIO(), iter([0.0, 1.0, 59.0, 61.0, 62.0])
    display = SoakDisplay(stream, 100.0, monotonic=lambda: next(clock))
    for phase in ("recording", "recording", "recording", "recording", "stopping"):
        display.show(Now(phase=phase))
    display.close()
    assert len(stream.getvalue().splitlines()) == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_panel_is_repainted(days: dict[str, Path]) -> None:
    stream = Terminal()
    display = SoakDisplay(stream, 100.0)
    display.show(Now(judgement=read_soak(days["bad"]).judge(running=True)))
    display.close()
    display.close()
    assert "Breaker trips" in stream.getvalue()
    assert "P99 7.2 ms" in stream.getvalue()


def test_judge_and_report_read_a_soak_by_either_directory(
    days: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(days["good"])]) == 0
    assert main(["judge", str(days["bad"].parent), "--json"]) == 1
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("{") :])["verdict"] == "FAIL"
    session = json.loads((days["bad"].parent / "verdict.json").read_text())
    assert (session["verdict"], session["cases"][0]["kind"]) == ("FAIL", "soak")
    assert main(["report", str(days["good"].parent)]) == 0
    assert ">GO<" in (days["good"].parent / "report.html").read_text()


def test_a_session_that_holds_a_soak_is_judged_like_any_other(days: dict[str, Path]) -> None:
    judged = judge_session(days["bad"].parent)
    assert [(case.name, case.json["verdict"]) for case in judged.cases] == [("soak", "FAIL")]


def test_a_soak_that_is_none_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", "--resume", str(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_manifest_without_its_plan_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, replace(DAY, duration_s=7200.0))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["plan"]["scenario"]["profiles"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert main(["judge", str(tmp_path)]) == 3
    assert "the manifest's plan cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([{"event": "stopped", "at_s": 0.0, "reason": "cannot connect"}], 3),
        ([{"event": "target_ready", "at_s": 0.0}, {"event": "stopped", "at_s": 0.0, "reason": "too many memories"}], 3),
        ([{"event": "stopped", "at_s": 0.0, "reason": "interrupted"}], 1),
        ([{"event": "segment_started", "at_s": 0.0}, {"event": "stopped", "at_s": 0.0, "reason": "disk full"}], 1),
        ([], 1),
    ],
    ids=["unreachable", "no preload", "Ctrl-C", "in its load", "killed"],
)
def test_a_soak_that_never_began_is_judged_as_it_ended(
    tmp_path: Path, events: list[dict[str, object]], code: int
) -> None:
    folder = write(tmp_path, replace(DAY, duration_s=7200.0))
    (folder / "intervals.jsonl").write_text("")
    (folder / "read_back.jsonl").write_text("")
    (folder / "timeline.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert main(["judge", str(tmp_path)]) == code


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "an interval without its time": ("intervals.jsonl", lambda raw: b"{}\n" + raw),
    "an interval of nothing": ("intervals.jsonl", lambda raw: raw.replace(b'"to_s":', b'"to_s":null,"was":', 1)),
    "a histogram of another kind": ("intervals.jsonl", lambda raw: raw.replace(b"HISTFA", b"AAAAAA", 1)),
    "twice the same": ("intervals.jsonl", lambda raw: raw + raw),
    "backwards": ("intervals.jsonl", lambda raw: b"".join(reversed(raw.splitlines(keepends=True)))),
    "a row of nothing": ("read_back.jsonl", lambda raw: b"{}\n" + raw),
    "no time scale": ("manifest.json", lambda raw: re.sub(rb'"time_scale": *[0-9.]+', b'"time_scale": 0', raw)),
    "endless": ("manifest.json", lambda raw: re.sub(rb'"duration_s": *[0-9.]+', b'"duration_s": 1e400', raw)),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_soak_is_refused_in_a_line_that_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    folder = write(tmp_path, replace(DAY, duration_s=7200.0))
    name, damage = DAMAGE[how]
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(damage(whole))
    assert (folder / name).read_bytes() != whole
    assert main(["judge", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert str(folder / name) in said
    assert len(said.splitlines()) == 1


def test_a_soak_whose_plan_is_lost_is_not_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, replace(DAY, duration_s=7200.0))
    (folder / "manifest.json").write_bytes(b'{"schema": 1, "kind": "soak", "plan": {}}')
    assert main(["soak", "--resume", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert str(folder / "manifest.json") in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["intervals.jsonl", "timeline.jsonl"])
def test_where_a_damaged_soak_stands_is_not_guessed(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, replace(DAY, duration_s=7200.0))
    (folder / name).write_bytes(b"{}\n")
    with pytest.raises(RecordError, match=f"{name}:1: no record of a soak"):
        standing(folder, FakeClock())
