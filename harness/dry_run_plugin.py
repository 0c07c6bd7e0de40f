"""``--dry-run``: every drill says what it would do and is skipped; the summary shows all of it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness.errors import NothingDone

_PROPERTY = "engram_dry_run"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A drill that was stopped before it began is a skip."""
    try:
        return (yield)
    except NothingDone as said:
        pyfuncitem.user_properties.append((_PROPERTY, said.what))
        pytest.skip("dry run: nothing was done")


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """What would have been done, drill by drill."""
    reports = terminalreporter.stats.get("skipped", [])
    said = [str(text) for report in reports for name, text in report.user_properties if name == _PROPERTY]
    if said:
        terminalreporter.section("what would be done (dry run: nothing was)")
        for text in dict.fromkeys(said):
            terminalreporter.write_line(text)
    return (yield)
