"""The line that says how something that stays up is doing: repainted on a terminal, sparing elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

from harness.report.standing import Standing, StandingDisplay

WELL = Standing(up_s=3725.0, engram="healthy")
LOADED = replace(WELL, rate_ops_per_s=99.6, p99_ms=4.25, errors=1, alerts=("Slow", "Sad"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_what_there_is() -> None:
    assert WELL.line() == "up 1:02:05 · Engram healthy"
    assert LOADED.line().endswith("Engram healthy · 100/s · recall p99 4.2 ms · 1 error · firing: Slow, Sad")
    assert "storing" in replace(WELL, storing=True).line()


def test_what_a_service_says_does_not_steer_the_terminal() -> None:
    assert "\x1b" not in replace(WELL, engram="does not answer (\x1b[2J)").line()


def test_elsewhere_a_line_when_something_changed_or_ten_seconds_passed() -> None:
    stream, now = io.StringIO(), [0.0]
    display = StandingDisplay(stream, monotonic=lambda: now[0])
    for instant, standing in ((0, WELL), (1, WELL), (9, replace(WELL, up_s=9.0)), (11, WELL), (12, LOADED)):
        now[0] = instant
        display.show(standing)
    now[0] = 13
    display.show(replace(LOADED, trouble="Prometheus cannot scrape: refused"))
    display.close()
    assert [line.split(" · ")[-1] for line in stream.getvalue().splitlines()] == [
        "Engram healthy",
        "Engram healthy",
        "firing: Slow, Sad",
        "Prometheus cannot scrape: refused",
    ]


def test_on_a_terminal_one_line_is_repainted_and_the_last_one_stays() -> None:
    stream = Terminal()
    display = StandingDisplay(stream)
    display.show(WELL)
    display.show(replace(WELL, engram="down"))
    display.close()
    assert "Engram down" in stream.getvalue()
    display.close()
