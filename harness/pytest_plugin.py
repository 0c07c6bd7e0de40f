"""The pytest side: options, fixtures, and verdicts as pytest outcomes.

FAIL is a failure; ABORTED, NOT_EXERCISED and INCONCLUSIVE are errors; UNSUPPORTED is a skip with its reason. An
INCONCLUSIVE case may be run again (``--retry-inconclusive``), a FAIL never.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import cores_plugin, display_plugin, dry_run_plugin, fault_fixtures, hooks
from harness.clock import SystemClock
from harness.display_plugin import CASES, REPORT, close_display, display_of, shown_on
from harness.drilling import Drill, DrillSession, Limits, case_name, session_folder, session_name
from harness.errors import EXIT_UNUSABLE, CapabilityMissing, HarnessError, HostCapabilityMissing, Inconclusive
from harness.faults.healing import heal_all
from harness.judge.measured import Measured
from harness.model import Verdict
from harness.report.html import write_report
from harness.report.session import judge_session, never_started, write_judged
from harness.rollout import fixtures
from harness.scenario.profiles import CORE_FAMILY
from harness.settings import OPTIONS, Settings, settings_from

SESSION = pytest.StashKey[DrillSession]()
NAME = pytest.StashKey[str]()
TROUBLE = pytest.StashKey[str]()
DRILL = pytest.StashKey[Drill]()
ATTEMPT = pytest.StashKey[int]()
_SESSION_NAME = "engram_session_name"
_DOSES = {
    "latency_ms": ("semantic_latency_ms", "{:g}ms"),
    "fail_rate": ("consolidation_fail_rate", "fail{:.0%}"),
    "corruption_rate": ("binding_corruption_rate", "corrupt{:.0%}"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of ``pytest drills/``."""
    group = parser.getgroup("engram", "Engram drills")
    for option in OPTIONS:
        text = f"{option.help} [{option.variable}]"
        if option.switch:
            group.addoption(option.flag, dest=option.dest, action="store_true", default=None, help=text)
        elif option.repeatable:
            group.addoption(option.flag, dest=option.dest, action="append", default=None, metavar="NAME[=M]", help=text)
        else:
            group.addoption(option.flag, dest=option.dest, default=None, help=f"{text}; default {option.default}")


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Our own hooks."""
    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; settings are read only when a drill is collected."""
    config.addinivalue_line(
        "markers",
        "drill(requires=(), family='dual_memory', matrix=False): a drill, the capabilities its target must have, and "
        "which profiles run it",
    )
    config.pluginmanager.register(fault_fixtures, "engram-fault-fixtures")
    config.pluginmanager.register(fixtures, "engram-rollback-fixtures")
    config.pluginmanager.register(display_plugin, "engram-display")
    config.pluginmanager.register(dry_run_plugin, "engram-dry-run")
    config.pluginmanager.register(cores_plugin, "engram-cores")
    _refuse_patched_process()


def _refuse_patched_process() -> None:
    """Locust's own pytest plugin patches sockets and threads of this process, under which xdist and httpx break."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        raise pytest.UsageError("locust's pytest plugin has patched this process; run pytest with -p no:locust")


def _session(config: pytest.Config) -> DrillSession:
    """The drill session of this process, made when the first drill needs it. Raises :class:`HarnessError`."""
    if SESSION not in config.stash:
        settings = _settings(config)
        given = getattr(config, "workerinput", {}).get(_SESSION_NAME)
        folder = settings.results_dir / given if given else None
        config.stash[SESSION] = DrillSession(
            settings, session_folder(settings.results_dir, SystemClock().wall(), folder)
        )
    return config.stash[SESSION]


def _settings(config: pytest.Config) -> Settings:
    return settings_from({option.dest: config.getoption(option.dest) for option in OPTIONS})


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: every worker writes into one session directory, named here and made by the first that needs it."""
    node.config.stash.setdefault(NAME, f"{session_name(SystemClock().wall())}-{os.getpid()}")
    node.workerinput[_SESSION_NAME] = node.config.stash[NAME]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Doses and cohort rates come from the profile."""
    if metafunc.definition.get_closest_marker("drill") is None:
        return
    try:
        profile = _session(metafunc.config).profile
    except HarnessError as error:
        # Raised when collection has ended: only there does pytest make one clean line of it.
        metafunc.config.stash[TROUBLE] = str(error)
        return
    for argument, (dose, label) in _DOSES.items():
        if argument in metafunc.fixturenames:
            values = profile.doses[dose]
            metafunc.parametrize(argument, values, ids=[label.format(v).replace("%", "pct") for v in values])
    if "cohort_rate" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("drill")
        core = marker is None or marker.kwargs.get("family", CORE_FAMILY) == CORE_FAMILY
        rates = profile.cohort_rates if core else profile.cohort_rates[-1:]  # other families are not about cohorts
        metafunc.parametrize("cohort_rate", rates, ids=[f"{rate:.0%}".replace("%", "pct") for rate in rates])


@pytest.hookimpl(trylast=True)  # after -k and -m have deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse unusable options, and heal what an earlier, killed run left before anything starts."""
    if TROUBLE in config.stash:
        raise pytest.UsageError(config.stash[TROUBLE])
    _leave_out(config, items)
    config.stash[CASES] = sum(item.get_closest_marker("drill") is not None for item in items)
    first = getattr(config, "workerinput", {}).get("workerid", "gw0") == "gw0"
    may_run = config.stash[CASES] and not config.option.collectonly
    if may_run and first and not _session(config).settings.dry_run:
        for healed in heal_all().healed:  # no warning: where warnings are errors it would end the session
            display_of(config).note(f"healed after an earlier run: {healed}")


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the profile leaves out (restarts, families, the full matrix) is deselected, and pytest says how many."""
    marked = [(item, marker.kwargs) for item in items if (marker := item.get_closest_marker("drill"))]
    if not marked:
        return
    profile = _session(config).profile
    out = {
        item
        for item, said in marked
        if ("restart" in said.get("requires", ()) and not profile.restart)
        or said.get("family", CORE_FAMILY) not in profile.families
        or (said.get("matrix", False) and not profile.matrix)
    }
    if out:
        config.hook.pytest_deselected(items=[item for item in items if item in out])
        items[:] = [item for item in items if item not in out]


# fixtures


@pytest.fixture
def drill(request: pytest.FixtureRequest, cohort_rate: float) -> Iterator[Drill]:
    """One attempt of this case: ``drill.run(fault)`` answers measured values."""
    node = request.node
    session = _session(request.config)
    marker = node.get_closest_marker("drill")
    requires = frozenset(marker.kwargs.get("requires", ())) if marker else frozenset()
    found = Drill(
        session,
        case_name(node.name),
        requires=requires,
        cohort_rate=cohort_rate,
        attempt=node.stash.get(ATTEMPT, 1),
        progress=shown_on(display_of(request.config)),
    )
    node.stash[DRILL] = found
    yield found
    display_of(request.config).close()


@pytest.fixture
def slo(request: pytest.FixtureRequest) -> Limits:
    """The limits of ``scenarios/slo.toml`` under the profile's time scale, by name."""
    return _session(request.config).limits


# verdicts


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Judge the case when the test's body has ended, whatever ended it, and turn the verdict into an outcome."""
    try:
        result = yield
    except CapabilityMissing as error:
        _finish(pyfuncitem, "unsupported")
        settings = _session(pyfuncitem.config).settings
        everything = settings.embedded and not isinstance(error, HostCapabilityMissing)  # which the kernel may not
        if settings.strict_capabilities or everything:
            pytest.fail(f"UNSUPPORTED: {error}", pytrace=False)
        pytest.skip(str(error))
    except AssertionError:
        _finish(pyfuncitem, "assertion")
        raise
    except BaseException as error:
        _finish(pyfuncitem, type(error).__name__)
        raise
    _finish(pyfuncitem, "completed", raise_verdict=True)
    return result


def _finish(item: pytest.Item, ended: str, *, raise_verdict: bool = False) -> None:
    drill = item.stash.get(DRILL, None)
    if drill is None:
        return
    judged = drill.finish(ended)
    if not raise_verdict or judged is None:
        return
    verdict = Verdict(judged.json["verdict"])
    if verdict is Verdict.PASS:
        return
    text = f"{verdict}: {'; '.join(judged.json['reasons'])}\ncase: {drill.folder}"
    if verdict is Verdict.FAIL:
        pytest.fail(text, pytrace=False)
    raise Inconclusive(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A case that could not be decided is an error, not a failure: pytest counts errors outside the call phase."""
    report = yield
    drill = item.stash.get(DRILL, None)
    if drill is not None and call.when == "call":
        report.user_properties.append(("case_directory", str(drill.folder)))
        if call.excinfo is not None and isinstance(call.excinfo.value, HarnessError):
            kind = type(call.excinfo.value).__name__
            report.user_properties.append(("verdict", kind))
            report.longrepr = f"{kind}: {call.excinfo.value}"
            report.when = "setup"
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """A failed comparison of a measured value explains itself."""
    if isinstance(left, Measured) and isinstance(right, int | float):
        return left.explained(op, right)
    return None


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run an INCONCLUSIVE case again, at most ``--retry-inconclusive`` times; both attempts are kept."""
    if item.get_closest_marker("drill") is None:
        return None
    from _pytest.runner import runtestprotocol

    retries = _session(item.config).settings.retry_inconclusive
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, retries + 2):
        item.stash[ATTEMPT] = attempt
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        again = attempt <= retries and any(("verdict", "Inconclusive") in r.user_properties for r in reports)
        if not again:
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            break
        _reset(item)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reset(item: pytest.Item) -> None:
    """Make an item runnable again, as it was before its fixtures were set up."""
    if isinstance(item, pytest.Function):
        item._initrequest()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Judge the session and write its report."""
    config = session.config
    if hasattr(config, "workerinput"):
        return None
    close_display(config)
    folder = _finished_folder(config)
    if folder is None:
        return None
    try:
        judged = judge_session(folder)
        if not judged.cases:
            return None if any(folder.iterdir()) else folder.rmdir()  # drills were collected or skipped, none ran
        verdict = write_judged(judged)
        config.stash[REPORT] = (verdict, str(write_report(folder, judged)))
        config.hook.pytest_engram_judged(verdict=verdict, report=config.stash[REPORT][1])
        session.exitstatus = EXIT_UNUSABLE if session.exitstatus == 1 and never_started(judged) else session.exitstatus
    except HarnessError as error:
        config.stash[REPORT], session.exitstatus = (None, f"the report could not be written: {error}"), EXIT_UNUSABLE


def _finished_folder(config: pytest.Config) -> Path | None:
    """The session directory, if a drill ran: here, or in the workers of pytest-xdist."""
    if SESSION in config.stash:
        return config.stash[SESSION].folder
    if NAME not in config.stash:
        return None
    try:
        folder = _settings(config).results_dir / config.stash[NAME]
    except HarnessError:
        return None  # the workers said so already
    return folder if folder.is_dir() else None
