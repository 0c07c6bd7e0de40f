"""What people see of a session of drills: the live display, and the final table with the path of the report."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TextIO

import pytest

from harness.model import Status
from harness.report.terminal import Progress, print_table

CASES = pytest.StashKey[int]()  # how many drills this session will run
REPORT = pytest.StashKey[tuple[dict[str, Any] | None, str]]()  # verdict.json, and where its report lies
_DISPLAY = pytest.StashKey[Progress]()


def display_of(config: pytest.Config) -> Progress:
    """The live display; a worker of pytest-xdist has no terminal of its own and shows nothing."""
    if _DISPLAY not in config.stash:
        stream: TextIO = io.StringIO()
        if config.pluginmanager.has_plugin("terminalreporter") and not hasattr(config, "workerinput"):
            stream = _terminal(config)
        config.stash[_DISPLAY] = Progress(config.stash.get(CASES, 0), stream)
    return config.stash[_DISPLAY]


def _terminal(config: pytest.Config) -> TextIO:
    """The real standard output, past pytest's capturing."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
        sys.stdout.flush()
        return os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="replace")


def shown_on(display: Progress) -> Callable[[Status], None]:
    """What a drill tells its status to, so that ``display`` shows it."""

    def show(status: Status) -> None:
        display.update(
            status.case,
            status.phase,
            time_left_s=status.time_left_s,
            rate=status.rate_ops_per_s,
            p99_ms=status.p99_ms,
            errors=status.errors,
        )

    return show


def close_display(config: pytest.Config) -> None:
    """End the line of the display, if there is one."""
    if _DISPLAY in config.stash:
        config.stash[_DISPLAY].close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The final table, and where to read on."""
    if REPORT not in config.stash:
        return
    verdict, report = config.stash[REPORT]
    terminalreporter.section("Engram drills")
    if verdict is not None:
        print_table(verdict, terminalreporter._tw._file, width=max(132, terminalreporter._tw.fullwidth))
    terminalreporter.write_line(f"report: {report}")
