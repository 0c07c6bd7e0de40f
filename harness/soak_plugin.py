"""The soak as a pytest suite: ``pytest drills/soak`` runs one soak and asserts every criterion by itself.

Loaded by ``drills/soak/conftest.py`` only, so that no other drill sees its options. FAIL is a failure; ABORTED and
INCONCLUSIVE are errors; UNSUPPORTED is a skip with its reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import pytest

from harness.clock import SystemClock
from harness.drilling import session_folder, software_facts
from harness.errors import Aborted, HarnessError, Inconclusive, UsageError
from harness.model import Verdict
from harness.report.soak_terminal import SoakDisplay, verdict_text
from harness.settings import OPTIONS, Settings, scenarios_folder, settings_from
from harness.soak.plan import SoakPlan, make_plan
from harness.soak.running import SoakOutcome, resume_soak, soak_maker, start_soak

OUTCOME = pytest.StashKey[SoakOutcome]()
_VARIABLES = {
    "--duration": "ENGRAM_SOAK_DURATION",
    "--time-scale": "ENGRAM_SOAK_TIME_SCALE",
    "--rate": "ENGRAM_SOAK_RATE",
    "--faults": "ENGRAM_SOAK_FAULTS",
    "--resume": "ENGRAM_SOAK_RESUME",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The soak's own options, beside the drills'."""
    group = parser.getgroup("engram-soak", "Engram soak")
    helps = {
        "--duration": "24h, 20m, 90s (default: the profile's)",
        "--time-scale": "divide every duration by this (default: the profile's)",
        "--rate": "operations per second (default: the profile's)",
        "--faults": "none, or a schedule of scenarios/soak/faults/",
        "--resume": "go on with a soak that was cut off",
    }
    for flag, text in helps.items():
        dest = "soak_" + flag.lstrip("-").replace("-", "_")
        group.addoption(flag, dest=dest, default=None, help=f"{text} [{_VARIABLES[flag]}]")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "soak: asserts a criterion of the one soak this session runs")


class SoakView:
    """What a test of the suite is handed."""

    def __init__(self, outcome: SoakOutcome) -> None:
        self.outcome = outcome

    def check(self, name: str) -> None:
        """Assert one criterion. FAIL is an AssertionError that explains itself; the undecided raise their own kind."""
        __tracebackhide__ = True
        row = next((r for r in self.outcome.json["criteria"] if r["name"] == name), None)
        if row is None:
            pytest.skip(f"the scenario has no criterion {name}")
        verdict = Verdict(row["verdict"])
        text = f"{row['label']}: {row['reason'] or verdict.value} [{row['source']}]\nsoak: {self.outcome.folder}"
        if verdict is Verdict.FAIL:
            raise AssertionError(text)
        if verdict is Verdict.ABORTED:
            raise Aborted(text)
        if verdict is Verdict.UNSUPPORTED:
            pytest.skip(text)
        if verdict is not Verdict.PASS:
            raise Inconclusive(text)

    @property
    def abort_triggers(self) -> list[str]:
        """The abort triggers that were met, with what was seen."""
        return [f"{met['name']}: {met['detail']}" for met in self.outcome.json["abort_triggers"]]


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> Iterator[SoakView]:
    """The one soak of this session, run when the first test asks for it."""
    config = request.config
    if hasattr(config, "workerinput"):
        raise UsageError("a soak is one run on one target", hint="leave -n out")
    settings, resume = _settings(config), _given(config, "--resume")
    plan = None if resume else _plan(config, settings)
    stream = _terminal(config)
    display = SoakDisplay(stream, plan.real_duration_s if plan else 0.0)
    try:
        if plan is None:
            outcome = resume_soak(Path(str(resume)), show=display.show)
        else:
            maker = soak_maker(plan)
            session = session_folder(settings.results_dir, SystemClock().wall())
            stream.write(f"\nsoak: {session}\n")
            outcome = start_soak(plan, session, software_facts(), maker=maker, show=display.show)
    finally:
        display.close()
        stream.close()
    config.stash[OUTCOME] = outcome
    yield SoakView(outcome)


def _settings(config: pytest.Config) -> Settings:
    """The drills' options; ``--scenario`` names a soak's here, so it is no workload."""
    given = {option.dest: config.getoption(option.dest) for option in OPTIONS}
    return settings_from({**given, "engram_scenario": None})


def _given(config: pytest.Config, flag: str) -> str | None:
    value = config.getoption("soak_" + flag.lstrip("-").replace("-", "_"))
    return value if value is not None else os.environ.get(_VARIABLES[flag])


def _plan(config: pytest.Config, settings: Settings) -> SoakPlan:
    scenario = config.getoption("engram_scenario") or os.environ.get("ENGRAM_SCENARIO")
    return make_plan(
        Path(scenario) if scenario else scenarios_folder() / "soak" / "phase0.toml",
        profile=settings.profile,
        duration=_given(config, "--duration"),
        time_scale=_number(config, "--time-scale"),
        rate_ops_per_s=_number(config, "--rate"),
        seed=settings.seed,
        faults=_given(config, "--faults") or "none",
        target=settings.target,
        claimed=settings.i_own_this_target,
        defects=settings.defects,
    )


def _number(config: pytest.Config, flag: str) -> float | None:
    text = _given(config, flag)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{flag} {text!r} is not a number") from None


def _terminal(config: pytest.Config) -> TextIO:
    """The real standard output, past pytest's capturing."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
        sys.stdout.flush()
        return os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="replace")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What could not be decided is an error, not a failure: pytest counts errors outside the call phase."""
    report = yield
    undecided = call.excinfo is not None and isinstance(call.excinfo.value, HarnessError)
    if item.get_closest_marker("soak") is not None and undecided:
        assert call.excinfo is not None
        report.longrepr = f"{type(call.excinfo.value).__name__}: {call.excinfo.value}"
        report.when = "setup"
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Go or no-go, the criteria, and where to read on."""
    if OUTCOME not in config.stash:
        return
    outcome = config.stash[OUTCOME]
    terminalreporter.section("Engram soak")
    terminalreporter.write_line(verdict_text(outcome.json))
    terminalreporter.write_line(f"report: {outcome.report}")
