"""The report: self-contained, small, harmless, and saying what the judge said."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.report.html import report_html, write_report
from harness.report.session import judge_session
from tests.cases import FAULTS, check, write_case

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;\x00"
_VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Reads a page, keeping its tags and attributes and checking that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(session: Path) -> tuple[str, Page]:
    text = report_html(judge_session(session))
    return text, Page(text)


def test_a_session_of_every_kind_is_one_small_page_without_script_or_network(tmp_path: Path) -> None:
    for kind in FAULTS:
        write_case(tmp_path / kind, kind=kind)
    path = write_report(tmp_path)
    text = path.read_text()
    page = Page(text)
    assert path.stat().st_size < 3_000_000
    assert "script" not in page.tags
    assert not [value for name, value in page.attributes if name in ("src", "href") and not value.startswith("#")]
    assert "@import" not in text
    assert re.search(r"url\((?!#)", text) is None
    assert "prefers-color-scheme: dark" in text
    assert page.tags.count("section") == len(FAULTS)


def test_a_case_shows_its_verdict_its_charts_its_checks_and_its_recovery(tmp_path: Path) -> None:
    write_case(tmp_path / "late", kind="semantic_latency", recovery_delay_s=3.0, slow_ms=20.0)
    text, page = page_of(tmp_path)
    said = html.unescape(text)
    judged = judge_session(tmp_path).cases[0]
    assert judged.judgement is not None
    for reason in judged.json["reasons"]:
        assert reason in said
    for result in judged.judgement.checks:
        assert result.check.label in said
    for label in (
        "Recall latency",
        "recall latency, ms",
        "seconds since the baseline began",
        "fault in force",
        "SLO 15 ms",
    ):
        assert label in said
    recovery = judged.judgement.summary.recoveries[0]
    assert f"effect gone {recovery.seconds.low:.2f}–{recovery.seconds.high:.2f} s after the heal" in said
    assert page.tags.count("figure") == 4
    assert f"harness judge {tmp_path.parent.name}/{tmp_path.name}/late" in said


def test_nothing_a_record_holds_can_act_in_the_page(tmp_path: Path) -> None:
    hostile: dict[str, Any] = {
        "fault": {"kind": "semantic_latency", "latency_ms": 50.0, "note": HOSTILE},
        "target": {"base_url": HOSTILE},
        "capabilities": {"missing": {HOSTILE: HOSTILE}},
        "seed": HOSTILE,
        HOSTILE: HOSTILE,
    }
    bad = check("during", "error_rate", "<=", 0.0) | {"bound": {"value": 0.0, "name": HOSTILE, "source": HOSTILE}}
    event = (17.0, {"event": "aborted", "reason": HOSTILE, HOSTILE: HOSTILE})
    for name in ("hostile", "x<b>y"):
        write_case(tmp_path / name, manifest=hostile, checks=(bad,), extra_events=(event,))
    _, page = page_of(tmp_path)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "x<b>y" in "".join(page.words)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in "".join(page.words)


def test_a_signal_named_by_the_service_cannot_act_in_a_chart(tmp_path: Path) -> None:
    write_case(tmp_path / "case", manifest={"slo": {"recall_p99_ms": {"value": 15.0, "source": HOSTILE}}})
    assert "script" not in page_of(tmp_path)[1].tags


def test_both_attempts_of_a_retried_case_are_shown_and_the_last_counts(tmp_path: Path) -> None:
    write_case(tmp_path / "control", kind="no_fault", sent_share=0.9, manifest={"started": "1"})
    write_case(tmp_path / "control~2", kind="no_fault", manifest={"started": "2", "attempt": 2})
    text, page = page_of(tmp_path)
    said = " ".join("".join(page.words).split())
    assert judge_session(tmp_path).json["verdict"] == "PASS"
    assert "attempt 1, run again" in said
    assert "attempt 2" in said
    assert "PASS for the one case" in said
    assert page.tags.count("section") == 2
    assert 'class="replaced"' in text


@pytest.mark.parametrize(
    "knobs",
    [
        {"rate": 0.0},
        {"missing_events": ("baseline_started", "baseline_ended")},
        {
            "missing_events": (
                "heal_sent",
                "heal_acked",
                "healed_observed",
                "after_started",
                "load_stopped",
                "run_ended",
            )
        },
        {"missing_events": ("load_started", "baseline_started", "fault_in_force", "run_ended", "load_stopped")},
        {"missing_streams": ("service", "consolidation", "bindings", "health", "host", "process")},
        {"error_share": 1.0, "cohort_rate": 1.0},
        {"slow_ms": 1800.0},
        {"baseline_s": 0.3, "during_s": 0.3, "after_s": 0.3},
        {"extra_events": ((0.1, {"event": "unsupported", "reason": "no chaos API here"}),)},
        {"manifest": {"slo": {}, "profile": {}}},
    ],
)
@pytest.mark.parametrize("kind", ["semantic_latency", "consolidation_failure"])
def test_a_case_that_broke_off_or_lacks_half_of_everything_still_has_its_section(
    tmp_path: Path, kind: str, knobs: dict[str, Any]
) -> None:
    write_case(tmp_path / "case", kind=kind, **knobs)
    text, page = page_of(tmp_path)
    assert page.tags.count("section") == 1
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower().split()
    for coordinates in re.findall(r' (?:d|x|y|x1|x2|y1|y2|width|height)="([^"]*)"', text):
        assert "nan" not in coordinates
        assert "inf" not in coordinates


def test_the_unsupported_say_why(tmp_path: Path) -> None:
    event = (0.1, {"event": "unsupported", "reason": "chaos.binding_index: 404"})
    write_case(tmp_path / "case", kind="binding_corruption", extra_events=(event,), checks=(), rate=0.0)
    text, _ = page_of(tmp_path)
    assert "UNSUPPORTED" in text
    assert "chaos.binding_index: 404" in text
    assert "No chart" in text


def test_the_same_record_gives_the_same_page(tmp_path: Path) -> None:
    write_case(tmp_path / "case", recovery_delay_s=1.0)
    assert report_html(judge_session(tmp_path)) == report_html(judge_session(tmp_path))


def test_a_long_session_of_many_cases_stays_below_3_mb(tmp_path: Path) -> None:
    write_case(tmp_path / "case-00", baseline_s=200.0, during_s=100.0, after_s=100.0, rate=100.0)
    one = judge_session(tmp_path)
    many = type(one)(one.folder, one.cases * 40, one.json)
    assert len(report_html(many).encode()) < 3_000_000
