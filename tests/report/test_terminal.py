"""The terminal: one line a phase in a log, one repainted line on a terminal, and a table at the end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from harness.report.session import write_verdicts
from harness.report.terminal import Progress, print_table
from tests.cases import write_case


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_one_line_a_phase() -> None:
    log = io.StringIO()
    progress = Progress(2, log)
    for phase in ("baseline", "baseline", "baseline", "fault", "fault"):
        progress.update("semantic", phase, time_left_s=12.0, rate=300.0, p99_ms=4.25, errors=1)
    progress.update("control", "baseline")
    progress.close()
    assert log.getvalue().splitlines() == [
        "[1/2] semantic · baseline · 12 s left · 300/s · p99 4.2 ms · 1 error",
        "[1/2] semantic · fault · 12 s left · 300/s · p99 4.2 ms · 1 error",
        "[2/2] control · baseline",
    ]
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_one_line_repainted_a_few_times_a_second() -> None:
    screen, ticks = Terminal(), Ticks()
    progress = Progress(1, screen, monotonic=ticks)
    for _ in range(100):
        ticks.now += 0.01
        progress.update("semantic", "baseline", time_left_s=12.0)
    assert 4 <= screen.getvalue().count("semantic") <= 7
    assert screen.getvalue().count("\n") == 1
    progress.close()
    assert screen.getvalue().endswith("\r\x1b[2K")
    before = screen.getvalue()
    progress.close()
    assert screen.getvalue() == before


def test_a_finished_case_leaves_a_line() -> None:
    log = io.StringIO()
    Progress(1, log).finish_case("semantic", "NOT_EXERCISED", "no effect was seen")
    assert log.getvalue() == "NOT EXERCISED semantic: no effect was seen\n"


def test_a_targets_words_cannot_steer_the_terminal() -> None:
    log = io.StringIO()
    Progress(1, log).finish_case("semantic", "FAIL", "bad\x1b]0;owned\x07\r\nnext")
    assert log.getvalue().count("\n") == 1
    assert "\x1b" not in log.getvalue()


def test_the_table_names_every_case_with_verdict_and_reason(tmp_path: Path) -> None:
    write_case(tmp_path / "good", kind="no_fault")
    write_case(tmp_path / "slow", slow_ms=30.0, recovery_delay_s=2.0)
    log, screen = io.StringIO(), Terminal()
    session = write_verdicts(tmp_path)
    print_table(session, log, width=200)
    print_table(session, screen, width=200)
    for part in ("FAIL", "good", "PASS", "slow", "during.latency_ms(p=99)"):
        assert part in log.getvalue()
    assert "\x1b" not in log.getvalue()


@pytest.mark.parametrize("width", [80, 140, 300])
def test_the_table_fits(tmp_path: Path, width: int) -> None:
    write_case(tmp_path / "a-case-with-a-rather-long-name-cohort-75pct", slow_ms=30.0)
    log = io.StringIO()
    print_table(write_verdicts(tmp_path), log, width=width)
    assert max(len(line) for line in log.getvalue().splitlines()) <= width


def test_a_session_without_cases_has_a_table_too(tmp_path: Path) -> None:
    log = io.StringIO()
    print_table(write_verdicts(tmp_path), log)
    assert "INCONCLUSIVE" in log.getvalue()
